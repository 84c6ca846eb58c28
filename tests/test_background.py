"""Background tasks that break are started again, and the program knows whether each is alive."""

import asyncio
from collections.abc import Callable

from structlog.testing import capture_logs

from app.background import BackgroundTasks, PeriodicTask
from tests.kit import logged

BOUND = 300  # seconds; only a broken product needs them


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():  # noqa: ASYNC110 (what a task does has no event here)
            await asyncio.sleep(0.001)


async def test_a_task_that_breaks_is_started_again_and_the_others_go_on() -> None:
    started, may_end = asyncio.Event(), asyncio.Event()
    turns = {"broken": 0, "steady": 0}

    async def broken() -> None:
        turns["broken"] += 1
        if turns["broken"] == 1:
            raise RuntimeError("tripped")
        started.set()
        await may_end.wait()

    async def steady() -> None:
        turns["steady"] += 1

    background = BackgroundTasks([PeriodicTask("broken", broken, 0.001, 60), PeriodicTask("steady", steady, 0.001, 60)])
    with capture_logs() as lines:
        async with background.running(), asyncio.timeout(BOUND):
            await started.wait()
            before = turns["steady"]
            await eventually(lambda: turns["steady"] > before + 1)
            assert {state.name: state.error for state in background.health()} == {
                "broken": "RuntimeError",
                "steady": None,
            }
            may_end.set()
            await eventually(lambda: turns["broken"] > 2)
            assert [state.error for state in background.health()] == [None, None]
    events = [(line["log_level"], line["event"], line["task"]) for line in logged(lines, "background")]
    assert events == [("error", "background task failed", "broken"), ("info", "background task recovered", "broken")], (
        "each once"
    )


async def test_a_task_that_hangs_counts_as_dead_once_it_is_overdue() -> None:
    now, hanging = 0.0, asyncio.Event()

    async def hang() -> None:
        hanging.set()
        await asyncio.Event().wait()

    background = BackgroundTasks([PeriodicTask("hanging", hang, period=10, timeout=20)], timer=lambda: now)
    async with background.running(), asyncio.timeout(BOUND):
        await hanging.wait()
        for now, alive in ((0.0, True), (30.0, True), (30.1, False)):
            assert background.alive is alive, now
        assert [state.alive for state in background.health()] == [False]
