"""The fair queues that decide which job starts next: one for each provider, so that one that is slow or full delays no job for
another."""

import bisect
import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cachetools import FIFOCache

from app.base import clock
from app.jobs.schemas import Job, JobStatus, QueuePosition

# Limits for each provider
MAX_RUNNING_PER_USER: Final = 32  # processing jobs
MAX_RUNNING: Final = 256
MAX_SENDING_PER_USER: Final = 16  # requests that the provider has not answered
MAX_SENDING: Final = 64

MAX_REMEMBERED_USERS: Final = 10_000  # whose last start is remembered

QueueKey = tuple[int, str, str]  # order of a user's jobs: negative priority, rank, and the id of the job


class FairQueue:
    """The waiting jobs of all providers."""

    def __init__(self) -> None:
        self._queues: defaultdict[str, ProviderQueue] = defaultdict(ProviderQueue)
        self._provider_of: dict[str, str] = {}  # by job; it changes when a job moves to another provider

    def put(self, job: Job) -> None:
        """Add or update an unfinished job."""
        self.drop(job.id)
        self._provider_of[job.id] = job.provider
        self._queues[job.provider].put(job)

    def drop(self, id: str) -> None:
        """Remove a job that has ended."""
        provider = self._provider_of.pop(id, None)
        if provider is not None:
            self._queues[provider].drop(id)

    def begin_sending(self, job: Job) -> None:
        """The request of the job is about to be sent."""
        self._queues[job.provider].sending[job.owner_id] += 1

    def end_sending(self, job: Job) -> None:
        """The request was answered or given up, whatever has become of the job in the meantime."""
        self._queues[job.provider].sending[job.owner_id] -= 1

    def has_waiting(self) -> bool:
        """Whether any job is due."""
        return any(queue.has_waiting() for queue in self._queues.values())

    def next_due(self) -> datetime | None:
        """When the next delayed job is due."""
        return min((due for queue in self._queues.values() if (due := queue.next_due())), default=None)

    def next_batch(self, limit: int) -> list[str]:
        """The ids of at most `limit` due jobs to start now, within the limits. They stay queued until `put` is called
        with their new status. Providers with the fewest unanswered requests come first."""
        chosen: list[str] = []
        for queue in sorted(self._queues.values(), key=lambda queue: queue.sending.total()):
            chosen += queue.next_batch(limit - len(chosen))
        return chosen

    def waiting(self, owner: str) -> list[str]:
        """The ids of the user's jobs that are due, in the order in which they will be started."""
        return [key[-1] for key in heapq.merge(*(queue.waiting(owner) for queue in self._queues.values()))]

    def position(self, job: Job) -> QueuePosition | None:
        """Where this job is in the queue of its provider; None while it is not due."""
        return self._queues[job.provider].position(job)


class ProviderQueue:
    """The waiting jobs of one provider. Next is the user with the fewest processing jobs, then the one served longest ago;
    among a user's own jobs, the highest priority, then the lowest rank, which is the oldest job until the user moves one.
    It is updated on every change, so that choosing among thousands of jobs is as cheap as among a few."""

    def __init__(self) -> None:
        self.sending: Counter[str] = Counter()  # unanswered requests by user
        self._jobs: dict[str, Job] = {}
        self._waiting: dict[str, list[QueueKey]] = {}  # of each user with jobs that are due, in order
        self._delayed: list[tuple[datetime, str]] = []  # a heap of jobs that are due later
        self._running: Counter[str] = Counter()  # by user
        self._serves = itertools.count()
        self._served: FIFOCache[str, int] = FIFOCache(MAX_REMEMBERED_USERS)  # when each user was last served, as a rank

    def put(self, job: Job) -> None:
        """Add an unfinished job."""
        self._jobs[job.id] = job
        if job.status is JobStatus.PROCESSING:
            self._running[job.owner_id] += 1
        elif _may_start(job):
            self._insert(job)
        elif not job.paused and job.run_at is not None:
            heapq.heappush(self._delayed, (job.run_at, job.id))

    def drop(self, id: str) -> None:
        job = self._jobs.pop(id)
        if job.status is JobStatus.PROCESSING:
            self._running[job.owner_id] -= 1
            return
        keys, at = self._find(job)
        if at is not None:
            del keys[at]
        if not keys:
            self._waiting.pop(job.owner_id, None)

    def has_waiting(self) -> bool:
        self._promote_due()
        return bool(self._waiting)

    def next_due(self) -> datetime | None:
        return self._delayed[0][0] if self._delayed else None

    def next_batch(self, limit: int) -> list[str]:
        """The ids of at most `limit` due jobs to start now."""
        self._promote_due()
        limit = min(limit, MAX_RUNNING - self._running.total(), MAX_SENDING - self.sending.total())
        chosen: list[str] = []
        started: Counter[str] = Counter()
        while len(chosen) < limit and (owner := self._next_user(started)):
            chosen.append(self._waiting[owner][started[owner]][-1])
            started[owner] += 1
            self._served[owner] = next(self._serves)
        return chosen

    def waiting(self, owner: str) -> list[QueueKey]:
        """The user's jobs that are due, in order."""
        self._promote_due()
        return self._waiting.get(owner, [])

    def position(self, job: Job) -> QueuePosition | None:
        keys, at = self._find(job)
        if at is None:
            return None
        own_rank = self._running[job.owner_id] + at
        others = sum(
            min(len(keys), max(0, own_rank - self._running[owner]))
            for owner, keys in self._waiting.items()
            if owner != job.owner_id
        )
        return QueuePosition(at + others + 1, at + 1, len(keys))

    def _next_user(self, started: Mapping[str, int]) -> str | None:
        """The user whose job is started next, when so many of each user's jobs are already about to be."""
        candidates = [
            (self._running[owner] + started[owner], self._served.get(owner, -1), owner)
            for owner, keys in self._waiting.items()
            if started[owner] < len(keys)
            and self._running[owner] + started[owner] < MAX_RUNNING_PER_USER
            and self.sending[owner] + started[owner] < MAX_SENDING_PER_USER
        ]
        return min(candidates)[2] if candidates else None

    def _promote_due(self) -> None:
        now = clock.now()
        while self._delayed and self._delayed[0][0] <= now:
            run_at, id = heapq.heappop(self._delayed)
            job = self._jobs.get(id)
            if job is not None and _may_start(job) and job.run_at == run_at and self._find(job)[1] is None:
                self._insert(job)

    def _insert(self, job: Job) -> None:
        bisect.insort(self._waiting.setdefault(job.owner_id, []), _key(job))

    def _find(self, job: Job) -> tuple[list[QueueKey], int | None]:
        """The user's jobs that are due, and the index of this one; None while it is not due."""
        keys, key = self._waiting.get(job.owner_id, []), _key(job)
        at = bisect.bisect_left(keys, key)
        return keys, at if at < len(keys) and keys[at] == key else None


def _key(job: Job) -> QueueKey:
    return (-job.priority, job.queue_rank or job.id, job.id)


def _may_start(job: Job) -> bool:
    """Whether the job is queued, not paused, and due."""
    return job.status is JobStatus.QUEUED and not job.paused and (job.run_at is None or job.run_at <= clock.now())
