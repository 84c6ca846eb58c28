"""Whom to ask next: the jobs that are being made at a provider, each with the moment of its next poll."""

import heapq
from collections.abc import Sequence
from datetime import datetime

from app.base import clock
from app.jobs.schemas import Job


class PollSchedule:
    """It is told of every change, so that a turn of the worker costs no more for thousands of jobs than for a few. A job
    that was taken to be asked after is not given out again before it is `back`."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._when: dict[str, datetime] = {}
        self._line: list[tuple[datetime, str]] = []  # a heap; what is not true any more is passed over
        self._out: set[str] = set()
        self._hinted: set[str] = set()

    def put(self, job: Job) -> None:
        """Ask after this job, as it is now, when it is due; at once when it does not say."""
        self._jobs[job.id] = job
        if job.id not in self._out:
            self._line_up(job)

    def drop(self, id: str) -> None:
        """Nothing more is expected of it."""
        self._jobs.pop(id, None)
        self._when.pop(id, None)
        self._hinted.discard(id)

    def poll_now(self, id: str) -> None:
        """It may have ended: ask at once, or once more when it is being asked at this moment, or as soon as one can."""
        self._hinted.add(id)
        if id in self._jobs and id not in self._out:
            self._line_up(self._jobs[id])

    def take(self, limit: int) -> Sequence[Job]:
        """At most so many of those that are due."""
        now, taken = clock.now(), list[Job]()
        while len(taken) < limit and (due := self.next_due()) is not None and due <= now:
            _, id = heapq.heappop(self._line)
            self._out.add(id)
            self._hinted.discard(id)
            taken.append(self._jobs[id])
        return taken

    def release(self, id: str) -> None:
        """It was asked, and what came of it has been put or dropped."""
        self._out.discard(id)
        if id in self._jobs:
            self._line_up(self._jobs[id])

    def ids(self) -> set[str]:
        """All jobs that are to be polled, whenever that is."""
        return set(self._jobs)

    def next_due(self) -> datetime | None:
        while self._line:
            due, id = self._line[0]
            if self._when.get(id) == due and id not in self._out:
                return due
            heapq.heappop(self._line)
        return None

    def _line_up(self, job: Job) -> None:
        due = clock.now() if job.run_at is None or job.id in self._hinted else job.run_at
        self._when[job.id] = due
        heapq.heappush(self._line, (due, job.id))
