"""Distinguishes a full disk from all other write errors."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Final

from app.base.errors import Unready

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # errno values


class DiskFull(Unready):
    """The disk or the disk quota is full. The incomplete file was removed; earlier data is intact."""

    def __init__(self) -> None:
        super().__init__("The server's disk is full, so nothing was saved. Please inform an administrator.")


@contextlib.contextmanager
def map_disk_full() -> Iterator[None]:
    """Turn the system's errors for a full disk into `DiskFull`."""
    try:
        yield
    except Exception as exc:
        # PyAV's errors have an errno too, but are not always an OSError.
        if getattr(exc, "errno", None) in NO_SPACE:
            raise DiskFull from None
        raise
