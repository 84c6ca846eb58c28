"""What the worker does to jobs: it claims them, records each outcome, and recovers them after a restart."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from app.base import clock
from app.catalog.service import Catalog
from app.db.database import Database
from app.db.transaction import Transaction
from app.jobs import list_repository, repository
from app.jobs.live_jobs import LiveJobs
from app.jobs.schemas import Job, JobStatus, JobWarning
from app.jobs.transitions import Transitions
from app.library.schemas import Asset
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Pending, Retryable

MAX_ATTEMPTS: Final = {Kind.TEXT: 4, Kind.IMAGE: 4, Kind.VIDEO: 6, Kind.AUDIO: 4, Kind.RENDER: 4}
FIRST_RETRY_DELAY: Final = 2.0  # seconds before the second attempt; doubles with each further attempt
MAX_RETRY_DELAY: Final = 120.0
MAX_RECOVERIES: Final = 5  # restarts that may interrupt a job while its result is processed, before it is failed

TIMED_OUT: Final = Failed(
    code=ErrorCode.TIMED_OUT, message="The provider did not finish in time. Retry, or choose another model."
)


class Execution:
    """Every change is durable when a method returns."""

    def __init__(
        self,
        database: Database,
        transitions: Transitions,
        live: LiveJobs,
        catalog: Catalog,
        *,
        timeout: float,
        poll_interval: float,
    ) -> None:
        """`timeout` is how long a job may process and `poll_interval` the time between two polls, both in seconds."""
        self._database = database
        self._transitions = transitions
        self._live = live
        self._catalog = catalog
        self._timeout = timedelta(seconds=timeout)
        self._poll_interval = poll_interval

    async def rescue(self, *, restored: bool = False) -> None:
        """At startup: recover the jobs that the last process left unfinished. A processing job with an upstream job is
        polled again. Without one, the paid request may or may not have been sent, so the job fails and is never resent
        automatically. The same applies to queued jobs of a `restored` database: they may have been sent after the
        backup."""
        for job in await self._database.read(_unfinished):
            if job.status is JobStatus.PROCESSING and job.upstream_job is None:
                await self.fail(job, _UNKNOWN)
            elif restored and job.upstream_job is None:
                await self._database.write_for(job.id, self._transitions.mark_unknown, job, _RESTORED)
            elif job.status is JobStatus.PROCESSING and job.recovery_count >= MAX_RECOVERIES:
                await self.fail(job, _CRASHES_SERVER)
            elif job.status is JobStatus.PROCESSING:
                await self._database.write_for(job.id, self._transitions.rescue, job)
            else:
                self._live.put(job)
        for job in await self._database.read(list_repository.awaiting_late_any):
            if job.upstream_job is None:  # the request whose response was awaited ended with the last process
                await self._database.write_for(job.id, self._transitions.record_late_result, job, None, [])
            else:
                self._live.await_late(job)

    async def claim(self, limit: int) -> Sequence[Job]:
        """Move queued jobs that are due to processing, fairly between users."""
        chosen = self._live.next_batch(limit)
        return await self._database.write(self._transitions.claim, clock.now(), chosen) if chosen else []

    async def record_progress(self, job: Job, pending: Pending) -> None:
        """The job continues at the provider: store its upstream job and state."""
        if self.is_overdue(job):
            await self.fail(job, TIMED_OUT)
            return
        interval = self._poll_interval if pending.poll_within is None else min(self._poll_interval, pending.poll_within)
        run_at = clock.after(max(interval, pending.wait or 0))
        late, live = self._live.awaiting_late(job.id), self._live.find(job.id)
        if late is not None:  # already cancelled; only a result or a cost may still arrive
            self._live.await_late(msgspec.structs.replace(late, run_at=run_at))
        elif live is not None and (live.upstream_state, live.progress, live.upstream_job) == (
            pending.state,
            pending.progress,
            pending.upstream_job,
        ):
            self._live.put(msgspec.structs.replace(live, run_at=run_at))  # unchanged: no write
        else:
            await self._database.write_for(job.id, self._transitions.record_progress, job, pending, run_at)

    async def mark_downloaded(self, job: Job) -> None:
        """Record that the result was downloaded, before it is processed: if processing it crashes the server, the next
        start knows which job was the cause. Without an upstream job the result cannot be fetched again, so nothing is
        recorded."""
        live = self._live.find(job.id)
        if live is not None and live.upstream_job is not None and live.upstream_state != repository.DOWNLOADED:
            await self._database.write_for(job.id, self._transitions.mark_downloaded, live)

    async def complete(
        self, job: Job, done: Completed, assets: Sequence[Asset], warnings: Sequence[JobWarning] = ()
    ) -> bool:
        """Write the completed job, its stored assets and its ledger settlement in one transaction. `warnings` say which outputs are
        missing. False if the assets are no longer wanted."""
        all_warnings = [*job.warnings, *warnings]
        return await self._database.write_for(job.id, self._transitions.complete, job, done, assets, all_warnings)

    async def schedule_retry(self, job: Job, retryable: Retryable) -> None:
        """Queue the job for another attempt after a delay, or at once at another provider with the same model if nothing was sent;
        fail it after the last attempt."""
        if retryable.code is ErrorCode.PROVIDER_UNREACHABLE and await self._move(job):
            return
        if job.attempts >= MAX_ATTEMPTS[job.kind]:
            failed = Failed(
                code=retryable.code,
                message=retryable.message,
                detail=retryable.detail,
                cost_nano=0,
                carried_out=False,
            )
            await self.fail(job, failed)
            return
        delay = min(MAX_RETRY_DELAY, FIRST_RETRY_DELAY * 2 ** (job.attempts - 1)) * random.uniform(0.8, 1.2)
        run_at = clock.after(max(delay, retryable.wait or 0))
        await self._database.write_for(job.id, self._transitions.schedule_retry, job, retryable, run_at)

    async def _move(self, job: Job) -> bool:
        """To the next provider in order that has the same model. After the last one it is the first one's turn, after a delay."""
        others = self._catalog.alternatives(job.model)
        if others:
            others = await self._database.read(self._transitions.allowed, job, others)
        if job.attempts >= MAX_ATTEMPTS[job.kind] or (job.attempts - 1) % (len(others) + 1) >= len(others):
            return False
        return await self._database.write_for(job.id, self._transitions.move, job, others[0])

    async def fail(self, job: Job, failed: Failed) -> None:
        await self._database.write_for(job.id, self._transitions.fail, job, failed)

    def seconds_left(self, job: Job) -> float:
        """Seconds until the job's deadline, at least 1 so that an overdue job is polled once more."""
        return max(1.0, (self._deadline(job.started_at or clock.now()) - clock.now()).total_seconds())

    def is_overdue(self, job: Job) -> bool:
        """Whether a processing job is past its deadline."""
        return job.started_at is not None and clock.now() > self._deadline(job.started_at)

    def _deadline(self, started_at: datetime) -> datetime:
        return started_at + self._timeout


def _unfinished(tx: Transaction) -> list[Job]:
    return repository.with_inputs_any(tx, list_repository.unfinished_any(tx))


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
