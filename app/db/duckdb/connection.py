"""The open database file: cursors for the threads, and reopening it after its engine has failed.

DuckDB 2.0 on a full disk, as measured: a commit that runs out of space is undone as a whole, and the next commit that fits is
sound; but a checkpoint that runs out of space invalidates the database until it is reopened. In 28,000 commits with the process
killed at random, no acknowledged commit was lost and no rejected one came back.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Final, TypeVar

import duckdb

from app.base import logging
from app.base.disk_full import NO_SPACE, DiskFull
from app.base.errors import Unready
from app.db.database import DatabaseError
from app.db.duckdb.transaction import DuckDBTransaction, quoted
from app.db.transaction import Transaction

T = TypeVar("T")

HEADER: Final = 12_288  # bytes of a database file before its blocks
REOPEN_PAUSE: Final = 1.0  # seconds between two attempts to reopen the database
UNAVAILABLE: Final = "The database is being reopened. Try again in a moment."
CLOSED: Final = "Atelier is shutting down."

logger = logging.get("database")


class Connection:
    """One database file, opened by this process. Thread-safe."""

    def __init__(self, path: Path, on_failure: Callable[[], object]) -> None:
        """`on_failure` is called when the engine has failed and `reopen` is needed. Raises DatabaseError."""
        self.path = path
        self._on_failure = on_failure
        self._root = _connect(path)
        self._generation = 0  # how often it was reopened; a cursor is valid for one generation
        self._failure: str | None = None
        self._closing = False
        self._cursors: list[duckdb.DuckDBPyConnection] = []  # the readers'
        self._copying: duckdb.DuckDBPyConnection | None = None
        self._gate = threading.Condition()
        self._active_readers = 0
        self._local = threading.local()

    @property
    def generation(self) -> int:
        """How often it was reopened."""
        return self._generation

    @property
    def failed(self) -> bool:
        """Whether it must be reopened before it can be used."""
        return self._failure is not None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A new cursor, for one thread."""
        return self._root.cursor()

    @contextlib.contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The cursor of this reader thread; the database is not reopened while it is in use."""
        with self._gate:
            if self._failure:
                raise Unready(UNAVAILABLE)
            if getattr(self._local, "generation", None) != self._generation:
                self._local.generation, self._local.cursor = self._generation, self._root.cursor()
                self._cursors.append(self._local.cursor)
            self._active_readers += 1
        try:
            yield self._local.cursor
        except duckdb.Error as exc:
            error = self.translate_error(exc)
            if error is exc:
                raise
            raise error from exc
        finally:
            with self._gate:
                self._active_readers -= 1
                self._gate.notify_all()

    def read(self, run: Callable[[Transaction], T]) -> T:
        """Run a function in a read-only transaction of this reader thread."""
        with self.reading() as cursor:
            cursor.execute("begin transaction read only")
            try:
                return run(DuckDBTransaction(cursor))
            finally:
                cursor.execute("rollback")

    def copy_to(self, path: Path, function: Callable[[Transaction], T]) -> T:
        """Copy everything into a new file, and run `function` in the copy. The copy is one long reader that blocks no write; only a
        checkpoint cannot run before it ends, so the write-ahead log grows."""
        with self.reading() as cursor:
            [(name,)] = cursor.execute("select current_database()").fetchall()
            target = quoted(path, "'")
            cursor.execute(f"attach {target} as {_COPY}")
            try:
                self._copying = cursor
                cursor.execute(f"copy from database {quoted(name)} to {_COPY}")
                cursor.execute(f"checkpoint {_COPY}")  # detach does the same, but does not report a failure
                cursor.execute(f"use {_COPY}")
                return function(DuckDBTransaction(cursor))
            finally:
                self._copying = None
                cursor.execute(f"use {quoted(name)}")
                cursor.execute(f"detach {_COPY}")

    def reopen(self, cursor: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection | None:
        """Reopen a database whose engine has failed. Closes the writer's `cursor` and returns a new one, or None when the
        database cannot be opened now."""
        with self._gate:
            while self._active_readers:
                if copying := self._copying:
                    copying.interrupt()
                self._gate.wait(REOPEN_PAUSE)
            for opened in (cursor, *self._cursors, self._root):
                with contextlib.suppress(duckdb.Error):
                    opened.close()
            self._cursors.clear()
            try:
                self._root = _connect(self.path)
            except DatabaseError as exc:
                logger.error("database reopen failed", reason=str(exc))
                return None
            self._generation += 1
            self._failure = None
            logger.info("database reopened")
            return self._root.cursor()

    def translate_error(self, exc: BaseException) -> BaseException:
        """The error that the caller gets. When the engine has failed, also asks for `reopen`."""
        text = str(exc)
        if isinstance(exc, duckdb.FatalException) or (_INVALIDATED in text and f'"{_COPY}"' not in text):
            if self._failure is None:
                self._failure = text
                logger.error("database engine failed", reason=text[:500])
                self._on_failure()
            return Unready(UNAVAILABLE)
        if isinstance(exc, duckdb.Error) and _is_disk_full(text):
            return DiskFull()
        if isinstance(exc, duckdb.InterruptException):
            return Unready(CLOSED if self._closing else UNAVAILABLE)
        return exc

    def abort_copy(self) -> None:
        """Interrupt a running copy, also one that begins later. Blocks until it has ended."""
        self._closing = True
        while cursor := self._copying:
            cursor.interrupt()
            sleep(0.02)

    def close(self) -> None:
        """Checkpoint and close the file. Blocks."""
        self._root.close()


_COPY: Final = "copied"  # catalog name of a running copy; an error that names it does not concern the database itself
_INVALIDATED: Final = "database has been invalidated"
_NO_SPACE_TEXTS: Final = tuple(os.strerror(number) for number in NO_SPACE)


def _is_disk_full(text: str) -> bool:
    return any(reason in text for reason in _NO_SPACE_TEXTS)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        connection = duckdb.connect(
            str(path),
            config={
                "threads": 2,
                "memory_limit": "512MB",
                "temp_directory": str(path.parent / "tmp"),
                "wal_autocheckpoint": "1TB",  # never automatically: see `checkpoint`
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
    except duckdb.Error as exc:
        raise DatabaseError(_open_error(path, str(exc))) from None
    # A truncated file opens as long as the missing part is not read. Free blocks do not count: the engine itself cuts them off
    # the end when it closes the file, and still has them in its total.
    [(blocks,)] = connection.execute(  # fetch everything: an open result would block checkpoints
        "select used_blocks * block_size from pragma_database_size() where database_name = current_database()"
    ).fetchall()
    if path.stat().st_size < HEADER + blocks:
        connection.close()
        raise DatabaseError(_damaged(path))
    return connection


def _open_error(path: Path, text: str) -> str:
    if "Could not set lock" in text:
        return f"another process has the database {path.name} open: stop it first"
    if "version" in text and ("newer" in text or "storage" in text):
        return f"the database {path.name} was written by a newer version: use that version"
    if _is_disk_full(text):
        return f"the disk is full, so the database {path.name} cannot be opened: free some space"
    return _damaged(path)


def _damaged(path: Path) -> str:
    return (
        f"the database {path.name} is damaged or not a database: restore a backup, or move the file away to start empty"
    )
