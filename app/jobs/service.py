"""The rules of jobs: what may follow what, and that nothing is acknowledged that is not on disk.

Unfinished jobs also stand in memory: their cards are asked every few seconds by every open page, and such a question must
not cost a database read. This service is the only writer of the table, so the copy is never behind.
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
from app.base.metrics import Metrics
from app.base.once import Once
from app.base.paging import Page
from app.base.secret import uuid7
from app.catalog.service import Catalog
from app.db.database import Database, Transaction
from app.db.query_cache import QueryCache
from app.jobs import repository
from app.jobs.poll_schedule import PollSchedule
from app.jobs.scheduler import FairQueue, History
from app.jobs.schemas import (
    Accepted,
    CancelStage,
    Counts,
    Event,
    EventType,
    Job,
    LateResultPolicy,
    QueueEstimate,
    Snapshot,
    Status,
)
from app.ledger.schemas import Subject
from app.ledger.service import Ledger
from app.library.schemas import Asset
from app.library.service import Library
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Pending, Provider, Retryable
from app.providers.webhooks import WebhookVerifier

ATTEMPTS: Final = {Kind.TEXT: 4, Kind.IMAGE: 4, Kind.VIDEO: 6}
FIRST_WAIT: Final = 2.0  # seconds before the second attempt; doubles with each further one
MAX_WAIT: Final = 120.0
UNDO: Final = timedelta(minutes=10)
KEY_LIFE: Final = timedelta(hours=24)
RESCUES: Final = 5  # starts that may find a job in the middle of its work before it is parked
HISTORY: Final = 50  # completed jobs of a model that an estimate looks at

# What is written in the transaction of a change to a job, and only if the change is made: called with the job as it is then.
Beside = Callable[[Transaction, Job], None]

logger = logging.get("jobs")


class Jobs:
    """Everything that is being made or was made."""

    def __init__(
        self,
        database: Database,
        quota: Ledger,
        catalog: Catalog,
        library: Library,
        providers: Mapping[str, Provider],
        *,
        timeout: float,
        pause: float,
        calls: WebhookVerifier | None = None,
        metrics: Metrics | None = None,
        line: FairQueue | None = None,
        rounds: PollSchedule | None = None,
    ) -> None:
        """`timeout` is the deadline of a processing job, `pause` the time between two polls; both in seconds. `line` and
        `rounds` decide which job is started and which is polled next; empty ones by default."""
        self._database = database
        self._ledger = quota
        self._catalog = catalog
        self._library = library
        self._providers = providers
        self._timeout = timeout
        self._pause = pause
        self._recall = QueryCache(database)
        self._live: dict[str, Job] = {}  # unfinished
        self._shown: dict[str, tuple[Job, Job]] = {}  # of those, as last shown: without and with its outlook
        self._late: dict[str, Job] = {}  # cancelled, but the provider may still send a result or a bill
        self._line = line or FairQueue()
        self._rounds = rounds or PollSchedule()
        self._history = History()
        self._ended: dict[str, asyncio.Event] = {}
        self._heard: dict[str, asyncio.Queue[str | None]] = {}
        self._calls = calls
        self._closing = False
        self.wake = asyncio.Event()
        metrics = metrics or Metrics()
        self._tally = metrics.gauge("jobs", "Jobs by state, those deleted by their people left out.", ("state",))
        metrics.gauge_callback(
            "oldest_waiting_job_seconds", "How long the oldest job that could start has waited.", self.longest_wait
        )

    # What people ask for

    async def enqueue(
        self,
        job: Job,
        once: Once | None = None,
        *,
        alone: bool = False,
        limits: KeyLimits | None = None,
        beside: Beside | None = None,
    ) -> Accepted:
        """Accept work: hold, job and first event are on disk when this returns, and it starts at once. With `once` a
        request that was accepted before is answered with its first job, and Conflict when it asks something else; a
        retry that is to be `alone` with an earlier one that is still unfinished. Exhausted when it is more than the API
        key of this `allowance` may spend."""
        first = await self._database.write(self._enqueue, job, once, alone, limits, beside)
        return Accepted(job) if first is None else Accepted(await self.find(job.owner_id, first), repeated=True)

    def remember(self, tx: Transaction, owner: str, once: Once, id: str, now: datetime) -> str | None:
        """Joins the transaction that begins paid work, of whatever kind: None when the request is new, else the id of what
        it began before; Conflict when its key came with another request."""
        taken = repository.remember(tx, once.caller or owner, once.key, once.request, id, now, now - KEY_LIFE)
        if taken is None:
            return None
        if taken["request_hash"] != once.request:
            raise Conflict("This Idempotency-Key was used for another request. Use a new one.")
        first: str = taken["job_id"]
        return first

    async def find(self, owner: str, id: str) -> Job:
        """The person's own job with its assets, or Missing."""
        live = self._live.get(id)
        if live is not None and live.owner_id == owner:
            return await self._with_outlook(live)
        job = await self._database.read(self._find, owner, id)
        if job is None:
            raise Missing("There is no such job.")
        return job

    def shown(self, owner: str, id: str) -> Job | None:
        """Like `find`, for a job that memory knows all of: an unfinished one."""
        live = self._live.get(id)
        if live is None or live.owner_id != owner or not self._history.knows(live.model):
            return None
        return self._outlooked(live)

    async def seek(self, owner: str, id: str) -> Job | None:
        """Like `find`, but None for one that is not there any more."""
        try:
            return await self.find(owner, id)
        except Missing:
            return None

    async def newest(
        self,
        owner: str,
        *,
        kinds: Sequence[Kind] = (),
        statuses: Sequence[Status] = (),
        before: str | None = None,
        limit: int = 24,
        oldest_first: bool = False,
    ) -> Page[Job]:
        """Newest first unless otherwise said, with their assets; `before` is the id of the last one seen."""
        part = await self._recall.read(self._newest, owner, tuple(kinds), tuple(statuses), before, limit, oldest_first)
        items = [await self._with_outlook(self._live.get(job.id, job)) if not job.final else job for job in part.items]
        return Page(items, part.total, part.next)

    async def counts(self, owner: str) -> Counts:
        """The person's work in figures."""
        rows = await self._database.read(repository.tally, owner)
        done = {
            kind: sum(row["jobs"] for row in rows if row["kind"] == kind and row["status"] == Status.COMPLETED)
            for kind in Kind
        }
        return Counts(
            texts=done[Kind.TEXT],
            images=done[Kind.IMAGE],
            videos=done[Kind.VIDEO],
            running=sum(row["jobs"] for row in rows if not Status(row["status"]).final),
        )

    def usual_cost(self, model: str) -> int | None:
        """What the last job of this model cost, in nano-dollars; None when none has told."""
        return self._history.cost(model)

    async def events(self, owner: str, id: str) -> Sequence[Event]:
        return await self._database.read(repository.events, owner, id)

    async def wait(self, owner: str, id: str, seconds: float) -> Job:
        """The job once it has ended, or as it stands after that time."""
        job = await self.find(owner, id)
        # Asked again, because finding took time: it may have ended meanwhile.
        if id in self._live and seconds > 0 and not self._closing:
            ended = self._ended.setdefault(id, asyncio.Event())
            try:
                async with asyncio.timeout(seconds):
                    await ended.wait()
            except TimeoutError:
                pass
        return job if job.final else await self.find(owner, id)

    async def subscribe(self, job: Job, *, limits: KeyLimits | None = None) -> AsyncIterator[str]:
        """Accept a text job and give its words as they come; ends with the job. Whoever stops listening stops nothing."""
        words = self._heard[job.id] = asyncio.Queue()
        try:
            await self.enqueue(job, limits=limits)
            while (word := await words.get()) is not None:
                yield word
        finally:
            self._heard.pop(job.id, None)

    def on_webhook(self, provider: str, token: str, headers: Mapping[str, str], body: bytes) -> None:
        """A provider says that something has happened to one of its jobs: the job is asked after at once. What the call
        says is not believed. Denied when it is forged."""
        if self._calls is None:
            raise Missing("Nobody calls here.")
        id = self._calls.verify(provider, token, headers, body)
        job = (self._live.get(id) or self._late.get(id)) if id else None
        if job is not None and job.provider == provider:
            self._rounds.poll_now(job.id)
            self.wake.set()

    def release_waiters(self) -> None:
        """The program is about to end: nobody waits or listens any longer, everybody is told how things stand."""
        self._closing = True
        for ended in self._ended.values():
            ended.set()
        for words in self._heard.values():
            words.put_nowait(None)

    async def cancel(
        self, owner: str, id: str, late: LateResultPolicy = LateResultPolicy.DISCARD, *, beside: Beside | None = None
    ) -> Job:
        """Stop a job: at once when it waits or its provider cannot be told, otherwise as a wish the worker settles. What
        was sent may still be made and charged; `late` says what becomes of a result then."""
        job = await self.find(owner, id)
        if job.final:
            raise Conflict(f"This job has already {_ENDED[job.status]}.")
        provider = self._providers.get(job.provider)
        if job.status is Status.PROCESSING and provider is not None and provider.can_cancel:
            changed = await self._database.write(self._wish_cancel, job, late, beside)
        else:
            changed = await self._database.write(self._cancel, job, late, beside)
        if changed is None:  # it ended while we were asking
            return await self.cancel(owner, id, late, beside=beside)
        return await self.find(owner, id)

    async def retry(
        self,
        owner: str,
        id: str,
        once: Once | None = None,
        *,
        alone: bool = False,
        limits: KeyLimits | None = None,
        beside: Beside | None = None,
    ) -> Accepted:
        """A new job like one that failed or was cancelled, linked to it. Where the provider may still have the result,
        the new job asks for that one instead of paying for another; otherwise the model must still be on offer, whoever
        asks, or it is Invalid. `alone`: not two at a time, as after a double click."""
        old = await self.find(owner, id)
        if old.status not in (Status.FAILED, Status.CANCELLED):
            raise Conflict("Only a failed or cancelled job can be tried again.")
        upstream_job = old.upstream_job if old.error and old.error.code in _RESUMED else None
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
            input_asset_id=old.input_asset_id,
            retry_of=old.id,
            upstream_job=upstream_job,
            created_at=clock.now(),
        )
        return await self.enqueue(job, once, alone=alone, limits=limits, beside=beside)

    async def delete(self, owner: str, id: str) -> Job:
        """Hide an ended job and what it made; `restore` brings both back for a while."""
        job = await self.find(owner, id)
        if not job.final:
            raise Conflict("This job is still being made: cancel it first.")
        if await self._database.write(self._delete, owner, id) is None:
            raise Missing("There is no such job.")
        return job

    async def restore(self, owner: str, id: str) -> Job:
        """Undo `delete`."""
        if not await self._database.write(self._restore, owner, id):
            raise Missing("There is no such job to bring back.")
        return await self.find(owner, id)

    # What an admin asks for

    async def find_any(self, id: str, kinds: Sequence[Kind] = ()) -> Job:
        """Anybody's job of one of these kinds (none named: of any), with its assets, or Missing."""
        job = self._live.get(id) or await self._database.read(repository.find_any, id)
        if job is None or (kinds and job.kind not in kinds):
            raise Missing("There is no such job.")
        return await self.find(job.owner_id, id)

    async def newest_any(
        self,
        *,
        kinds: Sequence[Kind] = (),
        statuses: Sequence[Status] = (),
        owners: Sequence[str] | None = None,
        q: str = "",
        before: str | None = None,
        limit: int = 24,
    ) -> Page[Job]:
        """Everybody's jobs, newest first, without their assets; `owners` None means all people."""

        def find(tx: Transaction) -> Page[Job]:
            words = q.split()[:8]
            found = repository.newest_any(
                tx, kinds=kinds, statuses=statuses, owners=owners, words=words, before=before, limit=limit + 1
            )
            items = found[:limit]
            total = repository.count_any(tx, kinds=kinds, statuses=statuses, owners=owners, words=words)
            return Page(items, total, items[-1].id if len(found) > limit else None)

        return await self._database.read(find)

    async def tally_any(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        rows = await self._database.read(repository.tally_any)
        found = {row["status"]: row["jobs"] for row in rows}
        tally = {status.value: found.get(status, 0) for status in Status}
        for state, count in tally.items():
            self._tally.labels(state).set(count)
        return tally

    async def ended_before_any(
        self, before: datetime, *, kinds: Sequence[Kind] = (), statuses: Sequence[Status] = ()
    ) -> Sequence[str]:
        """The ids of jobs that ended before that moment."""
        return await self._database.read(repository.ended_before_any, before, kinds=kinds, statuses=statuses)

    def overdue(self, kinds: Sequence[Kind] = ()) -> Sequence[Job]:
        """Processing jobs that are past their deadline."""
        return [
            job
            for job in self._live.values()
            if job.status is Status.PROCESSING and self._overdue(job) and (not kinds or job.kind in kinds)
        ]

    def time_out(self, tx: Transaction, jobs: Sequence[Job]) -> int:
        """Inside the caller's transaction: give up on jobs that are past their deadline; how many had not ended
        meanwhile."""
        return sum(self._fail(tx, job, TIMED_OUT) for job in jobs)

    def erase(self, tx: Transaction, ids: Sequence[str]) -> None:
        """Inside the caller's transaction: ended jobs and what they made, for good; only what they cost stays."""
        repository.erase_any(tx, ids, clock.now() - 2 * UNDO)
        self._library.erase_of_jobs(tx, ids)

    def forget_person(self, tx: Transaction, owner: str) -> None:
        """Inside the caller's transaction: cancel what is unfinished, then erase it all."""
        for job in repository.unfinished(tx, owner):
            self._cancel(tx, job, LateResultPolicy.DISCARD)
        self.erase(tx, repository.ids(tx, owner))

    # What the worker asks for

    async def rescue(self, *, restored: bool = False) -> None:
        """At start: every processing job is an orphan, because this is the only process. With a ticket polling goes on;
        without one the paid call may or may not have happened, so it is never sent again by itself. The same holds for
        what was queued when the database is a `restored` one: it may have been sent after the backup was made."""
        for job in await self._database.read(repository.unfinished_any):
            if job.status is Status.PROCESSING and job.upstream_job is None:
                await self.fail(job, _UNKNOWN)
            elif restored and job.upstream_job is None:
                await self._database.write(self._mark_unknown, job)
            elif job.status is Status.PROCESSING and job.recovery_count >= RESCUES:
                await self.fail(job, _POISON)
            elif job.status is Status.PROCESSING:
                await self._database.write(self._rescue, job)
            else:
                self._keep(job)
        for job in await self._database.read(repository.late_any):
            if job.upstream_job is None:  # the call that would have told went down with us
                await self._database.write(self._record_late_result, job, None, [])
            else:
                self._await_late(job)

    async def claim(self, limit: int) -> Sequence[Job]:
        """Take due jobs into work, in fair turns between people."""
        chosen = self._line.next_batch(limit)
        return await self._database.write(self._claim, clock.now(), chosen) if chosen else []

    def to_poll(self, limit: int) -> Sequence[Job]:
        """Take at most so many of the jobs with a ticket whose next look is due; each is to be said to be `polled`."""
        return self._rounds.take(limit)

    def polled(self, job: Job) -> None:
        """It has been looked after, and what came of it is written down."""
        self._rounds.release(job.id)

    def next_due(self) -> datetime | None:
        """When the next job wants attention."""
        return min((due for due in (self._line.next_due(), self._rounds.next_due()) if due), default=None)

    def longest_wait(self) -> float:
        """Seconds for which the oldest job that could start has waited."""
        now = clock.now()
        since = [job.run_at or job.created_at for job in self._live.values() if job.status is Status.QUEUED]
        return max(0.0, (now - min(since, default=now)).total_seconds())

    def waiting(self) -> bool:
        """Whether a queued job is due now."""
        return self._line.waiting()

    def current(self, id: str) -> Job | None:
        """The unfinished job as it stands, None once it has ended."""
        return self._live.get(id)

    def snapshot(self) -> Snapshot:
        """What memory holds now, to be compared with the rows."""
        return Snapshot(unfinished=dict(self._live), late_result_policy=dict(self._late))

    def wanted(self, job: Job) -> bool:
        """Whether nobody has asked to cancel it."""
        live = self._live.get(job.id)
        return live is not None and not live.cancel_requested

    def has_subscriber(self, job: Job) -> bool:
        """Whether somebody listens to this job's words."""
        return job.id in self._heard

    def publish(self, job: Job, word: str) -> None:
        """Pass a piece of text on to whoever listens."""
        if words := self._heard.get(job.id):
            words.put_nowait(word)

    async def record_progress(self, job: Job, later: Pending) -> None:
        """It goes on upstream: the ticket is written down before anything else is done with it."""
        if self._overdue(job):
            await self.fail(job, TIMED_OUT)
            return
        due = clock.after(max(self._pause, later.wait or 0))
        late, live = self._late.get(job.id), self._live.get(job.id)
        if late is not None:  # already cancelled; all that may still come is a result or a bill
            self._await_late(msgspec.structs.replace(late, run_at=due))
        elif live is not None and (live.upstream_state, live.progress, live.upstream_job) == (
            later.state,
            later.progress,
            later.upstream_job,
        ):
            self._keep(msgspec.structs.replace(live, run_at=due))  # nothing new: no write
        else:
            await self._database.write(self._go_on, job, later, due)

    async def fetched(self, job: Job) -> None:
        """Its result is here and will be looked at now. Should that bring this program down, the next start knows which
        job it was; without a ticket there is no next time."""
        live = self._live.get(job.id)
        if live is not None and live.upstream_job is not None and live.upstream_state != repository.DOWNLOADED:
            await self._database.write(self._fetched, live)

    async def complete(self, job: Job, done: Completed, assets: Sequence[Asset]) -> bool:
        """It is done and its files are stored: job, assets and settlement are written together. False when the assets are
        not wanted any more."""
        return await self._database.write(self._complete, job, done, assets)

    async def schedule_retry(self, job: Job, again: Retryable) -> None:
        """It did not happen: try anew after a while, or give up after the last attempt."""
        if job.attempts >= ATTEMPTS[job.kind]:
            await self.fail(job, Failed(code=again.code, message=again.message, detail=again.detail, cost_nano=0))
            return
        wait = min(MAX_WAIT, FIRST_WAIT * 2 ** (job.attempts - 1)) * random.uniform(0.8, 1.2)
        due = clock.after(max(wait, again.wait or 0))
        await self._database.write(self._again, job, again, due)

    async def fail(self, job: Job, never: Failed) -> None:
        await self._database.write(self._fail, job, never)

    async def sweep(self) -> None:
        """Forget the keys of requests that are older than a day; they count no more anyway."""
        await self._database.write(repository.forget_any, clock.now() - KEY_LIFE)

    async def _with_outlook(self, job: Job) -> Job:
        """The unfinished job with its place in line and what such jobs took before; the same object while all is the
        same."""
        if not self._history.knows(job.model):
            self._history.learn_durations(
                job.model, await self._database.read(repository.durations_any, job.model, HISTORY)
            )
        return self._outlooked(job)

    def _outlooked(self, job: Job) -> Job:
        place = self._line.place(job) if job.status is Status.QUEUED else None
        median, most = self._history.durations(job.model)
        outlook = QueueEstimate(place, median, most)
        plain, shown = self._shown.get(job.id, (None, job))
        if plain is not job or shown.estimate != outlook:
            shown = msgspec.structs.replace(job, estimate=outlook)
            if self._live.get(job.id) is job:
                self._shown[job.id] = (job, shown)
        return shown

    def left(self, job: Job) -> float:
        """Seconds until the job's own deadline; a little even when it has passed, for one last look."""
        began = job.started_at or clock.now()
        return max(1.0, (began + timedelta(seconds=self._timeout) - clock.now()).total_seconds())

    def _overdue(self, job: Job) -> bool:
        return job.started_at is not None and clock.now() > job.started_at + timedelta(seconds=self._timeout)

    def _settle(self, tx: Transaction, job: Job, changed: Job | None) -> Job | None:
        """Keep what is being written once it is; None means that somebody else had ended the job before."""
        if changed is not None:
            tx.on_commit(self._keep, changed)
        else:
            tx.on_commit(self._let_go, job)
        return changed

    def _let_go(self, job: Job) -> None:
        live = self._live.get(job.id)
        if live is not None and live.status is job.status:
            self._forget(job.id)

    def _keep(self, job: Job) -> None:
        if job.final:
            self._forget(job.id)
        else:
            self._live[job.id] = job
            self._line.put(job)
            if job.status is Status.PROCESSING and job.upstream_job is not None:
                self._rounds.put(job)
            else:
                self._rounds.drop(job.id)
        self.wake.set()

    def _forget(self, id: str) -> None:
        self._live.pop(id, None)
        self._shown.pop(id, None)
        self._line.drop(id)
        if id not in self._late:
            self._rounds.drop(id)
        ended = self._ended.pop(id, None)
        if ended is not None:
            ended.set()
        if words := self._heard.get(id):
            words.put_nowait(None)

    def _find(self, tx: Transaction, owner: str, id: str) -> Job | None:
        job = repository.find(tx, owner, id)
        return self._with_assets(tx, owner, [job])[0] if job else None

    def _newest(
        self,
        tx: Transaction,
        owner: str,
        kinds: Sequence[Kind],
        statuses: Sequence[Status],
        before: str | None,
        limit: int,
        oldest_first: bool,
    ) -> Page[Job]:
        found = repository.newest(
            tx, owner, kinds=kinds, statuses=statuses, before=before, limit=limit + 1, oldest_first=oldest_first
        )
        items = self._with_assets(tx, owner, found[:limit])
        total = repository.count(tx, owner, kinds=kinds, statuses=statuses)
        return Page(items, total, items[-1].id if len(found) > limit else None)

    def _with_assets(self, tx: Transaction, owner: str, jobs: Sequence[Job]) -> list[Job]:
        made = [job.id for job in jobs if job.kind is not Kind.TEXT and job.final]
        assets = self._library.of_jobs(tx, owner, made)
        return [msgspec.structs.replace(job, assets=tuple(assets[job.id])) if job.id in assets else job for job in jobs]

    def _delete(self, tx: Transaction, owner: str, id: str) -> Job | None:
        now = clock.now()
        job = repository.mark_deleted(tx, owner, id, now)
        if job is not None:
            self._library.delete_with_job(tx, owner, id, now)
        return job

    def _restore(self, tx: Transaction, owner: str, id: str) -> bool:
        job = repository.find_deleted(tx, owner, id)
        if job is None or job.deleted_at is None or job.deleted_at < clock.now() - UNDO:
            return False
        self._library.restore_with_job(tx, owner, id, job.deleted_at)
        return repository.mark_restored(tx, owner, id)

    def _enqueue(
        self,
        tx: Transaction,
        job: Job,
        once: Once | None,
        alone: bool,
        limits: KeyLimits | None,
        beside: Beside | None,
    ) -> str | None:
        """None when it was accepted, else the id of the job that the same request made before, or that is after the
        same result: it is fetched, and its cost counted, once."""
        if job.upstream_job is not None and (
            holder := repository.holder(tx, job.owner_id, job.provider, job.upstream_job)
        ):
            return holder
        if alone and job.retry_of and (under_way := repository.retry_of(tx, job.owner_id, job.retry_of)):
            return under_way
        if once is not None and (first := self.remember(tx, job.owner_id, once, job.id, job.created_at)):
            return first
        self._ledger.hold(tx, job.owner_id, Subject.JOB, job.id, self._expected(tx, job, limits), limits)
        repository.add(tx, job.owner_id, job)
        repository.add_event(tx, job.owner_id, job.id, job.created_at, EventType.QUEUED)
        if beside is not None:
            beside(tx, job)
        tx.on_commit(self._keep, job)
        return None

    def _expected(self, tx: Transaction, job: Job, limits: KeyLimits | None) -> int:
        """What is held for it. A limit must hold after a restart too, when memory knows nothing yet."""
        cost = self._history.cost(job.model)
        if cost is None and limits is not None and limits.cap_nano is not None:
            cost = repository.last_cost_any(tx, job.model)
            tx.on_commit(self._history.learn, job.model, cost)
        return cost or 0

    def _claim(self, tx: Transaction, now: datetime, ids: Sequence[str]) -> Sequence[Job]:
        jobs = repository.claim_any(tx, now, ids)
        for job in jobs:
            if job.upstream_job:
                repository.add_event(tx, job.owner_id, job.id, now, EventType.RESULT_REQUESTED)
            else:
                repository.add_event(tx, job.owner_id, job.id, now, EventType.STARTED, attempt=job.attempts)
            tx.on_commit(self._keep, job)
        return jobs

    def _go_on(self, tx: Transaction, job: Job, later: Pending, due: datetime) -> Job | None:
        changed = repository.put_ticket(
            tx, job.owner_id, job.id, later.upstream_job, state=later.state, progress=later.progress, run_at=due
        )
        if changed is not None and (job.upstream_job is None or job.upstream_state != later.state):
            event = EventType.SUBMITTED if job.upstream_job is None else EventType.PROGRESSED
            repository.add_event(tx, job.owner_id, job.id, clock.now(), event, state=later.state)
        if changed is None:
            self._submit_late(tx, job, later, due)
        return self._settle(tx, job, changed)

    def _submit_late(self, tx: Transaction, job: Job, later: Pending, due: datetime) -> None:
        """It was cancelled while it was being sent: the ticket leads to its bill all the same."""
        waiting = repository.put_late_ticket(tx, job.owner_id, job.id, later.upstream_job)
        if waiting is not None:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.SUBMITTED, state=later.state)
            tx.on_commit(self._await_late, msgspec.structs.replace(waiting, run_at=due))

    def _fetched(self, tx: Transaction, job: Job) -> Job | None:
        changed = repository.note_download(tx, job.owner_id, job.id)
        if changed is not None:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.DOWNLOADED)
        return self._settle(tx, job, changed)

    def _again(self, tx: Transaction, job: Job, again: Retryable, due: datetime) -> Job | None:
        if stopped := self._stop(tx, job, 0):
            return stopped
        changed = repository.put_back(tx, job.owner_id, job.id, due)
        if changed is None:
            self._record_late_result(tx, job, 0, [])
            return None
        detail = {"run_at": clock.iso(due), "code": again.code, "message": again.message}
        repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.RETRY_SCHEDULED, **detail)
        return self._settle(tx, job, changed)

    def _rescue(self, tx: Transaction, job: Job) -> None:
        changed = repository.note_rescue(tx, job.owner_id, job.id)
        repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.RECOVERED)
        self._settle(tx, job, changed)

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
            if self._stop(tx, job, done.cost_nano, done=True):
                return False
            return self._record_late_result(tx, job, done.cost_nano, assets, done)
        self._library.add(tx, job.owner_id, assets)
        self._ledger.settle(tx, job.owner_id, job.id, done.cost_nano)
        repository.add_event(tx, job.owner_id, job.id, now, EventType.COMPLETED)
        tx.on_commit(self._history.learn, job.model, done.cost_nano)
        tx.on_commit(self._forget, job.id)
        return True

    def _fail(self, tx: Transaction, job: Job, never: Failed) -> bool:
        """False when it had ended before, or was to be stopped anyway."""
        now = clock.now()
        failed = repository.fail(
            tx,
            job.owner_id,
            job.id,
            now,
            code=never.code,
            message=never.message,
            detail=never.detail,
            text=never.text,
            cost_nano=never.cost_nano,
        )
        if not failed:
            if not self._stop(tx, job, never.cost_nano):
                self._record_late_result(tx, job, never.cost_nano, [])
            return False
        self._ledger.settle(tx, job.owner_id, job.id, never.cost_nano)
        detail = {"code": never.code, "message": never.message}
        repository.add_event(tx, job.owner_id, job.id, now, EventType.FAILED, **detail)
        tx.on_commit(self._failed, job, never)
        return True

    def _failed(self, job: Job, never: Failed) -> None:
        self._forget(job.id)
        logger.info("job failed", job=job.id, code=never.code.value, detail=never.detail[:500])

    def _mark_unknown(self, tx: Transaction, job: Job) -> None:
        if repository.doubt(tx, job.owner_id, job.id, clock.now()) is not None:
            self._fail(tx, job, _RESTORED)

    def _record_late_result(
        self, tx: Transaction, job: Job, cost_nano: int | None, assets: Sequence[Asset], done: Completed | None = None
    ) -> bool:
        """What came after the cancel: its cost is settled in every case, its result kept when the person chose so."""
        self._settle(tx, job, None)
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

    def _cancel(self, tx: Transaction, job: Job, late: LateResultPolicy, beside: Beside | None = None) -> Job | None:
        now = clock.now()
        changed = repository.cancel(tx, job.owner_id, job.id, now, late)
        if changed is not None:
            self._ledger.settle(tx, job.owner_id, job.id, None if changed.late_result_policy else 0)
            stage = CancelStage.SUBMITTED if changed.late_result_policy else CancelStage.NOT_SUBMITTED
            repository.add_event(tx, job.owner_id, job.id, now, EventType.CANCELLED, stage=stage)
            if changed.late_result_policy and changed.upstream_job:
                tx.on_commit(self._await_late, msgspec.structs.replace(changed, run_at=clock.after(self._pause)))
            if beside is not None:
                beside(tx, changed)
        return self._settle(tx, job, changed)

    def _await_late(self, job: Job) -> None:
        self._late[job.id] = job
        self._rounds.put(job)
        self.wake.set()

    def _end_late(self, job: Job) -> None:
        self._late.pop(job.id, None)
        self._rounds.drop(job.id)

    def _stop(self, tx: Transaction, job: Job, cost_nano: int | None, *, done: bool = False) -> Job | None:
        """The provider has answered, and the person had wished the job stopped: whatever it says, that is the end, but
        for a result that is `done` and welcome."""
        changed = repository.stop(tx, job.owner_id, job.id, clock.now(), cost_nano, keeping=done)
        if changed is not None:
            self._ledger.settle(tx, job.owner_id, job.id, cost_nano)
            stage = CancelStage.FINISHED if done else CancelStage.STOPPED
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.CANCELLED, stage=stage)
            self._settle(tx, job, changed)
        return changed

    def _wish_cancel(self, tx: Transaction, job: Job, late: LateResultPolicy, beside: Beside | None) -> Job | None:
        changed = repository.wish_cancel(tx, job.owner_id, job.id, late)
        if changed is not None:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.CANCEL_REQUESTED)
            if beside is not None:
                beside(tx, changed)
        return self._settle(tx, job, changed)


_RESUMED = (ErrorCode.STORAGE_FULL, ErrorCode.TIMED_OUT)
_ENDED = {Status.COMPLETED: "been completed", Status.FAILED: "failed", Status.CANCELLED: "been cancelled"}
_UNKNOWN = Failed(
    code=ErrorCode.OUTCOME_UNKNOWN,
    message="Atelier was stopped while this was being sent, so it may or may not have been made and charged."
    " It was not sent again. Retry if you still want it.",
)
_RESTORED = Failed(
    code=ErrorCode.OUTCOME_UNKNOWN,
    message="This was waiting when the backup was made that has been restored since, so it may or may not have been made"
    " and charged after that. It was not sent again. Retry if you still want it.",
)
_POISON = Failed(
    code=ErrorCode.RESULT_INVALID,
    message="Atelier went down again and again while it worked on this, so it was set aside. Tell the admin.",
)
TIMED_OUT = Failed(
    code=ErrorCode.TIMED_OUT, message="The provider did not finish in time. Try again, or choose another model."
)
