"""The one clock: UTC without a zone, as the database keeps it.

While the program runs it never goes back. Where the system's clock is set back, this one goes on from where it was, or
whatever is due in a minute would be due in that and an hour; where it is set forward, this one follows.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

_BEGINNING: Final = datetime(1970, 1, 1)
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps, where it can


def since_boot() -> int:
    """Nanoseconds since some moment; nobody can set this clock."""
    return time.clock_gettime_ns(_STEADY)


class Clock:
    """`wall` shows nanoseconds since 1970 and may be set at any moment; `steady` shows nanoseconds and cannot be set."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = since_boot) -> None:
        self._wall = wall
        self._steady = steady
        self._turn = threading.Lock()
        self._origin = 0  # nanoseconds since 1970 at which the steady clock showed nothing

    def now(self) -> datetime:
        """UTC, naive, whole microseconds."""
        with self._turn:
            wall = self._wall()
            since = self._steady()  # read second: a pause in between must not push us ahead
            self._origin = max(self._origin, wall - since)
            return _BEGINNING + timedelta(microseconds=(self._origin + since) // 1000)


system = Clock()  # the clock of this process


def now() -> datetime:
    """UTC, naive, whole microseconds, by the clock of this process."""
    return system.now()


def steady() -> float:
    """Seconds since some moment, which nobody can set: for how long something has taken."""
    return time.monotonic()


def after(seconds: float) -> datetime:
    return now() + timedelta(seconds=seconds)


def unix(moment: datetime) -> float:
    """Seconds since 1970."""
    return moment.replace(tzinfo=UTC).timestamp()


def iso(moment: datetime) -> str:
    """ISO 8601 with milliseconds, ending in Z: `2026-11-20T09:30:00.000Z`."""
    return moment.isoformat(timespec="milliseconds") + "Z"
