"""What users ask of their jobs. A change is acknowledged only after it is durable.

The state machine is in `transitions`, the worker's side in `execution`, the admins' in `all_jobs`.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.base.errors import Conflict, Invalid, Missing
from app.base.ids import uuid7
from app.base.metrics import Metrics
from app.base.paging import Page
from app.catalog.service import Catalog
from app.db.database import Database
from app.db.query_cache import QueryCache
from app.db.transaction import Transaction
from app.idempotency.schemas import IdempotencyKey
from app.idempotency.service import Idempotency
from app.jobs import list_repository, repository
from app.jobs.all_jobs import AllJobs
from app.jobs.batch_jobs import BatchJobs
from app.jobs.execution import Execution
from app.jobs.live_jobs import LiveJobs
from app.jobs.model_history import ModelHistory
from app.jobs.poll_schedule import PollSchedule
from app.jobs.scheduler import FairQueue
from app.jobs.schemas import (
    UNDO_PERIOD,
    AcceptedJob,
    EndedJob,
    EndedJobs,
    Job,
    JobCounts,
    JobEvent,
    JobStatus,
    LateResultPolicy,
)
from app.jobs.transitions import FindKeyLimits, Transitions, TxHook
from app.jobs.user_queue import UserQueue
from app.jobs.waiters import JobWaiters
from app.ledger.service import Ledger
from app.library.service import Library
from app.providers.contract import ErrorCode, Kind, Provider
from app.providers.webhooks import WebhookVerifier

HISTORY_SIZE: Final = 50  # completed jobs of a model that an estimate is based on
NEWS_PERIOD: Final = timedelta(minutes=10)  # in which the end of a job is worth a notification
MAX_NEWS: Final = 20  # jobs
MAX_NEWS_PROMPT: Final = 120  # characters
COSTS_READ: Final = 200  # latest jobs of a model among which those with the same settings are found


class Jobs:
    """All jobs, unfinished and finished."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        idempotency: Idempotency,
        catalog: Catalog,
        library: Library,
        providers: Mapping[str, Provider],
        *,
        timeout: float,
        poll_interval: float,
        webhooks: WebhookVerifier | None = None,
        metrics: Metrics | None = None,
        queue: FairQueue | None = None,
        polls: PollSchedule | None = None,
        key_limits: FindKeyLimits = lambda tx, owner, key: None,
    ) -> None:
        """`timeout` is how long a job may process and `poll_interval` the time between two polls, both in seconds.
        `queue` and `polls` decide which job is started and polled next; by default they are new and empty."""
        self._database = database
        self._idempotency = idempotency
        self._catalog = catalog
        self._library = library
        self._providers = providers
        self._webhooks = webhooks
        self._cache = QueryCache(database)
        self._history = ModelHistory()
        self.waiters = JobWaiters()
        self.live = LiveJobs(self.waiters, self._history, queue or FairQueue(), polls or PollSchedule())
        self._transitions = Transitions(
            ledger, idempotency, library, self.live, self._history, poll_interval=poll_interval, key_limits=key_limits
        )
        self.execution = Execution(
            database, self._transitions, self.live, catalog, timeout=timeout, poll_interval=poll_interval
        )
        metrics = metrics or Metrics()
        self.all = AllJobs(database, library, self.live, self._transitions, self.execution, self.find, metrics)
        self.user_queue = UserQueue(
            database,
            self.live,
            self._transitions,
            find=self.find,
            cancel=self.cancel,
            learn_durations=self._learn_durations,
        )
        self.of_batches = BatchJobs(database, self.live, self._transitions, self._with_files)
        metrics.gauge_callback(
            "oldest_waiting_job_seconds",
            "How long the oldest queued job that could start has waited.",
            self.live.longest_wait,
        )

    # Reading

    async def find(self, owner: str, id: str) -> Job:
        """The user's own job with its inputs and assets, or Missing."""
        live = self.live.find(id)
        if live is not None and live.owner_id == owner:
            return await self._with_estimate(live)
        job = await self._database.read(self._find, owner, id)
        if job is None:
            raise Missing("There is no such job.")
        return job

    def cached(self, owner: str, id: str) -> Job | None:
        """Like `find`, but from memory only; None unless the job is unfinished and its estimate is known."""
        live = self.live.find(id)
        if live is None or live.owner_id != owner or not self._history.knows(live.model):
            return None
        return self.live.estimate(live)

    async def find_or_none(self, owner: str, id: str) -> Job | None:
        """Like `find`, but None if there is no such job."""
        try:
            return await self.find(owner, id)
        except Missing:
            return None

    async def newest(
        self,
        owner: str,
        *,
        kinds: Sequence[Kind] = (),
        statuses: Sequence[JobStatus] = (),
        before: str | None = None,
        limit: int = 24,
        oldest_first: bool = False,
        enhancements: bool = True,
    ) -> Page[Job]:
        """The user's jobs with their inputs and assets, newest first by default. `before` is the id of the last job of
        the previous page. Without `enhancements`, jobs that rewrite a prompt are left out."""
        page = await self._cache.read(
            self._newest, owner, tuple(kinds), tuple(statuses), before, limit, oldest_first, enhancements
        )
        jobs = [job if job.final else self.live.find(job.id) or job for job in page.items]
        await self._learn_durations({job.model for job in jobs if not job.final})
        return Page([job if job.final else self.live.estimate(job) for job in jobs], page.total, page.next)

    async def edits(self, owner: str, asset_id: str, limit: int) -> Sequence[Job]:
        """The latest jobs that edit this image, with their assets, newest first."""
        found = await self._cache.read(self._edits, owner, asset_id, limit)
        return [job if job.final else self.live.find(job.id) or job for job in found]

    async def counts(self, owner: str) -> JobCounts:
        """How many finished outputs and unfinished jobs the user has."""
        rows = await self._database.read(list_repository.tally, owner)
        done = {
            kind: sum(row["jobs"] for row in rows if row["kind"] == kind and row["status"] == JobStatus.COMPLETED)
            for kind in Kind
        }
        return JobCounts(
            texts=done[Kind.TEXT],
            images=done[Kind.IMAGE],
            videos=done[Kind.VIDEO],
            running=sum(row["jobs"] for row in rows if not JobStatus(row["status"]).final),
        )

    async def costs_of(self, model: str, params: Mapping[str, Any]) -> list[int]:
        """What the latest jobs of all users with this model and these parameters cost, in nano-dollars. The seed does not count."""
        jobs = await self._cache.read(list_repository.costs_any, model, COSTS_READ)
        wanted = _without_seed(params)
        return [cost for used, cost in jobs if _without_seed(used) == wanted]

    async def durations_of(self, model: str) -> tuple[float | None, float | None]:
        """Median and 90th percentile of the latest jobs of a model, in seconds; None while there are too few."""
        await self._learn_durations({model})
        return self._history.durations(model)

    async def events(self, owner: str, id: str) -> Sequence[JobEvent]:
        return await self._database.read(repository.events, owner, id)

    async def ended(self, owner: str, since: datetime | None) -> EndedJobs:
        """The jobs that were completed or failed since then, for notifications. `since` None means from now on; what is long ago is
        no news."""
        now = clock.now()
        earliest = max(since, now - NEWS_PERIOD) if since is not None else now
        rows = await self._database.read(list_repository.ended_since, owner, min(earliest, now), MAX_NEWS)
        jobs = [
            EndedJob(
                id=row["id"],
                kind=Kind(row["kind"]),
                status=JobStatus(row["status"]),
                prompt=row["prompt"][:MAX_NEWS_PROMPT],
            )
            for row in rows
        ]
        until = rows[-1]["ended_at"] if rows else earliest
        return EndedJobs(until=f"{until.isoformat()}Z", jobs=jobs)

    async def timeline(self, owner: str, id: str, *, after: str | None = None, limit: int = 24) -> Page[JobEvent]:
        """The job's events, oldest first. `after` is how many were on the previous pages, as `next` says: events are only added at the
        end. Raises Missing, and Invalid for a cursor of something else."""
        await self.find(owner, id)
        if after is not None and not (after.isascii() and after.isdecimal() and len(after) < 10):
            raise Invalid("`cursor` is not a valid cursor.", fields={"cursor": "is not a valid cursor"})
        all_events, start = await self.events(owner, id), int(after or 0)
        shown = list(all_events[start : start + limit])
        end = start + len(shown)
        return Page(shown, len(all_events), str(end) if end < len(all_events) else None)

    async def wait(self, owner: str, id: str, seconds: float) -> Job:
        """The job once it has ended, or its current state after `seconds`."""
        job = await self.find(owner, id)
        if (live := self.live.find(id)) is not None:  # asked after the await: the job may have ended meanwhile
            await self.waiters.wait(id, seconds, live.run_at if live.status is JobStatus.QUEUED else None)
        return job if job.final else await self.find(owner, id)

    # Changing

    async def enqueue(
        self,
        job: Job,
        key: IdempotencyKey | None = None,
        *,
        single_flight: bool = False,
        limits: KeyLimits | None = None,
        also_in_tx: TxHook | None = None,
    ) -> AcceptedJob:
        """Add a job to the queue: the ledger hold, the job and its first event are durable when this returns. A
        repeated request with the same `key` returns the first job, or raises Conflict if the request differs. A
        `single_flight` retry returns an unfinished earlier retry of the same job. Raises Exhausted if the API key's
        spending limit would be exceeded."""
        first = await self._database.write_for(
            job.owner_id, self._transitions.enqueue, job, key, single_flight, limits, also_in_tx
        )
        return AcceptedJob(job) if first is None else AcceptedJob(await self.find(job.owner_id, first), repeated=True)

    async def subscribe(self, job: Job, *, limits: KeyLimits | None = None) -> AsyncIterator[str]:
        """Add a text job and stream its output until the job ends. Closing the stream does not cancel the job."""
        with self.waiters.subscription(job.id) as deltas:
            await self.enqueue(job, limits=limits)
            while (delta := await deltas.get()) is not None:
                yield delta

    async def on_webhook(self, provider: str, token: str, headers: Mapping[str, str], body: bytes) -> None:
        """Handle a provider's webhook by polling its job at once; the body's content is not trusted. Raises Denied if
        the webhook cannot be verified."""
        if self._webhooks is None:
            raise Missing("Webhooks are not enabled.")
        if id := await self._webhooks.verify(provider, token, headers, body):
            self.live.poll_now(id, provider)

    async def cancel(
        self,
        owner: str,
        id: str,
        late: LateResultPolicy = LateResultPolicy.DISCARD,
        *,
        also_in_tx: TxHook | None = None,
    ) -> Job:
        """Cancel a job: at once if it is queued or its provider cannot cancel, otherwise by a request that the worker
        forwards. What was submitted may still be completed and charged; `late` says what happens to its result."""
        job = await self.find(owner, id)
        if job.final:
            raise Conflict(f"This job has already {_ENDED[job.status]}.")
        provider = self._providers.get(job.provider)
        by_request = job.status is JobStatus.PROCESSING and provider is not None and provider.can_cancel
        change = self._transitions.request_cancel if by_request else self._transitions.cancel
        if await self._database.write_for(id, change, job, late, also_in_tx) is None:  # its state changed meanwhile
            return await self.cancel(owner, id, late, also_in_tx=also_in_tx)
        return await self.find(owner, id)

    async def retry(
        self,
        owner: str,
        id: str,
        key: IdempotencyKey | None = None,
        *,
        single_flight: bool = False,
        limits: KeyLimits | None = None,
        also_in_tx: TxHook | None = None,
    ) -> AcceptedJob:
        """Create a new job from one that failed or was cancelled. If the provider may still have the result, the new
        job fetches it instead of paying again; otherwise the model must still be available, or Invalid is raised.
        `single_flight` allows one unfinished retry at a time, for example after a double click."""
        async with self._idempotency.first_result(key) as first:
            if first is not None:
                return AcceptedJob(await self.find(owner, first), repeated=True)
            job = self._retry_of(await self.find(owner, id))
            return await self.enqueue(job, key, single_flight=single_flight, limits=limits, also_in_tx=also_in_tx)

    async def delete(self, owner: str, id: str) -> Job:
        """Soft-delete a finished job and its assets; `restore` undoes it within UNDO_PERIOD."""
        job = await self.find(owner, id)
        if not job.final:
            raise Conflict("This job is still in progress. Cancel it first.")
        if await self._database.write_for(id, self._delete, owner, id) is None:
            raise Missing("There is no such job.")
        return job

    async def restore(self, owner: str, id: str) -> Job:
        """Undo `delete`."""
        if not await self._database.write_for(id, self._restore, owner, id):
            raise Missing("There is no such deleted job, or it can no longer be restored.")
        return await self.find(owner, id)

    async def _with_estimate(self, job: Job) -> Job:
        """The unfinished job with its queue estimate; the same object while nothing changes."""
        await self._learn_durations({job.model})
        return self.live.estimate(job)

    async def _learn_durations(self, models: Iterable[str]) -> None:
        for model in models:
            if not self._history.knows(model):
                durations = await self._database.read(list_repository.durations_any, model, HISTORY_SIZE)
                self._history.learn_durations(model, durations)

    def _retry_of(self, old: Job) -> Job:
        if old.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            raise Conflict("Only a failed or cancelled job can be retried.")
        upstream_job = old.upstream_job if old.error and old.error.code in _RESUMABLE else None
        if upstream_job is None:
            self._catalog.choose(old.model, old.kind)
        return old.retried(uuid7(), clock.now(), upstream_job)

    # Transaction functions

    def _find(self, tx: Transaction, owner: str, id: str) -> Job | None:
        job = repository.find(tx, owner, id)
        return self._with_files(tx, owner, [job])[0] if job else None

    def _newest(
        self,
        tx: Transaction,
        owner: str,
        kinds: Sequence[Kind],
        statuses: Sequence[JobStatus],
        before: str | None,
        limit: int,
        oldest_first: bool,
        enhancements: bool,
    ) -> Page[Job]:
        found = list_repository.newest(
            tx,
            owner,
            kinds=kinds,
            statuses=statuses,
            before=before,
            limit=limit + 1,
            oldest_first=oldest_first,
            enhancements=enhancements,
        )
        total = list_repository.count(tx, owner, kinds=kinds, statuses=statuses, enhancements=enhancements)
        page = Page.of(found, total, limit)
        return Page(self._with_files(tx, owner, page.items), page.total, page.next)

    def _edits(self, tx: Transaction, owner: str, asset_id: str, limit: int) -> list[Job]:
        return self._with_files(tx, owner, list_repository.edits(tx, owner, asset_id, limit))

    def _with_files(self, tx: Transaction, owner: str, jobs: Sequence[Job]) -> list[Job]:
        """These jobs with their inputs and assets; one query for each, however many jobs there are."""
        assets = self._library.of_jobs(tx, owner, [job.id for job in jobs if job.kind is not Kind.TEXT and job.final])
        return [
            msgspec.structs.replace(job, assets=tuple(assets[job.id])) if job.id in assets else job
            for job in repository.with_inputs_any(tx, jobs)
        ]

    def _delete(self, tx: Transaction, owner: str, id: str) -> Job | None:
        now = clock.now()
        job = repository.mark_deleted(tx, owner, id, now)
        if job is not None:
            self._library.delete_with_job(tx, owner, id, now)
        return job

    def _restore(self, tx: Transaction, owner: str, id: str) -> bool:
        job = repository.find_deleted(tx, owner, id)
        if job is None or job.deleted_at is None or job.deleted_at < clock.now() - UNDO_PERIOD:
            return False
        self._library.restore_with_job(tx, owner, id, job.deleted_at)
        return repository.mark_restored(tx, owner, id)


_RESUMABLE = (ErrorCode.STORAGE_FULL, ErrorCode.TIMED_OUT)
_ENDED = {JobStatus.COMPLETED: "been completed", JobStatus.FAILED: "failed", JobStatus.CANCELLED: "been cancelled"}


def _without_seed(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != "seed"}
