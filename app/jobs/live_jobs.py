"""The unfinished jobs in memory: every open page polls their cards every few seconds, and a poll must not cost a read.

Only `transitions` writes the rows, and it updates these copies on commit, so they are always current.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from app.base import clock
from app.jobs.model_history import ModelHistory
from app.jobs.poll_schedule import PollSchedule
from app.jobs.queue_order import QueuePlace
from app.jobs.scheduler import MAX_RUNNING_PER_USER, MAX_SENDING, MAX_SENDING_PER_USER, FairQueue
from app.jobs.schemas import Job, JobsSnapshot, JobStatus, QueueEstimate, QueuePosition
from app.jobs.start_estimate import starts_at
from app.jobs.waiters import JobWaiters
from app.providers.contract import Kind


class LiveJobs:
    """The unfinished jobs, which of them is started and polled next, and the cancelled jobs whose provider may still send a
    result or a cost. `wake` is set whenever the worker may have something to do."""

    def __init__(self, waiters: JobWaiters, history: ModelHistory, queue: FairQueue, polls: PollSchedule) -> None:
        self._waiters = waiters
        self._history = history
        self._queue = queue
        self._polls = polls
        self._unfinished: dict[str, Job] = {}
        self._processing: dict[str, Job] = {}  # a part of them
        self._estimated: dict[str, tuple[Job, Job]] = {}  # each without and with its last estimate
        self._awaiting_late: dict[str, Job] = {}
        self.wake = asyncio.Event()

    # Updates

    def put(self, job: Job) -> None:
        """Add or replace a job; one that has ended is removed."""
        if job.final:
            self.remove(job.id)
        else:
            self._unfinished[job.id] = job
            self._queue.put(job)
            if job.status is JobStatus.PROCESSING:
                self._processing[job.id] = job
            else:
                self._processing.pop(job.id, None)
            if job.status is JobStatus.QUEUED and job.run_at is not None:
                self._waiters.postpone(job.id, job.run_at)
            if job.status is JobStatus.PROCESSING and job.upstream_job is not None:
                self._polls.put(job)
            else:
                self._polls.drop(job.id)
        self.wake.set()

    def remove(self, id: str) -> None:
        """The job has ended."""
        self._unfinished.pop(id, None)
        self._processing.pop(id, None)
        self._estimated.pop(id, None)
        self._queue.drop(id)
        if id not in self._awaiting_late:
            self._polls.drop(id)
        self._waiters.end(id)

    def remove_stale(self, job: Job) -> None:
        """The row is in another state than `job`: remove the copy if it is in that state, too."""
        live = self._unfinished.get(job.id)
        if live is not None and live.status is job.status:
            self.remove(job.id)

    def set_paused(self, ids: Sequence[str], paused: bool) -> None:
        """These unfinished jobs are not started, or may be started again."""
        for id in ids:
            if (job := self._unfinished.get(id)) is not None:
                self.put(msgspec.structs.replace(job, paused=paused))

    def set_places(self, places: Sequence[QueuePlace]) -> None:
        """These queued jobs have been moved."""
        for place in places:
            if (job := self._unfinished.get(place.id)) is not None:
                self.put(msgspec.structs.replace(job, priority=place.priority, queue_rank=place.rank))

    def await_late(self, job: Job) -> None:
        """The job was cancelled, but its provider is still polled, at `run_at`, for a result or a cost."""
        self._awaiting_late[job.id] = job
        self._polls.put(job)
        self.wake.set()

    def end_late(self, job: Job) -> None:
        """Nothing more is expected of this cancelled job."""
        self._awaiting_late.pop(job.id, None)
        self._polls.drop(job.id)

    # Lookups

    def find(self, id: str) -> Job | None:
        """The unfinished job in its current state; None once it has ended."""
        return self._unfinished.get(id)

    def awaiting_late(self, id: str) -> Job | None:
        return self._awaiting_late.get(id)

    def is_wanted(self, id: str) -> bool:
        """Whether the job is unfinished and no cancel was requested."""
        live = self._unfinished.get(id)
        return live is not None and not live.cancel_requested

    def processing(self) -> Sequence[Job]:
        return list(self._processing.values())

    def of_user(self, owner: str, status: JobStatus) -> Sequence[Job]:
        """The user's unfinished jobs in this status, oldest first."""
        return [job for job in self._unfinished.values() if job.owner_id == owner and job.status is status]

    def waiting(self, owner: str) -> Sequence[str]:
        """The ids of the user's queued jobs that are due, in the order in which they will be started."""
        return self._queue.waiting(owner)

    def snapshot(self) -> JobsSnapshot:
        """The jobs held in memory, to be compared with the rows."""
        return JobsSnapshot(unfinished=dict(self._unfinished), awaiting_late_result=dict(self._awaiting_late))

    def longest_wait(self) -> float:
        """How many seconds the oldest queued job that could start has waited."""
        now = clock.now()
        waiting = [job for job in self._unfinished.values() if job.status is JobStatus.QUEUED and not job.paused]
        since = [job.run_at or job.created_at for job in waiting]
        return max(0.0, (now - min(since, default=now)).total_seconds())

    def estimate(self, job: Job) -> Job:
        """The unfinished job with its queue estimate and its newest preview; the same object while nothing changes."""
        position = self._queue.position(job) if job.status is JobStatus.QUEUED else None
        median, p90 = self._history.durations(job.model)
        estimate = QueueEstimate(position, self._starts_at(job, position, median), median, p90)
        newest = self._waiters.previews.newest(job.id)
        preview = newest.index if newest is not None else None
        plain, estimated = self._estimated.get(job.id, (None, job))
        if plain is not job or (estimated.estimate, estimated.preview) != (estimate, preview):
            estimated = msgspec.structs.replace(job, estimate=estimate, preview=preview)
            if self._unfinished.get(job.id) is job:
                self._estimated[job.id] = (job, estimated)
        return estimated

    def _starts_at(self, job: Job, position: QueuePosition | None, seconds: float | None) -> datetime | None:
        """When a queued job will be started: when it is due, its user may have one more job running, and one more can be sent."""
        if position is None:
            return None if job.paused or job.status is JobStatus.PROCESSING else job.run_at
        now, processing = clock.now(), [each for each in self._processing.values() if each.provider == job.provider]
        own = [each for each in processing if each.owner_id == job.owner_id]
        to_send = 0.0 if self._sends_quickly(job) else seconds

        def sent_at(jobs: list[Job]) -> list[datetime]:
            return [self._is_sent_at(each, seconds, now) for each in jobs if each.upstream_job is None]

        own_ends = [self._ends_at(each, seconds, now) for each in own]
        slots = (
            starts_at(now, own_ends, MAX_RUNNING_PER_USER, position.own - 1, seconds),
            starts_at(now, sent_at(own), MAX_SENDING_PER_USER, position.own - 1, to_send),
            starts_at(now, sent_at(processing), MAX_SENDING, position.overall - 1, to_send),
        )
        if None in slots:
            return None
        latest = max(each for each in slots if each is not None)
        return latest if latest > now else job.run_at or job.created_at

    def _ends_at(self, job: Job, seconds: float | None, now: datetime) -> datetime:
        """When a processing job will probably end; `seconds` is assumed where nothing is known of its model."""
        median, _ = self._history.durations(job.model)
        return (job.started_at or now) + timedelta(seconds=median if median is not None else seconds or 0.0)

    def _is_sent_at(self, job: Job, seconds: float | None, now: datetime) -> datetime:
        """When the request of a processing job will be answered."""
        return now if self._sends_quickly(job) else self._ends_at(job, seconds, now)

    def _sends_quickly(self, job: Job) -> bool:
        """Whether the provider only queues the job when it is sent, instead of carrying it out."""
        return job.kind is Kind.VIDEO or self._history.is_queued_upstream(job.model)

    # What the worker does next

    def has_waiting(self) -> bool:
        """Whether a queued job is due now."""
        return self._queue.has_waiting()

    def next_batch(self, limit: int) -> Sequence[Job]:
        """At most `limit` queued jobs to start now, fairly between users."""
        return [self._unfinished[id] for id in self._queue.next_batch(limit)]

    def begin_sending(self, job: Job) -> None:
        """The request of the job is about to be sent. Call `end_sending` afterwards."""
        self._queue.begin_sending(job)

    def end_sending(self, job: Job) -> None:
        """The request was answered or given up: another may be sent."""
        self._queue.end_sending(job)
        self.wake.set()

    def to_poll(self, limit: int) -> Sequence[Job]:
        """The submitted jobs whose next poll is due; at most `limit` of each provider are polled at a time. Call `polled` for each
        afterwards."""
        return self._polls.take(limit)

    def polled(self, job: Job) -> None:
        """The job was polled and the outcome recorded."""
        self._polls.release(job.id)

    def poll_now(self, id: str, provider: str) -> None:
        """Poll this job of the provider as soon as possible, if it is unfinished or a late result is expected."""
        job = self._unfinished.get(id) or self._awaiting_late.get(id)
        if job is not None and job.provider == provider:
            self._polls.poll_now(id)
            self.wake.set()

    def next_due(self) -> datetime | None:
        """When the next job is due to be started or polled."""
        return min((run_at for run_at in (self._queue.next_due(), self._polls.next_due()) if run_at), default=None)
