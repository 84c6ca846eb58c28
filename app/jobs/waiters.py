"""Requests that wait for a job: for its end, for its text piece by piece, or for previews of its images."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec

from app.base import clock
from app.jobs.previews import JobPreviews


class _Wait(msgspec.Struct, eq=False):
    """One request that waits for a job until this time at the latest."""

    until: datetime
    over: asyncio.Event


class JobWaiters:
    """Wakes those who wait for a job. Nothing here needs to survive a restart: a request ends with the process."""

    def __init__(self) -> None:
        self._waits: dict[str, set[_Wait]] = {}
        self._subscribers: dict[str, asyncio.Queue[str | None]] = {}
        self._closing = False
        self.previews = JobPreviews()

    async def wait(self, id: str, seconds: float, run_at: datetime | None = None) -> None:
        """Return when the unfinished job ends, after `seconds`, or as soon as it is known that it will not even be started by
        then. `run_at` is when it is started next, as far as known."""
        wait = _Wait(clock.after(seconds), asyncio.Event())
        if seconds <= 0 or self._closing or (run_at is not None and run_at > wait.until):
            return
        waits = self._waits.setdefault(id, set())
        waits.add(wait)
        try:
            async with asyncio.timeout(seconds):
                await wait.over.wait()
        except TimeoutError:
            pass
        finally:
            waits.discard(wait)
            if not waits:
                self._waits.pop(id, None)

    def postpone(self, id: str, run_at: datetime) -> None:
        """The job is not started before this time: those who would not wait that long are woken."""
        for wait in self._waits.get(id, ()):
            if run_at > wait.until:
                wait.over.set()

    @contextmanager
    def subscription(self, id: str) -> Iterator[asyncio.Queue[str | None]]:
        """The pieces of the job's text as they arrive, then None."""
        deltas = self._subscribers[id] = asyncio.Queue()
        try:
            yield deltas
        finally:
            self._subscribers.pop(id, None)

    def has_subscriber(self, id: str) -> bool:
        """Whether the job's text is being streamed to a client."""
        return id in self._subscribers

    def publish(self, id: str, delta: str) -> None:
        """Send a piece of text to the job's subscriber, if any."""
        if deltas := self._subscribers.get(id):
            deltas.put_nowait(delta)

    def end(self, id: str) -> None:
        """The job has ended."""
        self.previews.end(id)
        for wait in self._waits.get(id, ()):
            wait.over.set()
        if deltas := self._subscribers.get(id):
            deltas.put_nowait(None)

    def release(self) -> None:
        """At shutdown: end all waits and streams, so that each request returns the job's current state."""
        self._closing = True
        for wait in [wait for waits in self._waits.values() for wait in waits]:
            wait.over.set()
        for deltas in self._subscribers.values():
            deltas.put_nowait(None)
