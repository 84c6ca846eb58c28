"""An append-only log for rows that are only inserted: on disk at once, in their tables soon after.

A DuckDB commit costs one or two milliseconds of CPU, however little it holds. A caller that only inserts rows need not wait
for one: the rows are appended to files next to the database, one record per transaction function, and fsynced before the
caller continues. The writer applies them with its next commit. The same commit stores the number of the last applied record, so each
record is in the tables exactly once, whenever the process dies.

A record is its number (8 bytes), its length (4), a checksum of both and of the body (4), then the rows as JSON. An incomplete
record at the end of a file, as a power cut leaves it, was never acknowledged.
"""

import asyncio
import contextlib
import os
import queue
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import duckdb
import msgspec

from app.base import logging
from app.base.data_dir import fsync_path
from app.base.metrics import Metrics
from app.db.database import DatabaseError
from app.db.transaction import Transaction

Rows = Mapping[str, Sequence[Sequence[Any]]]  # a table with its columns in parentheses -> rows

SEGMENT_BYTES: Final = 4 * 1024 * 1024  # size of a file after which a new one is started
BUCKETS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)  # seconds
_HEADER: Final = struct.Struct(">QII")

logger = logging.get("database")


class Record(msgspec.Struct, frozen=True):
    """The rows of one transaction function."""

    number: int
    rows: Rows


class _Entry:
    """A record that is not on disk yet, and the future that its caller awaits."""

    def __init__(self, rows: Rows, on_stored: Callable[[], object]) -> None:
        self.rows = rows
        self.body = msgspec.json.encode(rows)
        self.on_stored = on_stored
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()

    def resolve(self, exc: OSError | None) -> None:
        """Runs in the event loop; the caller may have been cancelled."""
        if exc is None:
            self.on_stored()
            if not self.future.done():
                self.future.set_result(None)
        elif not self.future.done():
            self.future.set_exception(exc)


class _AllApplied:
    """Signals the thread that all records are in the tables."""


class AppendLog:
    """The log files of one database, written by one thread, and how much of them is in the tables."""

    def __init__(
        self,
        database: Path,
        cursor: duckdb.DuckDBPyConnection,
        metrics: Metrics,
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        """Reads what is not applied yet. A new file is started after `segment_bytes`. Raises DatabaseError."""
        self._segment_bytes = segment_bytes
        self._stem = database.with_name(f"{database.name}.append-")
        self._quarantine_file = database.with_name(f"{database.name}.quarantine")
        self._applied = _position(cursor)
        self._lock = threading.Lock()
        self._waiting: list[Record] = []  # on disk, and not known to be in the tables
        self._tables: frozenset[str] = frozenset()
        self._closed: list[tuple[Path, int]] = []  # finished files with the number of their last record
        self._number = self._applied
        self._file: int | None = None
        self._path = database
        self._size = 0
        self._entries: queue.SimpleQueue[_Entry | _AllApplied | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._seconds = metrics.histogram(
            "append_log_write_duration_seconds", "Duration of an append-log write with its fsync.", up_to=BUCKETS
        )
        try:
            for path in sorted(database.parent.glob(f"{self._stem.name}*"), key=_first_number):
                self._load(path)
        except OSError as exc:
            raise DatabaseError(
                f"the append log of the database {database.name} cannot be read ({exc.strerror}); it holds rows that are not in"
                " the database yet: make it readable"
            ) from None
        self.remove_applied()

    @property
    def unapplied(self) -> int:
        """How many records are on disk but not known to be in their tables. Thread-safe."""
        return len(self._waiting)

    @property
    def tables(self) -> frozenset[str]:
        """The tables of the waiting records."""
        return self._tables

    async def add(self, rows: Rows, on_stored: Callable[[], object]) -> None:
        """Append a record; it is on disk when this returns. `on_stored` is called in the event loop before that, even if the
        caller was cancelled. Raises OSError when the record cannot be written; then nothing of it is stored."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_forever, name="append log", daemon=True)
            self._thread.start()
        entry = _Entry(rows, on_stored)
        self._entries.put(entry)
        await entry.future

    # For the writer thread

    def next_records(self) -> Sequence[Record]:
        """The records that are not applied yet, in order."""
        return [record for record in self._waiting if record.number > self._applied]

    def apply(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Insert the rows of these records and store the number of the last one, in the writer's transaction. Call
        `mark_applied` after the commit."""
        for record in records:
            for into, rows in record.rows.items():
                tx.insert_all(into, rows)
        number = records[-1].number
        if self._applied:
            tx.execute(_POSITION, f"update {_POSITION} set applied = $1", number)
        else:
            tx.execute(_POSITION, f"create table if not exists {_POSITION} (applied bigint not null)")
            tx.execute(_POSITION, f"delete from {_POSITION}")
            tx.execute(_POSITION, f"insert into {_POSITION} values ($1)", number)

    def mark_applied(self, records: Sequence[Record]) -> None:
        """These records are in the tables."""
        self._applied = records[-1].number
        self.remove_applied()

    def skip(self, tx: Transaction, record: Record) -> None:
        """Move a record that a table rejects to a file of its own, for an administrator to look at, and count it as applied."""
        file = os.open(self._quarantine_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, msgspec.json.encode(record) + b"\n")
        finally:
            os.close(file)
        self.apply(tx, [Record(record.number, {})])

    def reload(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Find out again what is applied, after the database was reopened."""
        self._applied = _position(cursor)

    def remove_applied(self) -> None:
        """Forget records that are in the tables, and remove finished files that hold no others."""
        with self._lock:
            self._waiting = [record for record in self._waiting if record.number > self._applied]
            self._tables = _tables(record.rows for record in self._waiting)
            obsolete = [path for path, last in self._closed if last <= self._applied]
            self._closed = [(path, last) for path, last in self._closed if last > self._applied]
        for path in obsolete:
            path.unlink(missing_ok=True)
        if self._thread is not None and not self._waiting:
            self._entries.put(_AllApplied())

    def stop(self) -> None:
        """Write what is queued, then end the thread. Blocks."""
        if self._thread is not None:
            self._entries.put(None)
            self._thread.join()
        self._end_file()

    # The thread

    def _write_forever(self) -> None:
        more = True
        while more:
            batch: list[_Entry] = []
            entry = self._entries.get()
            with contextlib.suppress(queue.Empty):
                while entry is not None:
                    if isinstance(entry, _Entry):
                        batch.append(entry)
                    entry = self._entries.get_nowait()
            more = entry is not None
            if batch:
                error = self._store(batch)
                batch[0].loop.call_soon_threadsafe(_resolve, batch, error)
            elif self._size and not self._waiting:
                self._truncate()

    def _store(self, batch: Sequence[_Entry]) -> OSError | None:
        """Write all entries with one fsync, or none of them."""
        started = perf_counter()
        first = self._number + 1
        self._number += len(batch)  # the number of a failed record is not reused
        data = memoryview(b"".join(_frame(number, entry.body) for number, entry in enumerate(batch, first)))
        try:
            file = self._current_file(first)
            while data:
                data = data[os.write(file, data) :]
            os.fdatasync(file)
        except OSError as exc:
            self._undo_write()
            return exc
        self._size = os.lseek(file, 0, os.SEEK_CUR)
        with self._lock:
            self._waiting.extend(Record(number, entry.rows) for number, entry in enumerate(batch, first))
            self._tables |= _tables(entry.rows for entry in batch)
        self._seconds.observe(perf_counter() - started)
        return None

    def _current_file(self, first: int) -> int:
        """The open file; starts a new one for record `first` when there is none or it is large enough."""
        if self._file is not None and self._size > self._segment_bytes:
            self._end_file()
        if self._file is None:
            self._path = self._stem.with_name(f"{self._stem.name}{first}")
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._size = 0
            fsync_path(self._path.parent)
        return self._file

    def _undo_write(self) -> None:
        """Remove what a failed write left, so that the next start does not find it."""
        if self._file is None:
            return
        try:
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            os.fdatasync(self._file)
        except OSError:  # the content of the file is unknown now
            logger.exception("append log truncate failed, starting a new file", file=self._path.name)
            self._end_file()
        else:
            if not self._size:  # its name may not be on disk yet
                self._end_file()

    def _truncate(self) -> None:
        """Remove rows that are in the tables now, so that no copy of a row remains here when it is deleted there."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # the next start reads the records again and skips them
                os.ftruncate(self._file, 0)
                os.lseek(self._file, 0, os.SEEK_SET)
                self._size = 0

    def _end_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            with self._lock:
                self._closed.append((self._path, self._number))

    # At the start

    def _load(self, path: Path) -> None:
        for number, body in _records(path):
            self._number = max(self._number, number)
            if number > self._applied:
                self._waiting.append(Record(number, msgspec.json.decode(body, type=dict[str, list[list[Any]]])))
        self._closed.append((path, self._number))


_POSITION: Final = "append_log_position"  # its one row holds the number of the last applied record


def _position(cursor: duckdb.DuckDBPyConnection) -> int:
    """The number of the last record whose rows are in the tables."""
    try:
        found = cursor.execute(f"select applied from {_POSITION}").fetchall()
    except duckdb.CatalogException:  # there has never been a record
        return 0
    return int(found[0][0]) if found else 0


def _resolve(batch: Sequence[_Entry], exc: OSError | None) -> None:
    for entry in batch:
        entry.resolve(exc)


def _tables(records: Iterable[Rows]) -> frozenset[str]:
    return frozenset(into.partition(" ")[0] for rows in records for into in rows)


def _frame(number: int, body: bytes) -> bytes:
    return _HEADER.pack(number, len(body), _checksum(number, body)) + body


def _checksum(number: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(number.to_bytes(8) + len(body).to_bytes(4)))


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    data = path.read_bytes()
    offset = 0
    while offset + _HEADER.size <= len(data):
        number, length, checksum = _HEADER.unpack_from(data, offset)
        body = data[offset + _HEADER.size : offset + _HEADER.size + length]
        if len(body) < length or _checksum(number, body) != checksum:
            break
        yield number, body
        offset += _HEADER.size + length
    if offset < len(data):
        logger.warning("append log ends with an incomplete record", file=path.name, bytes=len(data) - offset)


def _first_number(path: Path) -> int:
    """The number of a file's first record, from its name."""
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0
