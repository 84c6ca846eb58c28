"""Ids that sort by creation time."""

import os
import threading
import time
from collections.abc import Callable


class Ids:
    """Creates ids that sort by creation time, also within one millisecond and when the clock is set back (UUIDv7, RFC 9562,
    method 1). `time_ns` returns nanoseconds since 1970."""

    def __init__(self, time_ns: Callable[[], int] = time.time_ns) -> None:
        self._time_ns = time_ns
        self._lock = threading.Lock()
        self._last = 0  # milliseconds and sequence of the newest id

    def new(self) -> str:
        with self._lock:
            self._last = max(self._last + 1, (self._time_ns() // 1_000_000) << 12)
            stamp, sequence = divmod(self._last, 1 << 12)
        random_bits = int.from_bytes(os.urandom(8)) >> 2
        return f"{(stamp << 80) | (7 << 76) | (sequence << 64) | (2 << 62) | random_bits:032x}"


_ids = Ids()


def uuid7() -> str:
    """An opaque id that sorts by creation time; see `Ids`."""
    return _ids.new()
