"""Detects blocks of the event loop, which delay every request at once.

The watchdog stands between the loop and the selector in which the loop waits, so it knows when the loop runs without waking it.
A separate thread notices when a turn of the loop takes too long or does not begin, and samples the stack of the loop's thread at
that moment, because the cause is no longer visible afterwards. While the loop waits, that thread sleeps.
"""

import asyncio
import contextlib
import gc
import math
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter, thread_time
from types import FrameType
from typing import Any, Final, TypeVar

import msgspec

from app.base import clock, logging
from app.base.metrics import Metrics

BLOCK_SECONDS: Final = 0.025  # seconds of one turn of the loop that count as a block
ACTIVE_SECONDS: Final = 0.1  # after an event, during which a waiting loop is watched, too
HEARTBEAT: Final = 0.005  # seconds that the loop waits at most meanwhile: another thread may keep it from waking up
STUCK_SECONDS: Final = 10.0  # a block of this length is reported while it lasts
MAX_SLEEP: Final = 3600.0  # seconds; the thread is woken before
MAX_BLOCKS: Final = 100  # kept in memory
WINDOW: Final = 60  # minutes for `longest`
MAX_FRAMES: Final = 4  # innermost frames of the application in a sample
BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

CODE: Final = Path(__file__).resolve().parent.parent  # the folder of the application's code

_WAITING: Final = ("threading.py", "queue.py", "selectors.py", "concurrent/futures/thread.py")

T = TypeVar("T")

logger = logging.get("loop")


class LoopBlock(msgspec.Struct, frozen=True):
    """The loop was blocked for `seconds`; its thread used `cpu` seconds of CPU time and waited for another thread or for the
    CPU during the rest. `where` is the sampled stack, innermost frame first, as in `jobs/worker.py:120 _start`; empty when
    the block was over before it could be sampled."""

    at: datetime
    seconds: float
    cpu: float
    where: tuple[str, ...]


def current_frames() -> dict[int, FrameType]:
    """The current frame of every thread. Python 3.11 holds a lock meanwhile; a garbage collection that frees a
    `threading.local` at that moment waits for the same lock, and the process deadlocks (python/cpython#106883)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if was_enabled:
            gc.enable()


def activity(thread: int, code: Path = CODE) -> tuple[str, ...]:
    """What a thread is doing now: its frames in the folder `code`, innermost first. When the thread is idle, something kept it
    from waking up: another thread that held the interpreter lock, or a busy machine. The calling thread is left out."""
    frames = current_frames()
    found = _frames(frames[thread], code) if thread in frames else ()
    if not found or not _is_idle(frames[thread]):
        return found
    excluded = (thread, threading.get_ident())
    busy = [_busy_frames(frame, code) for other, frame in frames.items() if other not in excluded]
    others = [lines[0] for lines in busy if lines]
    return ("idle; running threads: " + ", ".join(others),) if others else ("idle: waiting for the CPU",)


class LoopWatchdog:
    """Records the blocks of one event loop. `watching` calls `select` in the loop and `check` in a separate thread."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        timer: Callable[[], float] = perf_counter,
        cpu_timer: Callable[[], float] = thread_time,
        sample: Callable[[int], tuple[str, ...]] = activity,
    ) -> None:
        """`timer` returns seconds, `cpu_timer` the CPU seconds of the calling thread; `sample` returns what the thread with the
        given identifier is doing."""
        self._timer = timer
        self._cpu_timer = cpu_timer
        self._sample = sample
        self._newest: deque[LoopBlock] = deque(maxlen=MAX_BLOCKS)
        self._minutes: deque[tuple[int, float]] = deque(maxlen=WINDOW)  # the longest block of each minute that had one
        self._since = math.inf  # when the current turn began; while the loop waits, when the next one has to begin
        self._since_cpu = 0.0  # CPU time of the loop's thread at the begin of the turn
        self._active_until = 0.0
        self._sampled: tuple[float, tuple[str, ...]] = (math.inf, ())  # begin of a turn, and the sample taken in it
        self._reported = math.inf  # begin of the turn in which the loop was reported as stuck
        self._asleep = False  # the thread sleeps until the next turn
        self._wake = threading.Event()
        self._stopped = False
        self._lag = metrics.histogram(
            "event_loop_lag_seconds", "How long events waited at most, in each turn of the event loop.", up_to=BUCKETS
        )
        self._count = metrics.counter(
            "event_loop_blocks", f"Blocks of the event loop of {BLOCK_SECONDS * 1000:.0f} ms or more."
        )
        metrics.gauge_callback(
            "event_loop_longest_block_seconds", "Longest block of the event loop in the last hour.", self.longest
        )

    def newest(self) -> Sequence[LoopBlock]:
        """The last blocks, at most `MAX_BLOCKS`, newest first."""
        return list(reversed(self._newest))

    def longest(self) -> float:
        """Seconds of the longest block in the last hour; 0 without a block."""
        since = int(self._timer() // 60) - WINDOW
        return max((seconds for minute, seconds in self._minutes if minute > since), default=0.0)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the running loop while the body runs. The thread has ended afterwards."""
        loop: Any = asyncio.get_running_loop()
        selector = loop._selector  # not documented; a test of this module fails when it is gone
        wait = selector.select
        self._stopped = False

        def select(timeout: float | None = None) -> list[Any]:
            events: list[Any] = wait(timeout) if self._stopped else self.select(wait, timeout)
            return events

        selector.select = select
        self._since, self._since_cpu = self._timer(), self._cpu_timer()
        watcher = threading.Thread(target=self._watch, args=[threading.get_ident()], name="loop watchdog", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._stopped = True
            if selector.select is select:  # not replaced by another watchdog
                selector.select = wait
            self._wake.set()
            watcher.join()  # returns at once: the thread waits for the event, or writes one log line

    def select(self, wait: Callable[[float | None], list[T]], timeout: float | None) -> list[T]:
        """What the loop does between two turns: `wait` at most `timeout` seconds for events. Records and logs the ended turn
        if it was a block."""
        now = self._timer()
        self._end_turn(now)
        if now < self._active_until:
            timeout = HEARTBEAT if timeout is None else min(timeout, HEARTBEAT)
        self._since = math.inf if timeout is None else now + timeout
        events = wait(timeout)
        now = self._timer()
        if events:
            self._active_until = now + ACTIVE_SECONDS
        self._since = min(self._since, now)
        self._since_cpu = self._cpu_timer()
        if self._asleep:
            self._asleep = False
            self._wake.set()
        return events

    def check(self, thread: int) -> float:
        """Sample the loop's `thread` if its turn takes too long or is overdue, once per turn. Returns the seconds until the
        next check. Never raises, because an exception would end the watching thread."""
        since = self._since
        overdue = self._timer() - since - BLOCK_SECONDS
        if overdue < 0:
            return -overdue
        with contextlib.suppress(Exception):  # a frame may end while it is read: then the sample is missing
            if self._sampled[0] != since:
                self._sampled = (since, self._sample(thread))
            if overdue >= STUCK_SECONDS and self._reported != since:  # do not wait for its end: it may never come
                self._reported = since
                where = " < ".join(self._sample(thread))
                logger.error("event loop stuck", seconds=round(overdue), where=where)
        return BLOCK_SECONDS

    def _end_turn(self, now: float) -> None:
        since = self._since
        if since == math.inf:
            return
        elapsed = now - since
        self._lag.observe(elapsed)
        if elapsed >= BLOCK_SECONDS:
            where = self._sampled[1] if self._sampled[0] == since else ()
            cpu = self._cpu_timer() - self._since_cpu
            with contextlib.suppress(Exception):  # which would end the loop
                self._record(LoopBlock(clock.now() - timedelta(seconds=elapsed), elapsed, cpu, where))

    def _record(self, block: LoopBlock) -> None:
        self._count.inc()
        self._newest.append(block)
        minute, longest = int(self._timer() // 60), block.seconds
        if self._minutes and self._minutes[-1][0] == minute:
            longest = max(longest, self._minutes.pop()[1])
        self._minutes.append((minute, longest))
        logger.warning(
            "event loop blocked",
            ms=round(block.seconds * 1000, 1),
            cpu_ms=round(block.cpu * 1000, 1),
            where=" < ".join(block.where),
        )

    def _watch(self, thread: int) -> None:
        """Runs in a separate thread. It sleeps once the loop has waited for a while, until the loop's next turn or until that
        is overdue; it does not between the turns of a busy loop, where waking up each time would cost more than looking."""
        seen = math.nan
        while True:
            self._wake.clear()
            if self._stopped:
                return
            pause = self.check(thread)
            if pause > BLOCK_SECONDS:  # the loop waits
                self._asleep = self._since == seen
                if not self._asleep or self._since != seen:  # it has run, or begins to run just now
                    pause = BLOCK_SECONDS
            seen = self._since
            self._wake.wait(min(pause, MAX_SLEEP))


def _busy_frames(frame: FrameType, code: Path) -> tuple[str, ...]:
    """The frames of a thread that runs application code; empty when it is idle or runs other code."""
    if _is_idle(frame) or not any(_is_within(one, code) for one in _outward(frame)):
        return ()
    return _frames(frame, code)


def _frames(frame: FrameType, code: Path) -> tuple[str, ...]:
    """The innermost frame, then the innermost frames of the application."""
    own = [_line(one, code) for one in _outward(frame) if _is_within(one, code)][:MAX_FRAMES]
    first = _line(frame, code)
    return tuple(own) if own and own[0] == first else (first, *own)


def _outward(frame: FrameType) -> Iterator[FrameType]:
    current: FrameType | None = frame
    while current is not None:
        yield current
        current = current.f_back


def _is_within(frame: FrameType, code: Path) -> bool:
    return frame.f_code.co_filename.startswith(f"{code}/")


def _is_idle(frame: FrameType) -> bool:
    return frame.f_code.co_filename.endswith(_WAITING)


def _line(frame: FrameType, code: Path) -> str:
    """A frame's file, line and function, without absolute paths."""
    name = frame.f_code.co_filename
    short = name.removeprefix(f"{code}/") if _is_within(frame, code) else "/".join(Path(name).parts[-2:])
    return f"{short}:{frame.f_lineno} {frame.f_code.co_name}"
