"""The fair queue that decides which job starts next."""

import heapq
import itertools
from collections import Counter
from datetime import datetime
from typing import Final

from cachetools import FIFOCache

from app.base import clock
from app.jobs.schemas import Job, JobStatus

MAX_RUNNING_PER_USER: Final = 32  # processing jobs per user
MAX_RUNNING_PER_PROVIDER: Final = 256  # processing jobs per provider
MAX_REMEMBERED_USERS: Final = 10_000  # whose last start is remembered

QueueKey = tuple[int, str]  # order of a user's jobs: negative priority, then id, which sorts by age


class FairQueue:
    """The queue of waiting jobs. Next is the user with the fewest processing jobs, then the one served longest ago;
    among a user's own jobs, the highest priority, then the oldest. It is updated on every change, so that choosing
    among thousands of jobs is as cheap as among a few."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._waiting: dict[str, list[QueueKey]] = {}  # one heap per user
        self._delayed: list[tuple[datetime, str]] = []  # a heap of jobs that are due later
        self._running: Counter[str] = Counter()  # by user
        self._running_at_provider: Counter[str] = Counter()  # by provider
        self._positions: dict[str, int] = {}  # computed positions; cleared on every change
        self._serves = itertools.count()
        self._served: FIFOCache[str, int] = FIFOCache(MAX_REMEMBERED_USERS)  # when each user was last served, as a rank

    def put(self, job: Job) -> None:
        """Add or update an unfinished job."""
        self._remove(job.id)
        self._positions.clear()
        self._jobs[job.id] = job
        if job.status is JobStatus.PROCESSING:
            self._running[job.owner_id] += 1
            self._running_at_provider[job.provider] += 1
        elif job.paused:
            return
        elif job.run_at is not None and job.run_at > clock.now():
            heapq.heappush(self._delayed, (job.run_at, job.id))
        else:
            heapq.heappush(self._waiting.setdefault(job.owner_id, []), (-job.priority, job.id))

    def drop(self, id: str) -> None:
        """Remove a job that has ended."""
        self._remove(id)
        self._positions.clear()

    def has_waiting(self) -> bool:
        """Whether any job is due."""
        self._promote_due()
        return any(self._head(owner) for owner in list(self._waiting))

    def next_due(self) -> datetime | None:
        """When the next delayed job is due."""
        return self._delayed[0][0] if self._delayed else None

    def next_batch(self, limit: int) -> list[str]:
        """The ids of at most `limit` due jobs to start now, within the limits. They stay queued until `put` is called
        with their new status."""
        self._promote_due()
        chosen: list[str] = []
        started_by_user: Counter[str] = Counter()
        started_at_provider: Counter[str] = Counter()
        popped: dict[str, list[QueueKey]] = {}
        while len(chosen) < limit:
            owner = self._next_user(started_by_user)
            if owner is None:
                break
            key = heapq.heappop(self._waiting[owner])
            job = self._jobs[key[1]]
            if job.id in chosen:  # it is in the heap twice
                continue
            popped.setdefault(owner, []).append(key)
            if self._running_at_provider[job.provider] + started_at_provider[job.provider] >= MAX_RUNNING_PER_PROVIDER:
                started_by_user[owner] += MAX_RUNNING_PER_USER  # its provider is full, so this user's jobs wait
                continue
            started_by_user[owner] += 1
            started_at_provider[job.provider] += 1
            chosen.append(job.id)
            self._served[owner] = next(self._serves)
        for owner, keys in popped.items():  # they stay queued until the database write succeeds
            for key in keys:
                heapq.heappush(self._waiting.setdefault(owner, []), key)
        return chosen

    def running(self, owner: str) -> int:
        """How many jobs of this user are processing."""
        return self._running[owner]

    def position(self, job: Job) -> int:
        """The approximate position of this queued job; 1 is next."""
        if job.id not in self._positions:
            self._positions[job.id] = self._position(job)
        return self._positions[job.id]

    def _position(self, job: Job) -> int:
        own_key = (-job.priority, job.id)
        ahead = sum(key < own_key for key in self._waiting.get(job.owner_id, []))
        own_rank = self._running[job.owner_id] + ahead
        others = sum(
            min(len(keys), max(0, own_rank - self._running[owner]))
            for owner, keys in self._waiting.items()
            if owner != job.owner_id
        )
        return ahead + others + 1

    def _next_user(self, started_by_user: Counter[str]) -> str | None:
        """The user whose job is started next."""
        candidates = [
            (self._running[owner] + started_by_user[owner], self._served.get(owner, -1), owner)
            for owner in list(self._waiting)
            if self._head(owner) and self._running[owner] + started_by_user[owner] < MAX_RUNNING_PER_USER
        ]
        return min(candidates)[2] if candidates else None

    def _head(self, owner: str) -> QueueKey | None:
        """The user's next queued job. Heap entries of jobs that have ended or were delayed are discarded."""
        keys = self._waiting[owner]
        while keys:
            job = self._jobs.get(keys[0][1])
            if job is not None and _may_start(job):
                return keys[0]
            heapq.heappop(keys)
        del self._waiting[owner]
        return None

    def _promote_due(self) -> None:
        now = clock.now()
        while self._delayed and self._delayed[0][0] <= now:
            run_at, id = heapq.heappop(self._delayed)
            job = self._jobs.get(id)
            if job is not None and _may_start(job) and job.run_at == run_at:
                self._positions.clear()
                heapq.heappush(self._waiting.setdefault(job.owner_id, []), (-job.priority, id))

    def _remove(self, id: str) -> None:
        job = self._jobs.pop(id, None)
        if job is None:
            return
        if job.status is JobStatus.PROCESSING:
            self._running[job.owner_id] -= 1
            self._running_at_provider[job.provider] -= 1
        elif keys := self._waiting.get(job.owner_id):
            key = (-job.priority, id)
            if keys[0] == key:  # the common case; other entries are discarded when they reach the head
                heapq.heappop(keys)
            if not keys:
                del self._waiting[job.owner_id]


def _may_start(job: Job) -> bool:
    """Whether the job is queued, not paused, and due."""
    return job.status is JobStatus.QUEUED and not job.paused and (job.run_at is None or job.run_at <= clock.now())
