"""What blocks the event loop is noticed, named, counted and logged once. Time is a number that the tests set; only the last
tests run the real thread."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.base.loop_watchdog import BEAT, KEPT, LONG, STUCK, LoopWatchdog, activity
from app.base.metrics import Metrics
from tests.base.children import read_frames_while_collecting, run_in_child

LOOP = 1  # the identifier of a thread, for a sample that does not care
BOUND = 300  # seconds after which a test gives up; only a broken product needs them
HOUR = 3600.0


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
def stalls(metrics: Metrics, timers: Timers) -> LoopWatchdog:
    """Stalls of a loop that has turned once."""
    stalls = LoopWatchdog(
        metrics, timer=lambda: timers.seconds, cpu_timer=lambda: timers.cpu_seconds, sample=lambda id: timers.sample(id)
    )
    stalls.beat()
    return stalls


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    """What is logged meanwhile. Tests that use it are no coroutines, so that no program in the event loop adds to it."""
    with capture_logs() as lines:
        yield lines


def test_a_stall_is_kept_with_its_length_its_cpu_time_and_what_ran(stalls: LoopWatchdog, timers: Timers) -> None:
    timers.pass_time(0.08, cpu=0.03, doing="jobs/worker.py:120 start")
    stalls.look(LOOP)
    timers.pass_time(0.02)
    stalls.beat()
    (stall,) = stalls.newest()
    assert stall.seconds == pytest.approx(0.1)
    assert stall.cpu == pytest.approx(0.03)
    assert stall.where == ("jobs/worker.py:120 start",)
    assert stalls.longest() == stall.seconds


def test_a_loop_that_turns_in_time_has_no_stall(stalls: LoopWatchdog, timers: Timers, lines: list[EventDict]) -> None:
    for pause in (BEAT, LONG * 0.99, 0.0):
        timers.pass_time(pause, doing="anything")
        assert stalls.look(LOOP) == pytest.approx(LONG - pause)
        stalls.beat()
    assert stalls.newest() == []
    assert stalls.longest() == 0.0
    assert lines == []


def test_a_stall_that_ends_before_it_is_looked_at_has_no_place(stalls: LoopWatchdog, timers: Timers) -> None:
    timers.pass_time(0.08, doing="the first")
    stalls.look(LOOP)
    stalls.beat()
    timers.pass_time(0.08, doing="the second")
    stalls.beat()
    assert [stall.where for stall in stalls.newest()] == [(), ("the first",)]


def test_each_stall_is_looked_at_once_when_it_is_overdue(stalls: LoopWatchdog, timers: Timers) -> None:
    for doing in ("what blocks", "something later"):
        timers.pass_time(LONG, doing=doing)
        assert stalls.look(LOOP) == LONG
    stalls.beat()
    assert [stall.where for stall in stalls.newest()] == [("what blocks",)]


def test_the_newest_stall_comes_first(stalls: LoopWatchdog, timers: Timers) -> None:
    for doing in ("first", "second", "third"):
        timers.pass_time(0.08, doing=doing)
        stalls.look(LOOP)
        stalls.beat()
    assert [stall.where for stall in stalls.newest()] == [("third",), ("second",), ("first",)]


def test_each_stall_is_logged_once(stalls: LoopWatchdog, timers: Timers, lines: list[EventDict]) -> None:
    timers.pass_time(0.08, cpu=0.01, doing="what blocks")
    stalls.look(LOOP)
    stalls.beat()
    for _ in range(3):
        timers.pass_time(BEAT)
        stalls.look(LOOP)
        stalls.beat()
    assert lines == [
        {
            "part": "loop",
            "event": "the event loop stood still",
            "ms": 80.0,
            "cpu_ms": 10.0,
            "where": "what blocks",
            "log_level": "warning",
        }
    ]


async def test_only_the_last_hundred_are_kept_and_all_are_counted(
    stalls: LoopWatchdog, timers: Timers, metrics: Metrics
) -> None:
    for number in range(150):
        timers.pass_time(0.03 + number / 1000)
        stalls.beat()
    assert len(stalls.newest()) == KEPT == 100
    assert stalls.newest()[0].seconds == pytest.approx(0.179)
    assert b"atelier_event_loop_blocks_total 150.0" in await metrics.text()


def test_the_longest_is_of_the_last_hour(stalls: LoopWatchdog, timers: Timers) -> None:
    timers.pass_time(0.5)
    stalls.beat()
    for _ in range(6000):  # two minutes without a stall
        timers.pass_time(0.02)
        stalls.beat()
    timers.pass_time(0.2)
    stalls.beat()
    assert stalls.longest() == pytest.approx(0.5)
    timers.pass_time(HOUR - 60)
    assert stalls.longest() == pytest.approx(0.2)
    timers.pass_time(60)
    assert stalls.longest() == 0.0


def test_a_loop_that_turns_no_more_is_reported_once_while_it_does_not(
    stalls: LoopWatchdog, timers: Timers, lines: list[EventDict]
) -> None:
    timers.pass_time(STUCK / 2, doing="what blocks")
    stalls.look(LOOP)
    assert lines == []
    for _ in range(3):
        timers.pass_time(STUCK / 2 + 1, doing="what blocks")
        stalls.look(LOOP)
    assert lines == [
        {
            "part": "loop",
            "event": "the event loop does not turn",
            "seconds": 11,
            "where": "what blocks",
            "log_level": "error",
        }
    ]
    stalls.beat()
    timers.pass_time(2 * STUCK, doing="what blocks later")
    stalls.look(LOOP)
    assert [line["where"] for line in lines] == ["what blocks", "what blocks", "what blocks later"]
    assert [line["log_level"] for line in lines] == ["error", "warning", "error"]


def test_a_look_that_fails_raises_nothing_and_the_stall_is_noted_without_a_place(
    stalls: LoopWatchdog, timers: Timers
) -> None:
    timers.pass_time(2 * STUCK)
    timers.doing = RuntimeError("the frame is gone")
    assert stalls.look(LOOP) == LONG
    stalls.beat()
    (stall,) = stalls.newest()
    assert (stall.seconds, stall.where) == (2 * STUCK, ())


def test_a_look_before_the_first_beat_finds_nothing(metrics: Metrics) -> None:
    def sample(_: int) -> tuple[str, ...]:
        raise AssertionError("there is nothing to look at")

    assert LoopWatchdog(metrics, timer=lambda: 1e9, sample=sample).look(LOOP) == LONG


# The real thread


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():  # noqa: ASYNC110 (what happens in another thread has no event here)
            await asyncio.sleep(BEAT)


def block_until(looked: threading.Event) -> None:
    """What must not be called in an event loop. Ends after a second: this stall may have been looked at already."""
    until = time.monotonic() + 1
    while not looked.is_set() and time.monotonic() < until:
        time.sleep(0.001)


async def test_what_blocks_the_loop_is_seen_while_it_does(metrics: Metrics) -> None:
    looked = threading.Event()

    def sample(thread: int) -> tuple[str, ...]:
        found = activity(thread)
        looked.set()
        return found

    stalls = LoopWatchdog(metrics, sample=sample)
    async with stalls.watching(), asyncio.timeout(BOUND):
        while not (found := [stall for stall in stalls.newest() if any("block_until" in line for line in stall.where)]):
            looked.clear()
            block_until(looked)
            await asyncio.sleep(2 * BEAT)
    assert found[0].seconds >= LONG
    assert found[0].where[0].startswith("base/test_stalls.py:")


async def test_cpu_time_is_told_from_time_that_was_waited(metrics: Metrics) -> None:
    def wait() -> float:
        """Returns the CPU seconds that it took all the same: nearly none."""
        began = time.thread_time()
        time.sleep(4 * LONG)
        return time.thread_time() - began

    def work() -> None:
        began = time.thread_time()
        while time.thread_time() - began < 4 * LONG:
            sum(range(500))

    stalls = LoopWatchdog(metrics, sample=lambda _: ())
    async with stalls.watching():
        worked = wait()
        await eventually(stalls.newest)
        assert any(stall.seconds - stall.cpu >= 4 * LONG - worked for stall in stalls.newest())
        count = len(stalls.newest())
        work()
        await eventually(lambda: len(stalls.newest()) > count)
        assert any(stall.cpu >= 4 * LONG for stall in stalls.newest())


async def test_no_thread_is_left_behind(metrics: Metrics) -> None:
    def watchers() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "stalls"]

    others = watchers()  # of the worker's shared program
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
    stalls = LoopWatchdog(metrics, sample=sample)
    async with stalls.watching():
        for _ in range(3):
            looked.clear()
            while not looked.is_set():
                block_until(looked)
            count = len(stalls.newest())
            await eventually(lambda count=count: len(stalls.newest()) > count)  # type: ignore[misc]


# What a thread is doing


def spin(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(500))


async def test_a_thread_that_does_not_let_go_of_the_interpreter_is_named() -> None:
    """The loop itself is at rest then: its own frames would blame nothing."""
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
    assert found[0].startswith("at rest; beside it: ")
    assert "test_stalls.py" in found[0]
    assert "look" not in found[0], "the thread that asks is left out"


async def test_a_thread_at_rest_with_nothing_beside_it_was_kept_waiting_by_the_machine(tmp_path: Path) -> None:
    stop = threading.Event()
    resting = threading.Thread(target=stop.wait)
    resting.start()
    try:
        await eventually(lambda: activity(resting.ident or 0, tmp_path) == ("at rest: the machine was busy",))
    finally:
        stop.set()
        resting.join()


def test_a_thread_that_is_gone_does_nothing() -> None:
    assert activity(-1) == ()


def test_a_thread_that_asks_about_itself_is_named_with_its_frames() -> None:
    found = activity(threading.get_ident(), Path(__file__).parent)
    assert any(line.startswith("test_stalls.py:") for line in found)


@pytest.mark.xdist_group("base-children")
async def test_a_collection_while_frames_are_read_does_not_stop_the_process() -> None:
    """Python 3.11 would wait for itself for ever: python/cpython#106883."""
    assert await run_in_child(read_frames_while_collecting) == (0, True)
