"""Watches the event loop: everything in this program shares it, so whatever holds it up holds everybody up.

A heartbeat in the loop says every few milliseconds that it turns. A thread beside it notices when a beat is overdue, and
looks at that moment what the loop's thread is doing: afterwards nobody could tell.
"""

import asyncio
import contextlib
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, perf_counter, thread_time
from types import FrameType
from typing import Final

import msgspec

from app.base import clock, log
from app.base.metrics import Metrics

BEAT: Final = 0.005  # seconds between two beats
LONG: Final = 0.025  # seconds between two beats: what makes a stall is told up to one beat too long, never too short
STUCK: Final = 10.0  # seconds
KEPT: Final = 100
HOUR: Final = 60  # minutes
FRAMES: Final = 4  # of our own code, the innermost
BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

_OURS: Final = f"{Path(__file__).resolve().parent.parent}/"
_WAITING: Final = ("threading.py", "queue.py", "selectors.py", "concurrent/futures/thread.py")

logger = log.get("loop")


class Stall(msgspec.Struct, frozen=True):
    """The loop did not turn for `seconds`, of which its thread worked for `cpu`; the rest it waited, for another thread or
    for the machine. `where` is what it was doing, innermost first, as in `jobs/worker.py:120 _start`; empty when it was
    over before it could be seen."""

    at: datetime
    seconds: float
    cpu: float
    where: tuple[str, ...]


class Stalls:
    """The last stalls of one loop."""

    def __init__(self, metrics: Metrics) -> None:
        self._newest: deque[Stall] = deque(maxlen=KEPT)
        self._minutes: deque[tuple[int, float]] = deque(maxlen=HOUR)  # the longest of each minute that had one
        self._last = 0.0  # when the loop last turned
        self._worked = 0.0  # how much its thread had worked then
        self._seen: tuple[float, tuple[str, ...]] = (0.0, ())  # what ran after the beat of that moment
        self._stopped = threading.Event()
        self._next: asyncio.TimerHandle | None = None
        self._lag = metrics.durations("loop_lag_seconds", "How late the event loop turned.", up_to=BUCKETS)
        self._count = metrics.counter("loop_stalls", f"Times that it did not turn for {LONG * 1000:.0f} ms or more.")
        metrics.reading("loop_longest_stall_seconds", "The longest stall of the last hour.", self.longest)

    def newest(self) -> Sequence[Stall]:
        """At most a hundred, newest first."""
        return list(reversed(self._newest))

    def longest(self) -> float:
        """Seconds, of the last hour; 0 when there was none."""
        since = int(monotonic() // 60) - HOUR
        return max((seconds for minute, seconds in self._minutes if minute > since), default=0.0)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the loop that runs this."""
        loop = asyncio.get_running_loop()
        self._stopped.clear()
        self._last, self._worked = perf_counter(), thread_time()
        self._next = loop.call_later(BEAT, self._beat, loop)
        watcher = threading.Thread(target=self._watch, args=[threading.get_ident()], name="stalls", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._next.cancel()
            self._stopped.set()
            await asyncio.to_thread(watcher.join)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        last, worked = self._last, self._worked
        self._last, self._worked = perf_counter(), thread_time()
        passed = self._last - last
        self._lag.observe(max(0.0, passed - BEAT))
        if passed >= LONG:
            where = self._seen[1] if self._seen[0] == last else ()
            self._note(Stall(clock.now() - timedelta(seconds=passed), passed, self._worked - worked, where))
        self._next = loop.call_later(BEAT, self._beat, loop)

    def _note(self, stall: Stall) -> None:
        self._count.inc()
        self._newest.append(stall)
        minute, longest = int(monotonic() // 60), stall.seconds
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
        """Runs in a thread of its own; wakes when the next beat would be too late, and looks once at each that is."""
        pause, cried = LONG, 0.0
        while not self._stopped.wait(pause):
            last = self._last
            late = perf_counter() - last - LONG
            pause = LONG if late >= 0 else -late
            with contextlib.suppress(Exception):  # frames may vanish while they are read: then this sample is missing
                if late >= 0 and self._seen[0] != last:
                    self._seen = (last, _doing(thread))
                if late >= STUCK and cried != last:  # the loop may never turn again, and nothing else would report it
                    cried = last
                    logger.error("the event loop does not turn", seconds=round(late), where=" < ".join(_doing(thread)))


def _doing(thread: int) -> tuple[str, ...]:
    """What a thread is doing. When the loop's own is at rest, something kept it from waking up: another thread of ours
    that did not let go of the interpreter, or the machine."""
    frames = sys._current_frames()
    found = _told(frames[thread]) if thread in frames else ()
    if not found or not _at_rest(frames[thread]):
        return found
    others = [told[0] for other, frame in frames.items() if other != thread and (told := _busy(frame))]
    return ("at rest; beside it: " + ", ".join(others),) if others else ("at rest: the machine was busy",)


def _busy(frame: FrameType) -> tuple[str, ...]:
    """What a thread of ours is doing; nothing when it rests, or is the one that watches."""
    if _at_rest(frame) or not any(_is_ours(one) for one in _outwards(frame)):
        return ()
    told = _told(frame)
    return () if told[0].startswith("base/stalls.py") else told


def _told(frame: FrameType) -> tuple[str, ...]:
    """The innermost frame whosesoever it is, then the innermost of our own."""
    ours = [_line(one) for one in _outwards(frame) if _is_ours(one)][:FRAMES]
    first = _line(frame)
    return tuple(ours) if ours and ours[0] == first else (first, *ours)


def _outwards(frame: FrameType) -> Iterator[FrameType]:
    one: FrameType | None = frame
    while one is not None:
        yield one
        one = one.f_back


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)


def _at_rest(frame: FrameType) -> bool:
    return frame.f_code.co_filename.endswith(_WAITING)


def _line(frame: FrameType) -> str:
    """Where a frame stands, without the machine's own folders."""
    name = frame.f_code.co_filename
    short = name.removeprefix(_OURS) if name.startswith(_OURS) else "/".join(Path(name).parts[-2:])
    return f"{short}:{frame.f_lineno} {frame.f_code.co_name}"
