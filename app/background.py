"""Periodic background tasks and their health.

A crash inside a plain task group would leave the server running with every task dead. So each task has its own supervisor:
it logs the first failure, retries with increasing pauses, and logs once when the task works again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec

from app.base import clock, logging
from app.base.metrics import Metrics

RETRY_PAUSE: Final = 0.5  # seconds after the first failure; doubles up to
MAX_RETRY_PAUSE: Final = 30.0

logger = logging.get("background")


class PeriodicTask(msgspec.Struct, frozen=True):
    """Calls `run` with `period` seconds between two calls. A call that takes longer than `timeout` seconds marks the task as not
    alive; it is not cancelled."""

    name: str
    run: Callable[[], Awaitable[None]]
    period: float
    timeout: float


class TaskHealth(msgspec.Struct, frozen=True):
    """The state of one task. `error` is the class name of the exception that it has failed with since `last_success`."""

    name: str
    last_success: datetime
    error: str | None
    alive: bool


class BackgroundTasks:
    """Runs the periodic tasks and reports their health."""

    def __init__(
        self,
        tasks: Sequence[PeriodicTask],
        metrics: Metrics | None = None,
        *,
        timer: Callable[[], float] = clock.steady,
    ) -> None:
        """`timer` returns monotonic seconds and decides whether a task is overdue."""
        self._tasks = tasks
        self._timer = timer
        self._last_success: dict[str, datetime] = {}
        self._last_seconds: dict[
            str, float
        ] = {}  # the same by `timer`, so that setting the clock makes no task overdue
        self._errors: dict[str, str] = {}
        metrics = metrics or Metrics()
        metrics.gauge_callbacks(
            "background_task_last_success_timestamp_seconds",
            "When the task last completed successfully, as Unix time.",
            "task",
            self._last_success_values,
        )
        metrics.gauge_callbacks(
            "background_task_up", "1 while the task is not overdue, else 0.", "task", self._up_values
        )

    def health(self) -> list[TaskHealth]:
        now, seconds = clock.now(), self._timer()
        states = []
        for task in self._tasks:
            overdue = seconds - self._last_seconds.get(task.name, seconds) > task.period + task.timeout
            last_success = self._last_success.get(task.name, now)
            states.append(TaskHealth(task.name, last_success, self._errors.get(task.name), not overdue))
        return states

    @property
    def alive(self) -> bool:
        return all(state.alive for state in self.health())

    def _last_success_values(self) -> dict[str, float]:
        return {state.name: clock.unix(state.last_success) for state in self.health()}

    def _up_values(self) -> dict[str, float]:
        return {state.name: float(state.alive) for state in self.health()}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the tasks while the body runs."""
        for task in self._tasks:
            self._succeeded(task)
        async with asyncio.TaskGroup() as group:
            supervisors = [group.create_task(self._supervise(task), name=task.name) for task in self._tasks]
            try:
                yield
            finally:
                for supervisor in supervisors:
                    supervisor.cancel()

    def _succeeded(self, task: PeriodicTask) -> None:
        self._last_success[task.name], self._last_seconds[task.name] = clock.now(), self._timer()

    async def _supervise(self, task: PeriodicTask) -> None:
        pause = RETRY_PAUSE
        while True:
            try:
                await task.run()
            except Exception as exc:
                if task.name not in self._errors:
                    logger.error("background task failed", task=task.name, exc_info=exc)
                self._errors[task.name] = type(exc).__name__
                await asyncio.sleep(pause)
                pause = min(MAX_RETRY_PAUSE, pause * 2)
                continue
            if self._errors.pop(task.name, None):
                logger.info("background task recovered", task=task.name)
            pause = RETRY_PAUSE
            self._succeeded(task)
            await asyncio.sleep(task.period)
