"""The job state machine. A change is acknowledged only after it is durable.

Unfinished jobs are also kept in memory, because every open page polls their cards every few seconds and a poll must not
cost a database read. This service is the only writer of the table, so the copy is always current.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock, logging
from app.base.errors import Conflict, Missing
from app.base.ids import uuid7
from app.base.metrics import Metrics
from app.base.once import Once
from app.base.paging import Page
from app.catalog.service import Catalog
from app.db.database import Database, Transaction
from app.db.query_cache import QueryCache
from app.jobs import repository
from app.jobs.poll_schedule import PollSchedule
from app.jobs.scheduler import FairQueue, ModelHistory
from app.jobs.schemas import (
    AcceptedJob,
    CancelStage,
    EventType,
    Job,
    JobCounts,
    JobEvent,
    JobsSnapshot,
    JobStatus,
    LateResultPolicy,
    QueueEstimate,
)
from app.ledger.schemas import Subject
from app.ledger.service import Ledger
from app.library.schemas import Asset
from app.library.service import Library
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Pending, Provider, Retryable
from app.providers.webhooks import WebhookVerifier

MAX_ATTEMPTS: Final = {Kind.TEXT: 4, Kind.IMAGE: 4, Kind.VIDEO: 6}
FIRST_RETRY_DELAY: Final = 2.0  # seconds before the second attempt; doubles with each further attempt
MAX_RETRY_DELAY: Final = 120.0
UNDO_PERIOD: Final = timedelta(minutes=10)
IDEMPOTENCY_KEY_TTL: Final = timedelta(hours=24)
MAX_RECOVERIES: Final = 5  # restarts that may interrupt a job while its result is processed, before it is failed
HISTORY_SIZE: Final = 50  # completed jobs of a model that an estimate is based on

# Writes further rows in the transaction that changes a job; called with the changed job, only if it was changed.
TxHook = Callable[[Transaction, Job], None]

logger = logging.get("jobs")


class Jobs:
    """All jobs, unfinished and finished."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
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
    ) -> None:
        """`timeout` is how long a job may process and `poll_interval` the time between two polls, both in seconds.
        `queue` and `polls` decide which job is started and polled next; by default they are new and empty."""
        self._database = database
        self._ledger = ledger
        self._catalog = catalog
        self._library = library
        self._providers = providers
        self._timeout = timeout
        self._poll_interval = poll_interval
        self._cache = QueryCache(database)
        self._live: dict[str, Job] = {}  # unfinished
        self._estimated: dict[str, tuple[Job, Job]] = {}  # unfinished, each without and with its last estimate
        self._awaiting_late: dict[str, Job] = {}  # cancelled, but the provider may still send a result or a cost
        self._queue = queue or FairQueue()
        self._polls = polls or PollSchedule()
        self._history = ModelHistory()
        self._end_signals: dict[str, asyncio.Event] = {}
        self._subscribers: dict[str, asyncio.Queue[str | None]] = {}
        self._webhooks = webhooks
        self._closing = False
        self.wake = asyncio.Event()
        metrics = metrics or Metrics()
        self._status_gauge = metrics.gauge("jobs", "Jobs by state, without those deleted by their users.", ("state",))
        metrics.gauge_callback(
            "oldest_waiting_job_seconds",
            "How long the oldest queued job that could start has waited.",
            self.longest_wait,
        )

    # For users

    async def enqueue(
        self,
        job: Job,
        once: Once | None = None,
        *,
        single_flight: bool = False,
        limits: KeyLimits | None = None,
        also_in_tx: TxHook | None = None,
    ) -> AcceptedJob:
        """Add a job to the queue: the ledger hold, the job and its first event are durable when this returns. A
        repeated request with the same idempotency key `once` returns the first job, or raises Conflict if the request
        differs. A `single_flight` retry returns an unfinished earlier retry of the same job. Raises Exhausted if the
        API key's spending limit would be exceeded."""
        first = await self._database.write(self._enqueue, job, once, single_flight, limits, also_in_tx)
        return AcceptedJob(job) if first is None else AcceptedJob(await self.find(job.owner_id, first), repeated=True)

    def claim_key(self, tx: Transaction, owner: str, once: Once, id: str, now: datetime) -> str | None:
        """Record an idempotency key in the caller's transaction. None if it is new, otherwise the id that the first
        request created. Raises Conflict if the key was used for a different request."""
        taken = repository.claim_key(
            tx, once.caller or owner, once.key, once.request, id, now, now - IDEMPOTENCY_KEY_TTL
        )
        if taken is None:
            return None
        if taken["request_hash"] != once.request:
            raise Conflict("This Idempotency-Key was used for a different request. Use a new key.")
        first: str = taken["result_id"]
        return first

    async def find(self, owner: str, id: str) -> Job:
        """The user's own job with its assets, or Missing."""
        live = self._live.get(id)
        if live is not None and live.owner_id == owner:
            return await self._with_estimate(live)
        job = await self._database.read(self._find, owner, id)
        if job is None:
            raise Missing("There is no such job.")
        return job

    def cached(self, owner: str, id: str) -> Job | None:
        """Like `find`, but from memory only; None unless the job is unfinished and its estimate is known."""
        live = self._live.get(id)
        if live is None or live.owner_id != owner or not self._history.knows(live.model):
            return None
        return self._estimate(live)

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
    ) -> Page[Job]:
        """The user's jobs with their assets, newest first by default. `before` is the id of the last job of the
        previous page."""
        part = await self._cache.read(self._newest, owner, tuple(kinds), tuple(statuses), before, limit, oldest_first)
        items = [await self._with_estimate(self._live.get(job.id, job)) if not job.final else job for job in part.items]
        return Page(items, part.total, part.next)

    async def counts(self, owner: str) -> JobCounts:
        """How many finished outputs and unfinished jobs the user has."""
        rows = await self._database.read(repository.tally, owner)
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

    def last_cost(self, model: str) -> int | None:
        """What the last job of this model cost, in nano-dollars; None if unknown."""
        return self._history.cost(model)

    async def events(self, owner: str, id: str) -> Sequence[JobEvent]:
        return await self._database.read(repository.events, owner, id)

    async def wait(self, owner: str, id: str, seconds: float) -> Job:
        """The job once it has ended, or its current state after `seconds`."""
        job = await self.find(owner, id)
        # Checked after the await: the job may have ended meanwhile.
        if id in self._live and seconds > 0 and not self._closing:
            ended = self._end_signals.setdefault(id, asyncio.Event())
            try:
                async with asyncio.timeout(seconds):
                    await ended.wait()
            except TimeoutError:
                pass
        return job if job.final else await self.find(owner, id)

    async def subscribe(self, job: Job, *, limits: KeyLimits | None = None) -> AsyncIterator[str]:
        """Add a text job and stream its output until the job ends. Closing the stream does not cancel the job."""
        deltas = self._subscribers[job.id] = asyncio.Queue()
        try:
            await self.enqueue(job, limits=limits)
            while (delta := await deltas.get()) is not None:
                yield delta
        finally:
            self._subscribers.pop(job.id, None)

    def on_webhook(self, provider: str, token: str, headers: Mapping[str, str], body: bytes) -> None:
        """Handle a provider's webhook by polling its job at once; the body's content is not trusted. Raises Denied if
        the webhook cannot be verified."""
        if self._webhooks is None:
            raise Missing("Webhooks are not enabled.")
        id = self._webhooks.verify(provider, token, headers, body)
        job = (self._live.get(id) or self._awaiting_late.get(id)) if id else None
        if job is not None and job.provider == provider:
            self._polls.poll_now(job.id)
            self.wake.set()

    def release_waiters(self) -> None:
        """On shutdown: end all waits and streams, so that each request returns the job's current state."""
        self._closing = True
        for signal in self._end_signals.values():
            signal.set()
        for deltas in self._subscribers.values():
            deltas.put_nowait(None)

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
        if job.status is JobStatus.PROCESSING and provider is not None and provider.can_cancel:
            changed = await self._database.write(self._request_cancel, job, late, also_in_tx)
        else:
            changed = await self._database.write(self._cancel, job, late, also_in_tx)
        if changed is None:  # its state changed meanwhile
            return await self.cancel(owner, id, late, also_in_tx=also_in_tx)
        return await self.find(owner, id)

    async def retry(
        self,
        owner: str,
        id: str,
        once: Once | None = None,
        *,
        single_flight: bool = False,
        limits: KeyLimits | None = None,
        also_in_tx: TxHook | None = None,
    ) -> AcceptedJob:
        """Create a new job from one that failed or was cancelled. If the provider may still have the result, the new
        job fetches it instead of paying again; otherwise the model must still be available, or Invalid is raised.
        `single_flight` allows one unfinished retry at a time, for example after a double click."""
        old = await self.find(owner, id)
        if old.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            raise Conflict("Only a failed or cancelled job can be retried.")
        upstream_job = old.upstream_job if old.error and old.error.code in _RESUMABLE else None
        if upstream_job is None:
            self._catalog.choose(old.model, old.kind)
        job = Job(
            id=uuid7(),
            owner_id=owner,
            kind=old.kind,
            generation_type=old.generation_type,
            provider=old.provider,
            model=old.model,
            model_name=old.model_name,
            upstream_model=old.upstream_model,
            route=old.route,
            prompt=old.prompt,
            system_prompt=old.system_prompt,
            params=old.params,
            inputs=old.inputs,
            retry_of=old.id,
            upstream_job=upstream_job,
            created_at=clock.now(),
        )
        return await self.enqueue(job, once, single_flight=single_flight, limits=limits, also_in_tx=also_in_tx)

    async def delete(self, owner: str, id: str) -> Job:
        """Soft-delete a finished job and its assets; `restore` undoes it within UNDO_PERIOD."""
        job = await self.find(owner, id)
        if not job.final:
            raise Conflict("This job is still in progress. Cancel it first.")
        if await self._database.write(self._delete, owner, id) is None:
            raise Missing("There is no such job.")
        return job

    async def restore(self, owner: str, id: str) -> Job:
        """Undo `delete`."""
        if not await self._database.write(self._restore, owner, id):
            raise Missing("There is no such deleted job, or it can no longer be restored.")
        return await self.find(owner, id)

    # For admins

    async def find_any(self, id: str, kinds: Sequence[Kind] = ()) -> Job:
        """Any user's job with its assets, or Missing. `kinds` restricts the kinds; empty means all."""
        job = self._live.get(id) or await self._database.read(repository.find_any, id)
        if job is None or (kinds and job.kind not in kinds):
            raise Missing("There is no such job.")
        return await self.find(job.owner_id, id)

    async def newest_any(
        self,
        *,
        kinds: Sequence[Kind] = (),
        statuses: Sequence[JobStatus] = (),
        owners: Sequence[str] | None = None,
        q: str = "",
        before: str | None = None,
        limit: int = 24,
    ) -> Page[Job]:
        """All users' jobs, newest first, without their assets; `owners` None means every user."""

        def find(tx: Transaction) -> Page[Job]:
            terms = q.split()[:8]
            found = repository.newest_any(
                tx, kinds=kinds, statuses=statuses, owners=owners, terms=terms, before=before, limit=limit + 1
            )
            items = found[:limit]
            total = repository.count_any(tx, kinds=kinds, statuses=statuses, owners=owners, terms=terms)
            return Page(items, total, items[-1].id if len(found) > limit else None)

        return await self._database.read(find)

    async def tally_any(self) -> dict[str, int]:
        """The number of jobs per status; also updates the `jobs` metric."""
        rows = await self._database.read(repository.tally_any)
        found = {row["status"]: row["jobs"] for row in rows}
        tally = {status.value: found.get(status, 0) for status in JobStatus}
        for state, count in tally.items():
            self._status_gauge.labels(state).set(count)
        return tally

    async def ended_before_any(
        self, before: datetime, *, kinds: Sequence[Kind] = (), statuses: Sequence[JobStatus] = ()
    ) -> Sequence[str]:
        """The ids of jobs that ended before that time."""
        return await self._database.read(repository.ended_before_any, before, kinds=kinds, statuses=statuses)

    def overdue(self, kinds: Sequence[Kind] = ()) -> Sequence[Job]:
        """Processing jobs past their deadline."""
        return [
            job
            for job in self._live.values()
            if job.status is JobStatus.PROCESSING and self._overdue(job) and (not kinds or job.kind in kinds)
        ]

    def time_out(self, tx: Transaction, jobs: Sequence[Job]) -> int:
        """Fail jobs that are past their deadline, in the caller's transaction; returns how many had not ended
        meanwhile."""
        return sum(self._fail(tx, job, TIMED_OUT) for job in jobs)

    def erase(self, tx: Transaction, ids: Sequence[str]) -> None:
        """Erase finished jobs and their assets for good, in the caller's transaction; only their costs remain."""
        repository.erase_any(tx, ids, clock.now() - 2 * UNDO_PERIOD)
        self._library.erase_of_jobs(tx, ids)

    def forget_user(self, tx: Transaction, owner: str) -> None:
        """Cancel the user's unfinished jobs, then erase all of them, in the caller's transaction."""
        for job in repository.unfinished(tx, owner):
            self._cancel(tx, job, LateResultPolicy.DISCARD)
        self.erase(tx, repository.ids(tx, owner))

    # For the worker

    async def rescue(self, *, restored: bool = False) -> None:
        """At startup: recover the jobs that the last process left unfinished. A processing job with an upstream job is
        polled again. Without one, the paid request may or may not have been sent, so the job fails and is never resent
        automatically. The same applies to queued jobs of a `restored` database: they may have been sent after the
        backup."""
        for job in await self._database.read(_unfinished):
            if job.status is JobStatus.PROCESSING and job.upstream_job is None:
                await self.fail(job, _UNKNOWN)
            elif restored and job.upstream_job is None:
                await self._database.write(self._mark_unknown, job)
            elif job.status is JobStatus.PROCESSING and job.recovery_count >= MAX_RECOVERIES:
                await self.fail(job, _CRASHES_SERVER)
            elif job.status is JobStatus.PROCESSING:
                await self._database.write(self._rescue, job)
            else:
                self._update(job)
        for job in await self._database.read(repository.awaiting_late_any):
            if job.upstream_job is None:  # the request whose response was awaited ended with the last process
                await self._database.write(self._record_late_result, job, None, [])
            else:
                self._await_late(job)

    async def claim(self, limit: int) -> Sequence[Job]:
        """Move queued jobs that are due to processing, fairly between users."""
        chosen = [self._live[id] for id in self._queue.next_batch(limit)]
        return await self._database.write(self._claim, clock.now(), chosen) if chosen else []

    def to_poll(self, limit: int) -> Sequence[Job]:
        """At most `limit` submitted jobs whose next poll is due. Call `polled` for each afterwards."""
        return self._polls.take(limit)

    def polled(self, job: Job) -> None:
        """The job was polled and the outcome recorded."""
        self._polls.release(job.id)

    def next_due(self) -> datetime | None:
        """When the next job is due to be started or polled."""
        return min((run_at for run_at in (self._queue.next_due(), self._polls.next_due()) if run_at), default=None)

    def longest_wait(self) -> float:
        """How many seconds the oldest queued job that could start has waited."""
        now = clock.now()
        since = [job.run_at or job.created_at for job in self._live.values() if job.status is JobStatus.QUEUED]
        return max(0.0, (now - min(since, default=now)).total_seconds())

    def has_waiting(self) -> bool:
        """Whether a queued job is due now."""
        return self._queue.has_waiting()

    def current(self, id: str) -> Job | None:
        """The unfinished job in its current state; None once it has ended."""
        return self._live.get(id)

    def snapshot(self) -> JobsSnapshot:
        """The jobs held in memory, to be compared with the rows."""
        return JobsSnapshot(unfinished=dict(self._live), awaiting_late_result=dict(self._awaiting_late))

    def is_wanted(self, job: Job) -> bool:
        """Whether the job is unfinished and no cancel was requested."""
        live = self._live.get(job.id)
        return live is not None and not live.cancel_requested

    def has_subscriber(self, job: Job) -> bool:
        """Whether the job's output is being streamed to a client."""
        return job.id in self._subscribers

    def publish(self, job: Job, delta: str) -> None:
        """Send a piece of text to the job's subscriber, if any."""
        if deltas := self._subscribers.get(job.id):
            deltas.put_nowait(delta)

    async def record_progress(self, job: Job, pending: Pending) -> None:
        """The job continues at the provider: store its upstream job and state."""
        if self._overdue(job):
            await self.fail(job, TIMED_OUT)
            return
        run_at = clock.after(max(self._poll_interval, pending.wait or 0))
        late, live = self._awaiting_late.get(job.id), self._live.get(job.id)
        if late is not None:  # already cancelled; only a result or a cost may still arrive
            self._await_late(msgspec.structs.replace(late, run_at=run_at))
        elif live is not None and (live.upstream_state, live.progress, live.upstream_job) == (
            pending.state,
            pending.progress,
            pending.upstream_job,
        ):
            self._update(msgspec.structs.replace(live, run_at=run_at))  # unchanged: no write
        else:
            await self._database.write(self._record_progress, job, pending, run_at)

    async def mark_downloaded(self, job: Job) -> None:
        """Record that the result was downloaded, before it is processed: if processing it crashes the server, the next
        start knows which job was the cause. Without an upstream job the result cannot be fetched again, so nothing is
        recorded."""
        live = self._live.get(job.id)
        if live is not None and live.upstream_job is not None and live.upstream_state != repository.DOWNLOADED:
            await self._database.write(self._mark_downloaded, live)

    async def complete(self, job: Job, done: Completed, assets: Sequence[Asset]) -> bool:
        """Write the completed job, its stored assets and its ledger settlement in one transaction. False if the assets
        are no longer wanted."""
        return await self._database.write(self._complete, job, done, assets)

    async def schedule_retry(self, job: Job, retryable: Retryable) -> None:
        """Queue the job for another attempt after a delay, or fail it after the last attempt."""
        if job.attempts >= MAX_ATTEMPTS[job.kind]:
            await self.fail(
                job, Failed(code=retryable.code, message=retryable.message, detail=retryable.detail, cost_nano=0)
            )
            return
        delay = min(MAX_RETRY_DELAY, FIRST_RETRY_DELAY * 2 ** (job.attempts - 1)) * random.uniform(0.8, 1.2)
        run_at = clock.after(max(delay, retryable.wait or 0))
        await self._database.write(self._schedule_retry, job, retryable, run_at)

    async def fail(self, job: Job, failed: Failed) -> None:
        await self._database.write(self._fail, job, failed)

    async def sweep(self) -> None:
        """Delete expired idempotency keys."""
        await self._database.write(repository.delete_expired_keys_any, clock.now() - IDEMPOTENCY_KEY_TTL)

    async def _with_estimate(self, job: Job) -> Job:
        """The unfinished job with its queue estimate; the same object while nothing changes."""
        if not self._history.knows(job.model):
            self._history.learn_durations(
                job.model, await self._database.read(repository.durations_any, job.model, HISTORY_SIZE)
            )
        return self._estimate(job)

    def _estimate(self, job: Job) -> Job:
        position = self._queue.position(job) if job.status is JobStatus.QUEUED else None
        median, p90 = self._history.durations(job.model)
        estimate = QueueEstimate(position, median, p90)
        plain, estimated = self._estimated.get(job.id, (None, job))
        if plain is not job or estimated.estimate != estimate:
            estimated = msgspec.structs.replace(job, estimate=estimate)
            if self._live.get(job.id) is job:
                self._estimated[job.id] = (job, estimated)
        return estimated

    def seconds_left(self, job: Job) -> float:
        """Seconds until the job's deadline, at least 1 so that an overdue job is polled once more."""
        started_at = job.started_at or clock.now()
        return max(1.0, (started_at + timedelta(seconds=self._timeout) - clock.now()).total_seconds())

    def _overdue(self, job: Job) -> bool:
        return job.started_at is not None and clock.now() > job.started_at + timedelta(seconds=self._timeout)

    def _sync_memory(self, tx: Transaction, job: Job, changed: Job | None) -> Job | None:
        """Update the in-memory copy on commit; `changed` None means that the job had already ended. The changed row comes
        without the job's inputs, which never change."""
        if changed is not None:
            changed = msgspec.structs.replace(changed, inputs=job.inputs)
            tx.on_commit(self._update, changed)
        else:
            tx.on_commit(self._drop_stale, job)
        return changed

    def _drop_stale(self, job: Job) -> None:
        live = self._live.get(job.id)
        if live is not None and live.status is job.status:
            self._remove(job.id)

    def _update(self, job: Job) -> None:
        if job.final:
            self._remove(job.id)
        else:
            self._live[job.id] = job
            self._queue.put(job)
            if job.status is JobStatus.PROCESSING and job.upstream_job is not None:
                self._polls.put(job)
            else:
                self._polls.drop(job.id)
        self.wake.set()

    def _remove(self, id: str) -> None:
        self._live.pop(id, None)
        self._estimated.pop(id, None)
        self._queue.drop(id)
        if id not in self._awaiting_late:
            self._polls.drop(id)
        ended = self._end_signals.pop(id, None)
        if ended is not None:
            ended.set()
        if deltas := self._subscribers.get(id):
            deltas.put_nowait(None)

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
    ) -> Page[Job]:
        found = repository.newest(
            tx, owner, kinds=kinds, statuses=statuses, before=before, limit=limit + 1, oldest_first=oldest_first
        )
        items = self._with_files(tx, owner, found[:limit])
        total = repository.count(tx, owner, kinds=kinds, statuses=statuses)
        return Page(items, total, items[-1].id if len(found) > limit else None)

    def _with_files(self, tx: Transaction, owner: str, jobs: Sequence[Job]) -> list[Job]:
        """These jobs with their inputs and assets: one query for each, however many jobs there are."""
        assets = self._library.of_jobs(tx, owner, [job.id for job in jobs if job.kind is not Kind.TEXT and job.final])
        return [msgspec.structs.replace(job, assets=tuple(assets.get(job.id, ()))) for job in _with_inputs(tx, jobs)]

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

    def _enqueue(
        self,
        tx: Transaction,
        job: Job,
        once: Once | None,
        single_flight: bool,
        limits: KeyLimits | None,
        also_in_tx: TxHook | None,
    ) -> str | None:
        """None if the job was added, otherwise the id of the job of an equal earlier request, or of one that already
        fetches the same upstream result: a result is fetched, and its cost counted, once."""
        if job.upstream_job is not None and (
            holder := repository.result_holder(tx, job.owner_id, job.provider, job.upstream_job)
        ):
            return holder
        if (
            single_flight
            and job.retry_of
            and (unfinished := repository.unfinished_retry(tx, job.owner_id, job.retry_of))
        ):
            return unfinished
        if once is not None and (first := self.claim_key(tx, job.owner_id, once, job.id, job.created_at)):
            return first
        self._ledger.hold(tx, job.owner_id, Subject.JOB, job.id, self._expected_cost(tx, job, limits), limits)
        repository.add(tx, job.owner_id, job)
        repository.add_event(tx, job.owner_id, job.id, job.created_at, EventType.QUEUED)
        if also_in_tx is not None:
            also_in_tx(tx, job)
        tx.on_commit(self._update, job)
        return None

    def _expected_cost(self, tx: Transaction, job: Job, limits: KeyLimits | None) -> int:
        """The amount to hold. With a spending limit it is read from the database if memory does not have it after a
        restart."""
        cost = self._history.cost(job.model)
        if cost is None and limits is not None and limits.cap_nano is not None:
            cost = repository.last_cost_any(tx, job.model)
            tx.on_commit(self._history.learn, job.model, cost)
        return cost or 0

    def _claim(self, tx: Transaction, now: datetime, chosen: Sequence[Job]) -> Sequence[Job]:
        inputs = {job.id: job.inputs for job in chosen}
        jobs = [
            msgspec.structs.replace(job, inputs=inputs[job.id]) for job in repository.claim_any(tx, now, list(inputs))
        ]
        for job in jobs:
            if job.upstream_job:
                repository.add_event(tx, job.owner_id, job.id, now, EventType.RESULT_REQUESTED)
            else:
                repository.add_event(tx, job.owner_id, job.id, now, EventType.STARTED, attempt=job.attempts)
            tx.on_commit(self._update, job)
        return jobs

    def _record_progress(self, tx: Transaction, job: Job, pending: Pending, run_at: datetime) -> Job | None:
        changed = repository.record_upstream_job(
            tx,
            job.owner_id,
            job.id,
            pending.upstream_job,
            state=pending.state,
            progress=pending.progress,
            run_at=run_at,
        )
        if changed is not None and (job.upstream_job is None or job.upstream_state != pending.state):
            event = EventType.SUBMITTED if job.upstream_job is None else EventType.PROGRESSED
            repository.add_event(tx, job.owner_id, job.id, clock.now(), event, state=pending.state)
        if changed is None:
            self._record_late_submission(tx, job, pending, run_at)
        return self._sync_memory(tx, job, changed)

    def _record_late_submission(self, tx: Transaction, job: Job, pending: Pending, run_at: datetime) -> None:
        """The job was cancelled while it was submitted: its upstream job is still polled for the cost."""
        waiting = repository.record_late_upstream_job(tx, job.owner_id, job.id, pending.upstream_job)
        if waiting is not None:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.SUBMITTED, state=pending.state)
            tx.on_commit(self._await_late, msgspec.structs.replace(waiting, run_at=run_at))

    def _mark_downloaded(self, tx: Transaction, job: Job) -> Job | None:
        changed = repository.mark_downloaded(tx, job.owner_id, job.id)
        if changed is not None:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.DOWNLOADED)
        return self._sync_memory(tx, job, changed)

    def _schedule_retry(self, tx: Transaction, job: Job, retryable: Retryable, run_at: datetime) -> Job | None:
        if stopped := self._finish_cancel(tx, job, 0):
            return stopped
        changed = repository.requeue(tx, job.owner_id, job.id, run_at)
        if changed is None:
            self._record_late_result(tx, job, 0, [])
            return None
        detail = {"run_at": clock.iso(run_at), "code": retryable.code, "message": retryable.message}
        repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.RETRY_SCHEDULED, **detail)
        return self._sync_memory(tx, job, changed)

    def _rescue(self, tx: Transaction, job: Job) -> None:
        changed = repository.record_recovery(tx, job.owner_id, job.id)
        repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.RECOVERED)
        self._sync_memory(tx, job, changed)

    def _complete(self, tx: Transaction, job: Job, done: Completed, assets: Sequence[Asset]) -> bool:
        now = clock.now()
        completed = repository.complete(
            tx,
            job.owner_id,
            job.id,
            now,
            text=done.text,
            usage=done.usage,
            cost_nano=done.cost_nano,
            generation_id=done.generation_id,
        )
        if not completed:
            if self._finish_cancel(tx, job, done.cost_nano, done=True):
                return False
            return self._record_late_result(tx, job, done.cost_nano, assets, done)
        self._library.add(tx, job.owner_id, assets)
        self._ledger.settle(tx, job.owner_id, job.id, done.cost_nano)
        repository.add_event(tx, job.owner_id, job.id, now, EventType.COMPLETED)
        tx.on_commit(self._history.learn, job.model, done.cost_nano)
        tx.on_commit(self._remove, job.id)
        return True

    def _fail(self, tx: Transaction, job: Job, failed: Failed) -> bool:
        """False if the job had already ended, or a cancel was requested."""
        now = clock.now()
        changed = repository.fail(
            tx,
            job.owner_id,
            job.id,
            now,
            code=failed.code,
            message=failed.message,
            detail=failed.detail,
            text=failed.text,
            cost_nano=failed.cost_nano,
        )
        if not changed:
            if not self._finish_cancel(tx, job, failed.cost_nano):
                self._record_late_result(tx, job, failed.cost_nano, [])
            return False
        self._ledger.settle(tx, job.owner_id, job.id, failed.cost_nano)
        detail = {"code": failed.code, "message": failed.message}
        repository.add_event(tx, job.owner_id, job.id, now, EventType.FAILED, **detail)
        tx.on_commit(self._after_failure, job, failed)
        return True

    def _after_failure(self, job: Job, failed: Failed) -> None:
        self._remove(job.id)
        logger.info("job failed", job=job.id, code=failed.code.value, detail=failed.detail[:500])

    def _mark_unknown(self, tx: Transaction, job: Job) -> None:
        if repository.mark_possibly_sent(tx, job.owner_id, job.id, clock.now()) is not None:
            self._fail(tx, job, _RESTORED)

    def _record_late_result(
        self, tx: Transaction, job: Job, cost_nano: int | None, assets: Sequence[Asset], done: Completed | None = None
    ) -> bool:
        """Record a result that arrived after the cancel: its cost is always settled, its assets are kept if the user
        chose so."""
        self._sync_memory(tx, job, None)
        text, usage = (done.text, done.usage) if done else (None, None)
        waiting = repository.end_late(tx, job.owner_id, job.id, cost_nano, text, usage)
        if waiting is None:
            return False
        tx.on_commit(self._end_late, job)
        if cost_nano is not None and waiting.cost_nano is None:
            self._ledger.correct(tx, job.owner_id, Subject.JOB, job.id, cost_nano)
        kept = done is not None and waiting.late_result_policy is LateResultPolicy.KEEP and waiting.deleted_at is None
        if kept:
            self._library.add(tx, job.owner_id, assets)
        event = EventType.LATE_RESULT_RECORDED if kept else EventType.FOLLOW_UP_ENDED
        repository.add_event(tx, job.owner_id, job.id, clock.now(), event)
        return kept

    def _cancel(
        self, tx: Transaction, job: Job, late: LateResultPolicy, also_in_tx: TxHook | None = None
    ) -> Job | None:
        now = clock.now()
        changed = repository.cancel(tx, job.owner_id, job.id, now, late)
        if changed is not None:
            self._ledger.settle(tx, job.owner_id, job.id, None if changed.late_result_policy else 0)
            stage = CancelStage.SUBMITTED if changed.late_result_policy else CancelStage.NOT_SUBMITTED
            repository.add_event(tx, job.owner_id, job.id, now, EventType.CANCELLED, stage=stage)
            if changed.late_result_policy and changed.upstream_job:
                tx.on_commit(
                    self._await_late, msgspec.structs.replace(changed, run_at=clock.after(self._poll_interval))
                )
            if also_in_tx is not None:
                also_in_tx(tx, changed)
        return self._sync_memory(tx, job, changed)

    def _await_late(self, job: Job) -> None:
        self._awaiting_late[job.id] = job
        self._polls.put(job)
        self.wake.set()

    def _end_late(self, job: Job) -> None:
        self._awaiting_late.pop(job.id, None)
        self._polls.drop(job.id)

    def _finish_cancel(self, tx: Transaction, job: Job, cost_nano: int | None, *, done: bool = False) -> Job | None:
        """End a job whose cancel was requested, after the provider's response. None if no cancel was requested, or if
        the result is complete (`done`) and the user chose to keep it."""
        changed = repository.finish_cancel(tx, job.owner_id, job.id, clock.now(), cost_nano, has_result=done)
        if changed is not None:
            self._ledger.settle(tx, job.owner_id, job.id, cost_nano)
            stage = CancelStage.FINISHED if done else CancelStage.STOPPED
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.CANCELLED, stage=stage)
            self._sync_memory(tx, job, changed)
        return changed

    def _request_cancel(
        self, tx: Transaction, job: Job, late: LateResultPolicy, also_in_tx: TxHook | None
    ) -> Job | None:
        changed = repository.request_cancel(tx, job.owner_id, job.id, late)
        if changed is not None:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.CANCEL_REQUESTED)
            if also_in_tx is not None:
                also_in_tx(tx, changed)
        return self._sync_memory(tx, job, changed)


def _unfinished(tx: Transaction) -> list[Job]:
    """All unfinished jobs with their inputs."""
    return _with_inputs(tx, repository.unfinished_any(tx))


def _with_inputs(tx: Transaction, jobs: Sequence[Job]) -> list[Job]:
    inputs = repository.inputs_any(tx, [job.id for job in jobs])
    return [msgspec.structs.replace(job, inputs=inputs.get(job.id, ())) for job in jobs]


_RESUMABLE = (ErrorCode.STORAGE_FULL, ErrorCode.TIMED_OUT)
_ENDED = {JobStatus.COMPLETED: "been completed", JobStatus.FAILED: "failed", JobStatus.CANCELLED: "been cancelled"}
_UNKNOWN = Failed(
    code=ErrorCode.OUTCOME_UNKNOWN,
    message="Atelier stopped while this request was being sent, so it may have been completed and charged."
    " It was not sent again. Retry if you still need it.",
)
_RESTORED = Failed(
    code=ErrorCode.OUTCOME_UNKNOWN,
    message="This job was queued when the restored backup was made, so it may have been completed and charged"
    " after that. It was not sent again. Retry if you still need it.",
)
_CRASHES_SERVER = Failed(
    code=ErrorCode.RESULT_INVALID,
    message="Atelier crashed repeatedly while processing this result, so the job was stopped. Contact an admin.",
)
TIMED_OUT = Failed(
    code=ErrorCode.TIMED_OUT, message="The provider did not finish in time. Retry, or choose another model."
)
