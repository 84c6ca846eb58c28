"""Detects blocks of the event loop, which delay every request at once.

A heartbeat runs in the loop every few milliseconds. A separate thread notices when a beat is overdue and samples the stack of
the loop's thread at that moment, because the cause is no longer visible afterwards.
"""

import asyncio
import contextlib
import gc
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter, thread_time
from types import FrameType
from typing import Final

import msgspec

from app.base import clock, logging
from app.base.metrics import Metrics

HEARTBEAT: Final = 0.005  # seconds
BLOCK_SECONDS: Final = (
    0.025  # seconds between two beats that count as a block; at most one beat more than its real length
)
STUCK_SECONDS: Final = 10.0  # a block of this length is reported while it lasts
MAX_BLOCKS: Final = 100  # kept in memory
WINDOW: Final = 60  # minutes for `longest`
MAX_FRAMES: Final = 4  # innermost frames of the application in a sample
BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

CODE: Final = Path(__file__).resolve().parent.parent  # the folder of the application's code

_WAITING: Final = ("threading.py", "queue.py", "selectors.py", "concurrent/futures/thread.py")

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
    """Records the blocks of one event loop. `watching` calls `beat` in the loop and `check` in a separate thread."""

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
        self._last: float | None = None  # time of the last beat
        self._last_cpu = 0.0  # CPU time of its thread at that beat
        self._sampled: tuple[float | None, tuple[str, ...]] = (None, ())  # time of a beat, and the sample after it
        self._reported: float | None = None  # time of the beat after which the loop was reported as stuck
        self._stopped = threading.Event()
        self._next: asyncio.TimerHandle | None = None
        self._lag = metrics.histogram("event_loop_lag_seconds", "Delay of the event loop's heartbeat.", up_to=BUCKETS)
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
        loop = asyncio.get_running_loop()
        self._stopped.clear()
        self._last = None
        self._heartbeat(loop)
        watcher = threading.Thread(target=self._watch, args=[threading.get_ident()], name="loop watchdog", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            if self._next is not None:
                self._next.cancel()
            self._stopped.set()
            watcher.join()  # returns at once: the thread waits for the event, or writes one log line

    def beat(self) -> None:
        """The loop is running; record and log a block if the last beat was too long ago."""
        last, last_cpu = self._last, self._last_cpu
        now = self._last = self._timer()
        self._last_cpu = self._cpu_timer()
        if last is None:
            return
        elapsed = now - last
        self._lag.observe(max(0.0, elapsed - HEARTBEAT))
        if elapsed >= BLOCK_SECONDS:
            where = self._sampled[1] if self._sampled[0] == last else ()
            self._record(LoopBlock(clock.now() - timedelta(seconds=elapsed), elapsed, self._last_cpu - last_cpu, where))

    def check(self, thread: int) -> float:
        """Sample the loop's `thread` if a beat is overdue, once per block. Returns the seconds until the next check. Never
        raises, because an exception would end the watching thread."""
        last = self._last
        if last is None:
            return BLOCK_SECONDS
        overdue = self._timer() - last - BLOCK_SECONDS
        if overdue < 0:
            return -overdue
        with contextlib.suppress(Exception):  # a frame may end while it is read: then the sample is missing
            if self._sampled[0] != last:
                self._sampled = (last, self._sample(thread))
            if (
                overdue >= STUCK_SECONDS and self._reported != last
            ):  # it may be blocked forever, so do not wait for its end
                self._reported = last
                where = " < ".join(self._sample(thread))
                logger.error("event loop stuck", seconds=round(overdue), where=where)
        return BLOCK_SECONDS

    def _heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next = loop.call_later(HEARTBEAT, self._heartbeat, loop)
        self.beat()

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
        """Runs in a separate thread; wakes up when the next beat would be overdue."""
        pause = BLOCK_SECONDS
        while not self._stopped.wait(pause):
            pause = self.check(thread)


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
