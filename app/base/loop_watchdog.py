"""Watches the event loop: everything in this program shares it, so whatever holds it up holds everybody up.

A heartbeat in the loop says every few milliseconds that it turns. A thread beside it notices when a beat is overdue, and
looks at that moment what the loop's thread is doing: afterwards nobody could tell.
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

BEAT: Final = 0.005  # seconds between two beats
LONG: Final = 0.025  # seconds between two beats: what makes a stall is told up to one beat too long, never too short
STUCK: Final = 10.0  # seconds
KEPT: Final = 100
HOUR: Final = 60  # minutes
FRAMES: Final = 4  # of our own code, the innermost
BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

CODE: Final = Path(__file__).resolve().parent.parent  # whose frames are named: our own

_WAITING: Final = ("threading.py", "queue.py", "selectors.py", "concurrent/futures/thread.py")

logger = logging.get("loop")


class LoopBlock(msgspec.Struct, frozen=True):
    """The loop did not turn for `seconds`, of which its thread worked for `cpu`; the rest it waited, for another thread or
    for the machine. `where` is what it was doing, innermost first, as in `jobs/worker.py:120 _start`; empty when it was
    over before it could be seen."""

    at: datetime
    seconds: float
    cpu: float
    where: tuple[str, ...]


def current_frames() -> dict[int, FrameType]:
    """The frame of every thread. Python 3.11 holds a lock meanwhile, and when the garbage collector runs just then and frees a
    `threading.local`, it waits for that same lock, and the whole process stands still (python/cpython#106883)."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if collects:
            gc.enable()


def activity(thread: int, code: Path = CODE) -> tuple[str, ...]:
    """What a thread is doing now, innermost first, by the frames of the code in the folder `code`. When the thread is at
    rest, something kept it from waking up: another thread of that code that did not let go of the interpreter, or the
    machine. The thread that asks is left out."""
    frames = current_frames()
    found = _frames(frames[thread], code) if thread in frames else ()
    if not found or not _at_rest(frames[thread]):
        return found
    apart = (thread, threading.get_ident())
    busy = [_busy(frame, code) for other, frame in frames.items() if other not in apart]
    others = [lines[0] for lines in busy if lines]
    return ("at rest; beside it: " + ", ".join(others),) if others else ("at rest: the machine was busy",)


class LoopWatchdog:
    """The last stalls of one loop. `watching` calls `beat` in the loop and `look` in a thread beside it."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        timer: Callable[[], float] = perf_counter,
        cpu_timer: Callable[[], float] = thread_time,
        sample: Callable[[int], tuple[str, ...]] = activity,
    ) -> None:
        """`timer` shows seconds, `cpu_timer` those that the thread that asks has worked; `sample` tells what a thread is
        doing, given its identifier."""
        self._timer = timer
        self._cpu_timer = cpu_timer
        self._sample = sample
        self._newest: deque[LoopBlock] = deque(maxlen=KEPT)
        self._minutes: deque[tuple[int, float]] = deque(maxlen=HOUR)  # the longest of each minute that had one
        self._last: float | None = None  # when the loop last turned
        self._worked = 0.0  # how much its thread had worked then
        self._seen: tuple[float | None, tuple[str, ...]] = (None, ())  # what ran after the beat of that moment
        self._reported: float | None = None  # the beat after which the loop was reported not to turn
        self._stopped = threading.Event()
        self._next: asyncio.TimerHandle | None = None
        self._lag = metrics.histogram("event_loop_lag_seconds", "How late the event loop turned.", up_to=BUCKETS)
        self._count = metrics.counter(
            "event_loop_blocks", f"Times that it did not turn for {LONG * 1000:.0f} ms or more."
        )
        metrics.gauge_callback("event_loop_longest_block_seconds", "The longest stall of the last hour.", self.longest)

    def newest(self) -> Sequence[LoopBlock]:
        """At most a hundred, newest first."""
        return list(reversed(self._newest))

    def longest(self) -> float:
        """Seconds, of the last hour; 0 when there was none."""
        since = int(self._timer() // 60) - HOUR
        return max((seconds for minute, seconds in self._minutes if minute > since), default=0.0)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the loop that runs this. The thread has ended when this is left."""
        loop = asyncio.get_running_loop()
        self._stopped.clear()
        self._last = None
        self._turn(loop)
        watcher = threading.Thread(target=self._watch, args=[threading.get_ident()], name="stalls", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            if self._next is not None:
                self._next.cancel()
            self._stopped.set()
            watcher.join()  # at once: it waits for this, and what it may be writing takes no longer than one line

    def beat(self) -> None:
        """The loop turns at this moment; when it did not for too long, that is noted and logged."""
        last, worked = self._last, self._worked
        now = self._last = self._timer()
        self._worked = self._cpu_timer()
        if last is None:
            return
        passed = now - last
        self._lag.observe(max(0.0, passed - BEAT))
        if passed >= LONG:
            where = self._seen[1] if self._seen[0] == last else ()
            self._note(LoopBlock(clock.now() - timedelta(seconds=passed), passed, self._worked - worked, where))

    def look(self, thread: int) -> float:
        """Whether the loop, which runs in `thread`, is overdue with its beat, and what it is doing then: looks once at each
        stall. Returns the seconds until the next look. Called from another thread, where nobody catches anything, so it
        never raises."""
        last = self._last
        if last is None:
            return LONG
        late = self._timer() - last - LONG
        if late < 0:
            return -late
        with contextlib.suppress(Exception):  # frames may vanish while they are read: then this sample is missing
            if self._seen[0] != last:
                self._seen = (last, self._sample(thread))
            if late >= STUCK and self._reported != last:  # it may never turn again, and nothing else would report it
                self._reported = last
                where = " < ".join(self._sample(thread))
                logger.error("the event loop does not turn", seconds=round(late), where=where)
        return LONG

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next = loop.call_later(BEAT, self._turn, loop)
        self.beat()

    def _note(self, stall: LoopBlock) -> None:
        self._count.inc()
        self._newest.append(stall)
        minute, longest = int(self._timer() // 60), stall.seconds
        if self._minutes and self._minutes[-1][0] == minute:
            longest = max(longest, self._minutes.pop()[1])
        self._minutes.append((minute, longest))
        logger.warning(
            "the event loop stood still",
            ms=round(stall.seconds * 1000, 1),
            cpu_ms=round(stall.cpu * 1000, 1),
            where=" < ".join(stall.where),
        )

    def _watch(self, thread: int) -> None:
        """Runs in a thread of its own; wakes when the next beat would be too late."""
        pause = LONG
        while not self._stopped.wait(pause):
            pause = self.look(thread)


def _busy(frame: FrameType, code: Path) -> tuple[str, ...]:
    """What a thread of ours is doing; nothing when it rests."""
    if _at_rest(frame) or not any(_is_within(one, code) for one in _outwards(frame)):
        return ()
    return _frames(frame, code)


def _frames(frame: FrameType, code: Path) -> tuple[str, ...]:
    """The innermost frame whosesoever it is, then the innermost of our own."""
    ours = [_line(one, code) for one in _outwards(frame) if _is_within(one, code)][:FRAMES]
    first = _line(frame, code)
    return tuple(ours) if ours and ours[0] == first else (first, *ours)


def _outwards(frame: FrameType) -> Iterator[FrameType]:
    one: FrameType | None = frame
    while one is not None:
        yield one
        one = one.f_back


def _is_within(frame: FrameType, code: Path) -> bool:
    return frame.f_code.co_filename.startswith(f"{code}/")


def _at_rest(frame: FrameType) -> bool:
    return frame.f_code.co_filename.endswith(_WAITING)


def _line(frame: FrameType, code: Path) -> str:
    """Where a frame stands, without the machine's own folders."""
    name = frame.f_code.co_filename
    short = name.removeprefix(f"{code}/") if _is_within(frame, code) else "/".join(Path(name).parts[-2:])
    return f"{short}:{frame.f_lineno} {frame.f_code.co_name}"
