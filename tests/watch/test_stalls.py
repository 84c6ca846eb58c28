"""What holds the event loop up is seen, named, counted, and said once."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from app.base import clock, stalls
from app.base.metrics import Metrics
from app.base.stalls import Stall, Stalls

HELD = 0.08  # seconds


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def watch(metrics: Metrics) -> AsyncIterator[Stalls]:
    watch = Stalls(metrics)
    async with watch.watching():
        await asyncio.sleep(0.03)
        yield watch


def hold_up(seconds: float = HELD) -> None:
    """What must not be called in an event loop."""
    time.sleep(seconds)


def work_hard(seconds: float = HELD) -> None:
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        sum(range(500))


def _of(watch: Stalls, name: str) -> Stall:
    """The stall that this function caused; a busy machine may have caused others."""
    found = [stall for stall in watch.newest() if any(name in frame for frame in stall.where)]
    assert found, f"{name} is not among {watch.newest()}"
    return found[0]


async def test_a_stall_is_kept_with_its_length_and_what_ran(watch: Stalls) -> None:
    hold_up()
    await asyncio.sleep(0.02)
    stall = _of(watch, "hold_up")
    assert stall.seconds >= HELD
    assert stall.where[0].startswith("watch/test_stalls.py:")
    assert watch.longest() >= stall.seconds


async def test_what_it_worked_is_told_from_what_it_waited(watch: Stalls) -> None:
    hold_up()
    await asyncio.sleep(0.02)
    work_hard()
    await asyncio.sleep(0.02)
    assert _of(watch, "hold_up").cpu < HELD / 2
    assert _of(watch, "work_hard").cpu >= HELD * 0.9


async def test_the_newest_comes_first(watch: Stalls) -> None:
    hold_up()
    await asyncio.sleep(0.02)
    work_hard()
    await asyncio.sleep(0.02)
    names = [frame.rpartition(" ")[2] for stall in watch.newest() for frame in stall.where[:1]]
    assert names.index("work_hard") < names.index("hold_up")


async def test_a_thread_that_does_not_let_go_is_named(watch: Stalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop itself is at rest then: looking at it alone would blame nobody."""
    monkeypatch.setattr(stalls, "_OURS", __file__.removesuffix("test_stalls.py"))
    enough = threading.Event()
    thread = threading.Thread(target=_spin, args=[enough])
    thread.start()
    doing = stalls._doing(threading.get_ident())
    assert doing, "whoever asks is doing something"
    asked: list[tuple[str, ...]] = []
    resting = threading.Event()
    other = threading.Thread(target=resting.wait)
    other.start()
    assert other.ident is not None
    asked.append(stalls._doing(other.ident))
    enough.set()
    resting.set()
    thread.join()
    other.join()
    assert "test_stalls.py" in asked[0][0]
    assert "_spin" in asked[0][0]
    assert asked[0][0].startswith("at rest; beside it: ")


def _spin(enough: threading.Event) -> None:
    while not enough.is_set():
        sum(range(500))


async def test_each_is_logged_once(watch: Stalls) -> None:
    with capture_logs() as lines:
        hold_up()
        await asyncio.sleep(0.1)
    (line,) = [line for line in lines if "hold_up" in line.get("where", "")]
    assert line["event"] == "the event loop stood still"
    assert line["ms"] >= HELD * 1000
    assert line["log_level"] == "warning"


async def test_only_the_last_hundred_are_kept(metrics: Metrics) -> None:
    watch = Stalls(metrics)
    for number in range(150):
        watch._note(Stall(clock.now(), 0.03 + number / 1000, 0.0, ()))
    assert len(watch.newest()) == 100
    assert watch.newest()[0].seconds == pytest.approx(0.179)
    assert b"atelier_loop_stalls_total 150.0" in await metrics.text()


async def test_the_longest_is_of_the_last_hour(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Stalls(metrics)
    now = 1_000_000.0
    monkeypatch.setattr(stalls, "monotonic", lambda: now)
    watch._note(Stall(clock.now(), 0.5, 0.0, ()))
    now += 1800
    watch._note(Stall(clock.now(), 0.2, 0.0, ()))
    assert watch.longest() == 0.5
    now += 1900
    assert watch.longest() == 0.2
    now += 3600
    assert watch.longest() == 0.0


async def test_no_thread_is_left_behind(metrics: Metrics) -> None:
    async with Stalls(metrics).watching():
        assert any(thread.name == "stalls" for thread in threading.enumerate())
    assert not any(thread.name == "stalls" for thread in threading.enumerate())


async def test_a_loop_that_turns_no_more_is_told_while_it_does_not(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalls, "STUCK", 0.1)
    with capture_logs() as lines:
        async with Stalls(metrics).watching():
            await asyncio.sleep(0.02)
            hold_up(0.4)
            told = [line for line in lines if line["event"] == "the event loop does not turn"]
            assert len(told) == 1
            assert "hold_up" in told[0]["where"]
