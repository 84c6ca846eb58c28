"""The simulator at the pace of a test: an answer goes on when the test lets it, not when some time has passed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.providers.simulator.runtime import Runtime

BOUND = 300.0  # seconds; only a broken product takes this long


class Pace:
    """Decides how far the answers to prompts with [slow] in them get."""

    def __init__(self) -> None:
        self._pauses = asyncio.Semaphore(0)
        self._free = asyncio.Event()
        self._answers: set[asyncio.Task[Any]] = set()

    def allow(self, words: int) -> None:
        """Let the answers go on by about this many words."""
        for _ in range(words):
            self._pauses.release()

    def finish(self) -> None:
        """Let every answer go on to its end."""
        self._free.set()
        self.allow(1)

    async def pause(self) -> None:
        """Wait until the test allows the next word."""
        task = asyncio.current_task()
        assert task
        self._answers.add(task)
        if not self._free.is_set():
            async with asyncio.timeout(BOUND):
                await self._pauses.acquire()
            if self._free.is_set():
                self._pauses.release()  # for the next that waits

    async def close(self) -> None:
        """Wait until no answer is left that could take the words of a later test."""
        self.finish()
        if self._answers:
            _, left = await asyncio.wait(self._answers, timeout=BOUND)
            assert not left


@asynccontextmanager
async def paced(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pace]:
    """Every pause that the simulators in this process make for a prompt with [slow] in it, one before each word of a streamed
    answer, lasts until the test lets it end. All other prompts are answered as usual."""
    pace = Pace()
    sleep = Runtime.sleep

    async def sleep_paced(runtime: Runtime, seconds: float, faults: frozenset[str] = frozenset()) -> None:
        if "slow" in faults:
            await pace.pause()
        else:
            await sleep(runtime, seconds, faults)

    monkeypatch.setattr(Runtime, "sleep", sleep_paced)
    yield pace
    await pace.close()
