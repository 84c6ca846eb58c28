"""The fair queue that decides which job starts next."""

import bisect
import heapq
import itertools
from collections import Counter
from datetime import datetime
from typing import Final

from cachetools import FIFOCache

from app.base import clock
from app.jobs.schemas import Job, JobStatus, QueuePosition

MAX_RUNNING_PER_USER: Final = 32  # processing jobs per user
MAX_RUNNING_PER_PROVIDER: Final = 256  # processing jobs per provider
MAX_SUBMITS: Final = 16  # concurrent submits
MAX_REMEMBERED_USERS: Final = 10_000  # whose last start is remembered

QueueKey = tuple[int, str, str]  # order of a user's jobs: negative priority, rank, and the id of the job


class FairQueue:
    """The queue of waiting jobs. Next is the user with the fewest processing jobs, then the one served longest ago;
    among a user's own jobs, the highest priority, then the lowest rank, which is the oldest job until the user moves one.
    It is updated on every change, so that choosing among thousands of jobs is as cheap as among a few."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._waiting: dict[str, list[QueueKey]] = {}  # of each user with jobs that are due, in order
        self._delayed: list[tuple[datetime, str]] = []  # a heap of jobs that are due later
        self._running: Counter[str] = Counter()  # by user
        self._running_at_provider: Counter[str] = Counter()  # by provider
        self._serves = itertools.count()
        self._served: FIFOCache[str, int] = FIFOCache(MAX_REMEMBERED_USERS)  # when each user was last served, as a rank

    def put(self, job: Job) -> None:
        """Add or update an unfinished job."""
        self.drop(job.id)
        self._jobs[job.id] = job
        if job.status is JobStatus.PROCESSING:
            self._running[job.owner_id] += 1
            self._running_at_provider[job.provider] += 1
        elif _may_start(job):
            self._insert(job)
        elif not job.paused and job.run_at is not None:
            heapq.heappush(self._delayed, (job.run_at, job.id))

    def drop(self, id: str) -> None:
        """Remove a job that has ended."""
        job = self._jobs.pop(id, None)
        if job is None:
            return
        if job.status is JobStatus.PROCESSING:
            self._running[job.owner_id] -= 1
            self._running_at_provider[job.provider] -= 1
            return
        keys, at = self._find(job)
        if at is not None:
            del keys[at]
        if not keys:
            self._waiting.pop(job.owner_id, None)

    def has_waiting(self) -> bool:
        """Whether any job is due."""
        self._promote_due()
        return bool(self._waiting)

    def next_due(self) -> datetime | None:
        """When the next delayed job is due."""
        return self._delayed[0][0] if self._delayed else None

    def next_batch(self, limit: int) -> list[str]:
        """The ids of at most `limit` due jobs to start now, within the limits. They stay queued until `put` is called
        with their new status."""
        self._promote_due()
        chosen: list[str] = []
        considered: Counter[str] = Counter()  # the first so many jobs of each user
        started_by_user: Counter[str] = Counter()
        started_at_provider: Counter[str] = Counter()
        while len(chosen) < limit:
            owner = self._next_user(considered, started_by_user)
            if owner is None:
                break
            job = self._jobs[self._waiting[owner][considered[owner]][-1]]
            considered[owner] += 1
            if self._running_at_provider[job.provider] + started_at_provider[job.provider] >= MAX_RUNNING_PER_PROVIDER:
                started_by_user[owner] += MAX_RUNNING_PER_USER  # its provider is full, so this user's jobs wait
                continue
            started_by_user[owner] += 1
            started_at_provider[job.provider] += 1
            chosen.append(job.id)
            self._served[owner] = next(self._serves)
        return chosen

    def running(self, owner: str) -> int:
        """How many jobs of this user are processing."""
        return self._running[owner]

    def waiting(self, owner: str) -> list[str]:
        """The ids of the user's jobs that are due, in the order in which they will be started."""
        self._promote_due()
        return [key[-1] for key in self._waiting.get(owner, ())]

    def position(self, job: Job) -> QueuePosition | None:
        """Where this job is in the queue; None while it is not due."""
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

    def _next_user(self, considered: Counter[str], started: Counter[str]) -> str | None:
        """The user whose job is started next."""
        candidates = [
            (self._running[owner] + started[owner], self._served.get(owner, -1), owner)
            for owner, keys in self._waiting.items()
            if considered[owner] < len(keys) and self._running[owner] + started[owner] < MAX_RUNNING_PER_USER
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
