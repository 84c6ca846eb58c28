"""The lifespan task group: one list of loops with their periods, each kept alive, each last beat remembered.

A crash inside a task group would leave the server answering with every loop dead, so each loop has a keeper that logs the
break once, waits, starts anew, and logs once when it has healed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec

from app.base import clock, logging
from app.base.metrics import Metrics

FIRST_PAUSE: Final = 0.5  # seconds after a break, doubling up to
MAX_PAUSE: Final = 30.0

logger = logging.get("background")


class PeriodicTask(msgspec.Struct, frozen=True):
    """`turn` is called again and again with `period` seconds between, at first after `first` seconds; a turn that takes
    longer than `patience` seconds counts as dead."""

    name: str
    turn: Callable[[], Awaitable[None]]
    period: float
    patience: float
    first: float = 0.0


class TaskHealth(msgspec.Struct, frozen=True):
    """How a loop does: when it last finished a turn, and what broke it since, if anything."""

    name: str
    last: datetime
    broken: str | None
    alive: bool


class BackgroundTasks:
    """The loops and their pulse."""

    def __init__(
        self,
        loops: Sequence[PeriodicTask],
        metrics: Metrics | None = None,
        *,
        timer: Callable[[], float] = clock.steady,
    ) -> None:
        """`timer` shows the seconds by which a loop is overdue."""
        self._loops = loops
        self._timer = timer
        self._last: dict[str, datetime] = {}
        self._seen: dict[str, float] = {}  # the same by the steady clock: nobody is dead because somebody set the time
        self._broken: dict[str, str] = {}
        metrics = metrics or Metrics()
        metrics.gauge_callbacks(
            "background_task_last_success_timestamp_seconds", "When a loop last finished a turn.", "loop", self._beaten
        )
        metrics.gauge_callbacks("background_task_up", "1 while a loop is not overdue.", "loop", self._living)

    def beats(self) -> list[TaskHealth]:
        now, steady = clock.now(), self._timer()
        found = []
        for loop in self._loops:
            last = self._last.get(loop.name, now)
            late = steady - self._seen.get(loop.name, steady) > loop.period + loop.patience
            found.append(TaskHealth(loop.name, last, self._broken.get(loop.name), not late))
        return found

    @property
    def alive(self) -> bool:
        return all(beat.alive for beat in self.beats())

    def _beaten(self) -> dict[str, float]:
        return {beat.name: clock.unix(beat.last) for beat in self.beats()}

    def _living(self) -> dict[str, float]:
        return {beat.name: float(beat.alive) for beat in self.beats()}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the loops while the body runs."""
        for loop in self._loops:
            self._beat(loop)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(loop), name=loop.name) for loop in self._loops]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    def _beat(self, loop: PeriodicTask) -> None:
        self._last[loop.name], self._seen[loop.name] = clock.now(), self._timer()

    async def _keep(self, loop: PeriodicTask) -> None:
        pause = FIRST_PAUSE
        await asyncio.sleep(loop.first)
        while True:
            try:
                await loop.turn()
            except Exception as exc:
                if loop.name not in self._broken:
                    logger.error("loop broke", loop=loop.name, exc_info=exc)
                self._broken[loop.name] = type(exc).__name__
                await asyncio.sleep(pause)
                pause = min(MAX_PAUSE, pause * 2)
                continue
            if self._broken.pop(loop.name, None):
                logger.info("loop healed", loop=loop.name)
            pause = FIRST_PAUSE
            self._beat(loop)
            await asyncio.sleep(loop.period)
