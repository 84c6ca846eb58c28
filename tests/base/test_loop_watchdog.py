"""Blocks of the event loop are detected, sampled, counted and logged once. Time is a number that the tests set; only the last
tests run the real thread."""

import asyncio
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.base.loop_watchdog import (
    ACTIVE_SECONDS,
    BLOCK_SECONDS,
    HEARTBEAT,
    MAX_BLOCKS,
    STUCK_SECONDS,
    LoopWatchdog,
    activity,
)
from app.base.metrics import Metrics
from tests.base.children import read_frames_while_collecting, run_in_child

LOOP = 1  # the identifier of a thread, for a sample that does not care
BOUND = 300  # seconds after which a test gives up; only a broken product needs them
ONE_HOUR = 3600.0


class Timers:
    """Time as the test sets it."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0
        self.cpu_seconds = 0.0
        self.doing: tuple[str, ...] | Exception = ()

    def pass_time(self, seconds: float, *, cpu: float = 0.0, doing: str = "") -> None:
        self.seconds += seconds
        self.cpu_seconds += cpu
        self.doing = (doing,) if doing else ()

    def wait(self, timeout: float | None) -> list[str]:
        """A selector that waits as long as it may, without an event."""
        self.seconds += timeout or 0.0
        return []

    def sample(self, thread: int) -> tuple[str, ...]:
        assert thread == LOOP
        if isinstance(self.doing, Exception):
            raise self.doing
        return self.doing


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def watchdog(metrics: Metrics, timers: Timers) -> LoopWatchdog:
    """The watchdog of a loop in its first turn."""
    watchdog = LoopWatchdog(
        metrics, timer=lambda: timers.seconds, cpu_timer=lambda: timers.cpu_seconds, sample=lambda id: timers.sample(id)
    )
    next_turn(watchdog, timers)
    return watchdog


def next_turn(watchdog: LoopWatchdog, timers: Timers) -> None:
    """The loop ends its turn and begins the next one at once."""
    watchdog.select(timers.wait, 0)


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    """The lines logged meanwhile. Tests that use it are not coroutines, so that nothing in the event loop adds to them."""
    with capture_logs() as lines:
        yield lines


def test_a_block_is_kept_with_its_length_its_cpu_time_and_what_ran(watchdog: LoopWatchdog, timers: Timers) -> None:
    timers.pass_time(0.08, cpu=0.03, doing="jobs/worker.py:120 start")
    watchdog.check(LOOP)
    timers.pass_time(0.02)
    next_turn(watchdog, timers)
    (block,) = watchdog.newest()
    assert block.seconds == pytest.approx(0.1)
    assert block.cpu == pytest.approx(0.03)
    assert block.where == ("jobs/worker.py:120 start",)
    assert watchdog.longest() == block.seconds


def test_a_loop_in_time_has_no_block(watchdog: LoopWatchdog, timers: Timers, lines: list[EventDict]) -> None:
    for pause in (HEARTBEAT, BLOCK_SECONDS * 0.99, 0.0):
        timers.pass_time(pause, doing="anything")
        assert watchdog.check(LOOP) == pytest.approx(BLOCK_SECONDS - pause)
        next_turn(watchdog, timers)
    assert watchdog.newest() == []
    assert watchdog.longest() == 0.0
    assert lines == []


def test_a_block_that_ends_before_it_is_sampled_has_no_stack(watchdog: LoopWatchdog, timers: Timers) -> None:
    timers.pass_time(0.08, doing="the first")
    watchdog.check(LOOP)
    next_turn(watchdog, timers)
    timers.pass_time(0.08, doing="the second")
    next_turn(watchdog, timers)
    assert [block.where for block in watchdog.newest()] == [(), ("the first",)]


def test_each_block_is_sampled_once_when_it_is_overdue(watchdog: LoopWatchdog, timers: Timers) -> None:
    for doing in ("what blocks", "something later"):
        timers.pass_time(BLOCK_SECONDS, doing=doing)
        assert watchdog.check(LOOP) == BLOCK_SECONDS
    next_turn(watchdog, timers)
    assert [block.where for block in watchdog.newest()] == [("what blocks",)]


def test_the_newest_block_comes_first(watchdog: LoopWatchdog, timers: Timers) -> None:
    for doing in ("first", "second", "third"):
        timers.pass_time(0.08, doing=doing)
        watchdog.check(LOOP)
        next_turn(watchdog, timers)
    assert [block.where for block in watchdog.newest()] == [("third",), ("second",), ("first",)]


def test_each_block_is_logged_once(watchdog: LoopWatchdog, timers: Timers, lines: list[EventDict]) -> None:
    timers.pass_time(0.08, cpu=0.01, doing="what blocks")
    watchdog.check(LOOP)
    next_turn(watchdog, timers)
    for _ in range(3):
        timers.pass_time(HEARTBEAT)
        watchdog.check(LOOP)
        next_turn(watchdog, timers)
    assert lines == [
        {
            "part": "loop",
            "event": "event loop blocked",
            "ms": 80.0,
            "cpu_ms": 10.0,
            "where": "what blocks",
            "log_level": "warning",
        }
    ]


async def test_only_the_last_hundred_are_kept_and_all_are_counted(
    watchdog: LoopWatchdog, timers: Timers, metrics: Metrics
) -> None:
    for number in range(150):
        timers.pass_time(0.03 + number / 1000)
        next_turn(watchdog, timers)
    assert len(watchdog.newest()) == MAX_BLOCKS == 100
    assert watchdog.newest()[0].seconds == pytest.approx(0.179)
    assert b"atelier_event_loop_blocks_total 150.0" in await metrics.text()


def test_the_longest_is_of_the_last_hour(watchdog: LoopWatchdog, timers: Timers) -> None:
    timers.pass_time(0.5)
    next_turn(watchdog, timers)
    for _ in range(6000):  # two minutes without a block
        timers.pass_time(0.02)
        next_turn(watchdog, timers)
    timers.pass_time(0.2)
    next_turn(watchdog, timers)
    assert watchdog.longest() == pytest.approx(0.5)
    timers.pass_time(ONE_HOUR - 60)
    assert watchdog.longest() == pytest.approx(0.2)
    timers.pass_time(60)
    assert watchdog.longest() == 0.0


def test_a_stuck_loop_is_reported_once_while_it_is_blocked(
    watchdog: LoopWatchdog, timers: Timers, lines: list[EventDict]
) -> None:
    timers.pass_time(STUCK_SECONDS / 2, doing="what blocks")
    watchdog.check(LOOP)
    assert lines == []
    for _ in range(3):
        timers.pass_time(STUCK_SECONDS / 2 + 1, doing="what blocks")
        watchdog.check(LOOP)
    assert lines == [
        {
            "part": "loop",
            "event": "event loop stuck",
            "seconds": 11,
            "where": "what blocks",
            "log_level": "error",
        }
    ]
    next_turn(watchdog, timers)
    timers.pass_time(2 * STUCK_SECONDS, doing="what blocks later")
    watchdog.check(LOOP)
    assert [line["where"] for line in lines] == ["what blocks", "what blocks", "what blocks later"]
    assert [line["log_level"] for line in lines] == ["error", "warning", "error"]


def test_a_check_that_fails_raises_nothing_and_the_block_is_recorded_without_a_stack(
    watchdog: LoopWatchdog, timers: Timers
) -> None:
    timers.pass_time(2 * STUCK_SECONDS)
    timers.doing = RuntimeError("the frame is gone")
    assert watchdog.check(LOOP) == BLOCK_SECONDS
    next_turn(watchdog, timers)
    (block,) = watchdog.newest()
    assert (block.seconds, block.where) == (2 * STUCK_SECONDS, ())


def test_a_check_before_the_first_turn_finds_nothing(metrics: Metrics) -> None:
    def sample(_: int) -> tuple[str, ...]:
        raise AssertionError("there is nothing to look at")

    assert LoopWatchdog(metrics, timer=lambda: 1e9, sample=sample).check(LOOP) > BLOCK_SECONDS


def test_a_waiting_loop_is_not_blocked(watchdog: LoopWatchdog, timers: Timers) -> None:
    checks = []

    def wait(timeout: float | None) -> list[str]:
        timers.pass_time(1000, doing="nothing")
        checks.append(watchdog.check(LOOP))
        return []

    watchdog.select(wait, None)
    watchdog.select(wait, 3000)
    next_turn(watchdog, timers)
    assert watchdog.newest() == []
    assert checks == [math.inf, pytest.approx(2000 + BLOCK_SECONDS)]


def test_a_loop_that_is_kept_from_waking_up_is_blocked(watchdog: LoopWatchdog, timers: Timers) -> None:
    """Another thread holds the interpreter lock when the loop wants to run."""

    def wait(timeout: float | None) -> list[str]:
        timers.pass_time((timeout or 0.0) + 0.2, doing="idle; running threads: storage/images.py:1 read")
        watchdog.check(LOOP)
        return []

    watchdog.select(wait, 3)
    next_turn(watchdog, timers)
    (block,) = watchdog.newest()
    assert block.seconds == pytest.approx(0.2)
    assert block.where == ("idle; running threads: storage/images.py:1 read",)


def test_a_loop_waits_for_short_times_while_there_are_events(watchdog: LoopWatchdog, timers: Timers) -> None:
    """Only then is it certain that it could have woken up."""
    timeouts: list[float | None] = []

    def wait(timeout: float | None) -> list[str]:
        timeouts.append(timeout)
        return ["an event"] if len(timeouts) == 1 else timers.wait(timeout)

    for timeout in (3.0, 3.0, None, 0.0):
        watchdog.select(wait, timeout)
    timers.pass_time(ACTIVE_SECONDS)
    for timeout in (3.0, None):
        watchdog.select(wait, timeout)
    assert timeouts == [3.0, HEARTBEAT, HEARTBEAT, 0.0, 3.0, None]


# The real thread


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():  # noqa: ASYNC110 (what happens in another thread has no event here)
            await asyncio.sleep(HEARTBEAT)


def block_until(looked: threading.Event) -> None:
    """What must not be called in an event loop. Ends after a second: this block may have been looked at already."""
    until = time.monotonic() + 1
    while not looked.is_set() and time.monotonic() < until:
        time.sleep(0.001)


async def test_what_blocks_the_loop_is_seen_while_it_does(metrics: Metrics) -> None:
    looked = threading.Event()

    def sample(thread: int) -> tuple[str, ...]:
        found = activity(thread)
        looked.set()
        return found

    watchdog = LoopWatchdog(metrics, sample=sample)
    async with watchdog.watching(), asyncio.timeout(BOUND):
        while not (
            found := [block for block in watchdog.newest() if any("block_until" in line for line in block.where)]
        ):
            looked.clear()
            block_until(looked)
            await asyncio.sleep(2 * HEARTBEAT)
    assert found[0].seconds >= BLOCK_SECONDS
    assert found[0].where[0].startswith("base/test_loop_watchdog.py:")


async def test_what_blocks_the_loop_after_a_long_quiet_time_is_seen(metrics: Metrics) -> None:
    """The watching thread sleeps then. Quiet is what no event of the loop interrupts."""
    looked = threading.Event()

    def sample(thread: int) -> tuple[str, ...]:
        found = activity(thread)
        looked.set()
        return found

    watchdog = LoopWatchdog(metrics, sample=sample)
    async with watchdog.watching(), asyncio.timeout(BOUND):
        while True:
            await asyncio.sleep(ACTIVE_SECONDS + 10 * BLOCK_SECONDS)
            looked.clear()
            block_until(looked)
            await asyncio.sleep(2 * HEARTBEAT)  # the turn ends
            if any("block_until" in line for block in watchdog.newest() for line in block.where):
                break


async def test_cpu_time_is_distinguished_from_waiting_time(metrics: Metrics) -> None:
    def wait() -> float:
        """Returns the CPU seconds that it used all the same: nearly none."""
        started = time.thread_time()
        time.sleep(4 * BLOCK_SECONDS)
        return time.thread_time() - started

    def work() -> None:
        started = time.thread_time()
        while time.thread_time() - started < 4 * BLOCK_SECONDS:
            sum(range(500))

    watchdog = LoopWatchdog(metrics, sample=lambda _: ())
    async with watchdog.watching():
        worked = wait()
        await eventually(watchdog.newest)
        assert any(block.seconds - block.cpu >= 4 * BLOCK_SECONDS - worked for block in watchdog.newest())
        count = len(watchdog.newest())
        work()
        await eventually(lambda: len(watchdog.newest()) > count)
        assert any(block.cpu >= 4 * BLOCK_SECONDS for block in watchdog.newest())


async def test_no_thread_is_left_behind(metrics: Metrics) -> None:
    def watchers() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "loop watchdog"]

    others = watchers()  # of the shared application of this test process
    async with LoopWatchdog(metrics).watching():
        assert len(watchers()) == len(others) + 1
    assert watchers() == others
    with pytest.raises(asyncio.CancelledError):
        async with LoopWatchdog(metrics).watching():
            raise asyncio.CancelledError
    assert watchers() == others


async def test_the_thread_survives_a_sample_that_fails_and_a_stream_that_is_closed(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A thread in which something is raised fails the test: pytest turns that into an error."""
    looked = threading.Event()

    def sample(_: int) -> tuple[str, ...]:
        looked.set()
        raise RuntimeError("the frame is gone")

    stream = (tmp_path / "stderr").open("w")
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    watchdog = LoopWatchdog(metrics, sample=sample)
    async with watchdog.watching():
        for _ in range(3):
            looked.clear()
            while not looked.is_set():
                block_until(looked)
            count = len(watchdog.newest())
            await eventually(lambda count=count: len(watchdog.newest()) > count)  # type: ignore[misc]


# What a thread is doing


def spin(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(500))


async def test_a_thread_that_holds_the_interpreter_lock_is_named() -> None:
    """The loop itself is idle then, so its own frames would not show the cause."""
    stop = threading.Event()
    spinning = threading.Thread(target=spin, args=[stop])
    resting = threading.Thread(target=stop.wait)
    spinning.start()
    resting.start()
    found: tuple[str, ...] = ()

    def look() -> bool:
        nonlocal found
        found = activity(resting.ident or 0, Path(__file__).parent)
        return "spin" in "".join(found)

    try:
        await eventually(look)  # both threads take a moment to begin
    finally:
        stop.set()
        spinning.join()
        resting.join()
    assert len(found) == 1
    assert found[0].startswith("idle; running threads: ")
    assert "test_loop_watchdog.py" in found[0]
    assert "look" not in found[0], "the calling thread is left out"


async def test_an_idle_thread_without_another_running_one_waits_for_the_cpu(tmp_path: Path) -> None:
    stop = threading.Event()
    resting = threading.Thread(target=stop.wait)
    resting.start()
    try:
        await eventually(lambda: activity(resting.ident or 0, tmp_path) == ("idle: waiting for the CPU",))
    finally:
        stop.set()
        resting.join()


def test_a_thread_that_is_gone_does_nothing() -> None:
    assert activity(-1) == ()


def test_a_thread_that_samples_itself_is_named_with_its_frames() -> None:
    found = activity(threading.get_ident(), Path(__file__).parent)
    assert any(line.startswith("test_loop_watchdog.py:") for line in found)


@pytest.mark.xdist_group("base-children")
async def test_a_collection_while_frames_are_read_does_not_stop_the_process() -> None:
    """Python 3.11 would deadlock: python/cpython#106883."""
    assert await run_in_child(read_frames_while_collecting) == (0, True)
