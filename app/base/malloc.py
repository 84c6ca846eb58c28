"""What the C library (glibc) does with memory that was given back to it.

By itself it keeps what large pieces took for the next one, and a password takes 19 MiB to be checked. And it gives each
thread a heap of its own, from which others cannot take what is free.
"""

import ctypes
from contextlib import suppress
from typing import Final

LARGE: Final = 8 * 1024 * 1024  # bytes; from here on back to the system at once
HEAPS: Final = 2
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # as in malloc.h


def limit_arenas() -> None:
    """From now on. Where the C library is another one this does nothing."""
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE)
        library.mallopt(_M_ARENA_MAX, HEAPS)
