"""Tunes glibc's allocator so that freed memory is returned to the system.

By default it keeps large freed blocks for reuse, and hashing a password takes 19 MiB. It also gives each thread its own arena,
whose free memory other threads cannot use.
"""

import ctypes
from contextlib import suppress
from typing import Final

MMAP_THRESHOLD: Final = 8 * 1024 * 1024  # bytes; larger blocks are returned to the system when freed
MAX_ARENAS: Final = 2
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # as in malloc.h


def limit_arenas() -> None:
    """Set both limits for this process. Does nothing with another C library."""
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        library.mallopt(_M_ARENA_MAX, MAX_ARENAS)
