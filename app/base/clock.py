"""The application's clock: naive UTC, as stored in the database.

It never goes back while the process runs. When the system clock is set back, this one continues from where it was, so that
work scheduled in a minute does not wait an hour longer; when the system clock is set forward, this one follows.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1)
_BOOTTIME: Final = getattr(
    time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC
)  # also counts while the machine sleeps, where supported


def since_boot() -> int:
    """Monotonic nanoseconds."""
    return time.clock_gettime_ns(_BOOTTIME)


class Clock:
    """`wall` returns nanoseconds since 1970 and may be set at any time; `steady` returns monotonic nanoseconds."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = since_boot) -> None:
        self._wall = wall
        self._steady = steady
        self._lock = threading.Lock()
        self._origin = 0  # nanoseconds since 1970 at which the steady clock was 0

    def now(self) -> datetime:
        """UTC, naive, whole microseconds."""
        with self._lock:
            wall = self._wall()
            since = self._steady()  # read second: a pause in between must not move the clock ahead
            self._origin = max(self._origin, wall - since)
            return _EPOCH + timedelta(microseconds=(self._origin + since) // 1000)


system = Clock()  # the clock of this process


def now() -> datetime:
    """UTC, naive, whole microseconds, by the clock of this process."""
    return system.now()


def steady() -> float:
    """Monotonic seconds, to measure durations."""
    return time.monotonic()


def after(seconds: float) -> datetime:
    return now() + timedelta(seconds=seconds)


def unix(at: datetime) -> float:
    """Seconds since 1970."""
    return at.replace(tzinfo=UTC).timestamp()


def iso(at: datetime) -> str:
    """ISO 8601 with milliseconds, ending in Z: `2026-11-20T09:30:00.000Z`."""
    return at.isoformat(timespec="milliseconds") + "Z"
