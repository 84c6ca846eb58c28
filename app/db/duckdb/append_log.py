"""What is only added: on disk at once, in the tables a moment later.

A commit of DuckDB costs a millisecond or two of the processor, however little is in it. Whoever only adds rows and looks at
nothing need not wait for one: the rows are written into files beside the database, one record for each verb, and the disk is
asked to keep them before anybody is told. The database takes them in with its next commit, in which a row of its own says
up to which record it has them, so that each is in the tables exactly once, whenever the process dies.

A record is its number (8 bytes), its length (4) and a checksum of both and of what follows (4), then the rows as JSON. What
a power cut leaves of a record at the end of a file was promised to nobody.
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

import msgspec

from app.base import logging
from app.base.metrics import Metrics

Rows = Mapping[str, Sequence[Sequence[Any]]]  # a table with its columns in parentheses -> rows

SEGMENT: Final = 4 * 1024 * 1024  # bytes after which another file is begun
BUCKETS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)  # seconds
_HEAD: Final = struct.Struct(">QII")

logger = logging.get("database")


class Record(msgspec.Struct, frozen=True):
    """The rows of one verb."""

    number: int
    rows: Rows


class _Entry:
    """A record on its way to the disk, and the future of whoever awaits it."""

    def __init__(self, rows: Rows, done: Callable[[], object]) -> None:
        self.rows = rows
        self.body = msgspec.json.encode(rows)
        self.done = done
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()

    def tell(self, problem: OSError | None) -> None:
        """In the loop; whoever waited may have gone away."""
        if problem is None:
            self.done()
            if not self.future.done():
                self.future.set_result(None)
        elif not self.future.done():
            self.future.set_exception(problem)


class _Rest:
    """Tells the thread that everything is in the tables."""


class AppendLog:
    """The files beside one database, written by one thread of their own."""

    def __init__(self, database: Path, taken: int, metrics: Metrics, *, segment: int = SEGMENT) -> None:
        """`taken` is the number of the last record that the database has in its tables. What the files hold beyond that
        waits from the beginning. `segment` is the size in bytes after which another file is begun."""
        self._segment = segment
        self._stem = database.with_name(f"{database.name}.journal-")
        self._aside = database.with_name(f"{database.name}.refused")
        self._turn = threading.Lock()
        self._waiting: list[Record] = []  # on disk, and not known to be in the tables
        self._tables: frozenset[str] = frozenset()
        self._closed: list[tuple[Path, int]] = []  # files that are not written any more, with their last number
        self._number = taken
        self._file: int | None = None
        self._path = database
        self._size = 0
        self._entries: queue.SimpleQueue[_Entry | _Rest | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._seconds = metrics.histogram(
            "append_log_write_duration_seconds", "Keeping what is only added on disk.", up_to=BUCKETS
        )
        for path in sorted(database.parent.glob(f"{self._stem.name}*"), key=_first):
            self._find(path, taken)
        self._tables = _tables(record.rows for record in self._waiting)

    @property
    def waiting(self) -> Sequence[Record]:
        """What the database has still to take in, in its order; it grows meanwhile. For any thread."""
        return self._waiting

    @property
    def tables(self) -> frozenset[str]:
        """Where it belongs."""
        return self._tables

    async def add(self, rows: Rows, done: Callable[[], object]) -> None:
        """Keep the rows; they are on disk when this returns. `done` is called in the loop before, even if nobody waits any
        more. OSError when they cannot be kept, and then nothing of them is."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_forever, name="journal", daemon=True)
            self._thread.start()
        entry = _Entry(rows, done)
        self._entries.put(entry)
        await entry.future

    def mark_applied(self, number: int) -> None:
        """The database has everything up to this record. For any thread."""
        with self._turn:
            self._waiting = [record for record in self._waiting if record.number > number]
            self._tables = _tables(record.rows for record in self._waiting)
            done = [path for path, last in self._closed if last <= number]
            self._closed = [(path, last) for path, last in self._closed if last > number]
        for path in done:
            path.unlink(missing_ok=True)
        if self._thread is not None and not self._waiting:
            self._entries.put(_Rest())

    def quarantine(self, record: Record) -> None:
        """Keep a record that the tables refuse where somebody can look at it."""
        file = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, msgspec.json.encode(record) + b"\n")
        finally:
            os.close(file)

    def stop(self) -> None:
        """Keep what is on its way, and no more. Blocks."""
        if self._thread is not None:
            self._entries.put(None)
            self._thread.join()
        self._end_file()

    # The thread

    def _keep_forever(self) -> None:
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
                problem = self._keep(batch)
                batch[0].loop.call_soon_threadsafe(_tell, batch, problem)
            elif self._size and not self._waiting:
                self._empty()

    def _keep(self, batch: Sequence[_Entry]) -> OSError | None:
        """All of them with one sync, or none."""
        began = perf_counter()
        first = self._number + 1
        self._number += len(batch)  # a number that failed is not given again
        data = memoryview(b"".join(_framed(number, entry.body) for number, entry in enumerate(batch, first)))
        try:
            file = self._ready(first)
            while data:
                data = data[os.write(file, data) :]
            os.fdatasync(file)
        except OSError as exc:
            self._undo()
            return exc
        self._size = os.lseek(file, 0, os.SEEK_CUR)
        with self._turn:
            self._waiting.extend(Record(number, entry.rows) for number, entry in enumerate(batch, first))
            self._tables |= _tables(entry.rows for entry in batch)
        self._seconds.observe(perf_counter() - began)
        return None

    def _ready(self, first: int) -> int:
        """The file that is written now: a new one when there is none, or when it has grown."""
        if self._file is not None and self._size > self._segment:
            self._end_file()
        if self._file is None:
            self._path = self._stem.with_name(f"{self._stem.name}{first}")
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._size = 0
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # or the file's name may be lost
            finally:
                os.close(folder)
        return self._file

    def _undo(self) -> None:
        """Nothing of what failed may be found by the next start."""
        if self._file is None:
            return
        try:
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            os.fdatasync(self._file)
        except OSError:  # what such a disk holds nobody knows
            logger.exception("the journal cannot be mended, another file is begun", file=self._path.name)
            self._end_file()
        else:
            if not self._size:  # its name may not be on disk
                self._end_file()

    def _empty(self) -> None:
        """What is in the tables need not lie about here as well: somebody may delete it there."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # it is read once more at the next start, for nothing
                os.ftruncate(self._file, 0)
                os.lseek(self._file, 0, os.SEEK_SET)
                self._size = 0

    def _end_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            with self._turn:
                self._closed.append((self._path, self._number))

    # At the start

    def _find(self, path: Path, taken: int) -> None:
        for number, body in _records(path):
            self._number = max(self._number, number)
            if number > taken:
                self._waiting.append(Record(number, msgspec.json.decode(body, type=dict[str, list[list[Any]]])))
        self._closed.append((path, self._number))


def _tell(batch: Sequence[_Entry], problem: OSError | None) -> None:
    for entry in batch:
        entry.tell(problem)


def _tables(many: Iterable[Rows]) -> frozenset[str]:
    return frozenset(into.partition(" ")[0] for rows in many for into in rows)


def _framed(number: int, body: bytes) -> bytes:
    return _HEAD.pack(number, len(body), _checksum(number, body)) + body


def _checksum(number: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(number.to_bytes(8) + len(body).to_bytes(4)))


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    data = path.read_bytes()
    place = 0
    while place + _HEAD.size <= len(data):
        number, length, checksum = _HEAD.unpack_from(data, place)
        body = data[place + _HEAD.size : place + _HEAD.size + length]
        if len(body) < length or _checksum(number, body) != checksum:
            break
        yield number, body
        place += _HEAD.size + length
    if place < len(data):
        logger.warning("the journal ends in the middle of a record", file=path.name, bytes=len(data) - place)


def _first(path: Path) -> int:
    """The number of its first record, by its name."""
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0
