"""A full disk, told from all other failures to write."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Final

from app.base.errors import Unready

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # the system's numbers for it


class DiskFull(Unready):
    """The disk, or our share of it, is full. What was being written is gone again; what was there before is intact."""

    def __init__(self) -> None:
        super().__init__("The server's disk is full, so nothing could be saved. Please tell an administrator.")


@contextlib.contextmanager
def map_disk_full() -> Iterator[None]:
    """Turn the system's ways of saying that there is no space left into `Full`."""
    try:
        yield
    except Exception as exc:
        # PyAV's errors carry the system's number too, without always being an OSError.
        if getattr(exc, "errno", None) in NO_SPACE:
            raise DiskFull from None
        raise
