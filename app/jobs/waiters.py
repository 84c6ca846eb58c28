"""Requests that wait for a job: for its end, or for its text piece by piece."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class JobWaiters:
    """Wakes those who wait for a job. Nothing here needs to survive a restart: a request ends with the process."""

    def __init__(self) -> None:
        self._end_signals: dict[str, asyncio.Event] = {}
        self._subscribers: dict[str, asyncio.Queue[str | None]] = {}
        self._closing = False

    async def wait(self, id: str, seconds: float) -> None:
        """Return when the unfinished job ends, or after `seconds`."""
        if seconds <= 0 or self._closing:
            return
        ended = self._end_signals.setdefault(id, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await ended.wait()
        except TimeoutError:
            pass

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
        ended = self._end_signals.pop(id, None)
        if ended is not None:
            ended.set()
        if deltas := self._subscribers.get(id):
            deltas.put_nowait(None)

    def release(self) -> None:
        """At shutdown: end all waits and streams, so that each request returns the job's current state."""
        self._closing = True
        for signal in self._end_signals.values():
            signal.set()
        for deltas in self._subscribers.values():
            deltas.put_nowait(None)
