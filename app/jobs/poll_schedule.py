"""When to poll which job at its provider next."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime

from app.base import clock
from app.jobs.schemas import Job


class PollSchedule:
    """Submitted jobs by the time of their next poll. It is updated on every change, so that thousands of jobs cost the
    worker no more than a few. A job returned by `take` is not returned again before `release`."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._due_at: dict[str, datetime] = {}
        self._heaps: defaultdict[str, list[tuple[datetime, str]]] = defaultdict(list)  # by provider; some are outdated
        self._taken: dict[str, str] = {}  # the jobs that are being polled, and their providers
        self._urgent: set[str] = set()

    def put(self, job: Job) -> None:
        """Add or update a job; it is polled at its `run_at`, or at once without one."""
        self._jobs[job.id] = job
        if job.id not in self._taken:
            self._schedule(job)

    def drop(self, id: str) -> None:
        """Stop polling this job."""
        self._jobs.pop(id, None)
        self._due_at.pop(id, None)
        self._urgent.discard(id)

    def poll_now(self, id: str) -> None:
        """Poll this job as soon as possible, or once more if it is being polled right now."""
        self._urgent.add(id)
        if id in self._jobs and id not in self._taken:
            self._schedule(self._jobs[id])

    def take(self, limit: int) -> Sequence[Job]:
        """The jobs that are due, but no more than `limit` of each provider are polled at a time: one that answers slowly delays
        no poll of another."""
        now, jobs, being_polled = clock.now(), list[Job](), Counter(self._taken.values())
        for provider in self._heaps:
            while being_polled[provider] < limit and (due_at := self._next_due(provider)) is not None and due_at <= now:
                _, id = heapq.heappop(self._heaps[provider])
                self._taken[id] = provider
                being_polled[provider] += 1
                self._urgent.discard(id)
                jobs.append(self._jobs[id])
        return jobs

    def release(self, id: str) -> None:
        """The job was polled, and the outcome was passed to `put` or `drop`."""
        self._taken.pop(id, None)
        if id in self._jobs:
            self._schedule(self._jobs[id])

    def ids(self) -> set[str]:
        """The ids of all jobs that are polled, due or not."""
        return set(self._jobs)

    def next_due(self) -> datetime | None:
        return min((due_at for provider in self._heaps if (due_at := self._next_due(provider))), default=None)

    def _next_due(self, provider: str) -> datetime | None:
        heap = self._heaps[provider]
        while heap:
            due_at, id = heap[0]
            if self._due_at.get(id) == due_at and id not in self._taken and self._jobs[id].provider == provider:
                return due_at
            heapq.heappop(heap)
        return None

    def _schedule(self, job: Job) -> None:
        due_at = clock.now() if job.run_at is None or job.id in self._urgent else job.run_at
        self._due_at[job.id] = due_at
        heapq.heappush(self._heaps[job.provider], (due_at, job.id))
