"""Large pieces of memory go back to the system as soon as they are given back. By itself the C library (glibc) keeps the size
of the largest one for the next time, and a password takes 19 MiB to be checked.
"""

import ctypes
from contextlib import suppress
from typing import Final

LARGE: Final = 8 * 1024 * 1024  # bytes
_M_MMAP_THRESHOLD: Final = -3  # as in malloc.h


def give_back() -> None:
    """From now on. Where the C library is another one this does nothing."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)
