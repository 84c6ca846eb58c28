"""When the write-ahead log is written into the database file.

A checkpoint that runs out of disk space invalidates the database until it is reopened, so the engine never makes one by itself:
it is made here, only when there is enough space.
"""

import shutil
from pathlib import Path
from time import monotonic
from typing import Final

import duckdb

from app.db.duckdb.connection import Connection

CHECKPOINT_BYTES: Final = 16 * 1024 * 1024  # size of the write-ahead log that starts a checkpoint
CHECKPOINT_FREE_BYTES: Final = 64 * 1024 * 1024  # free disk space that a checkpoint needs, plus the size of the log
CHECKPOINT_PAUSE: Final = 60.0  # seconds after a failed checkpoint


class Checkpoints:
    """Makes checkpoints for the writer thread."""

    def __init__(self, connection: Connection, *, start_bytes: int, free_bytes: int) -> None:
        self._connection = connection
        self._start_bytes = start_bytes
        self._free_bytes = free_bytes
        self._log = _write_ahead_log(connection.path)
        self._not_before = 0.0  # by the monotonic clock

    def make_if_due(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Make a checkpoint when the log is large enough and the disk has enough free space."""
        if self._connection.failed or monotonic() < self._not_before or not self._due():
            return
        try:
            cursor.execute("checkpoint")
        except duckdb.TransactionException:
            pass  # a reader still needs the old state: try again after the next write
        except duckdb.Error as exc:
            self._not_before = monotonic() + CHECKPOINT_PAUSE
            self._connection.translate_error(exc)

    def _due(self) -> bool:
        try:
            size = self._log.stat().st_size
            free = shutil.disk_usage(self._log.parent).free
        except OSError:  # there is no log
            return False
        return size >= self._start_bytes and free >= self._free_bytes + size


def _write_ahead_log(database: Path) -> Path:
    return database.with_name(f"{database.name}.wal")
