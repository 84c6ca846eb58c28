"""An awaitable face on DuckDB, which is synchronous: one writer thread, a few reader threads, one transaction per verb.

DuckDB refuses two writers on one row and refuses to share a connection between threads, so all writing goes through one
thread and each reader thread has a cursor of its own. Writes that wait together are committed together (one fsync for
all); when one of them fails, the batch is rolled back and each runs alone, so a verb's function may run twice and must
do nothing but SQL.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import duckdb

from app.base.errors import Unready
from app.base.metrics import Metrics

P = ParamSpec("P")
T = TypeVar("T")
Row = dict[str, Any]

BATCH: Final = 16  # more than this many verbs in one commit gained nothing when measured
READERS: Final = 4
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)  # seconds


class DatabaseError(Exception):
    """One line saying why the database cannot be opened."""


class Duplicate(Exception):
    """A unique key is already taken; services turn this into Conflict."""


class Transaction:
    """SQL inside one transaction. Parameters are `$1`, `$2`, …"""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.afterwards: list[Callable[[], object]] = []

    def then(self, call: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call this in the event loop once the write is committed, before whoever awaits it goes on, and even if nobody
        does any more: the place to forget what memory still holds. After a rollback it is not called."""
        self.afterwards.append(lambda: call(*args, **kwargs))

    def execute(self, sql: str, *parameters: Any) -> None:
        self._run(sql, parameters)

    def rows(self, sql: str, *parameters: Any) -> list[Row]:
        result = self._run(sql, parameters)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, values, strict=True)) for values in result.fetchall()]

    def row(self, sql: str, *parameters: Any) -> Row | None:
        found = self.rows(sql, *parameters)
        return found[0] if found else None

    def value(self, sql: str, *parameters: Any) -> Any:
        """The first column of the first row, or None."""
        found = self._run(sql, parameters).fetchone()
        return found[0] if found else None

    def _run(self, sql: str, parameters: Sequence[Any]) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute(sql, list(parameters)) if parameters else self._connection.execute(sql)
        except duckdb.ConstraintException as problem:
            if "uplicate key" in str(problem):
                raise Duplicate(str(problem)) from None
            raise


class _Write:
    """A verb waiting for the writer thread, and the future of whoever awaits it."""

    def __init__(self, run: Callable[[Transaction], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.run = run
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None

    def settle(self, result: Any, problem: BaseException | None) -> None:
        self.loop.call_soon_threadsafe(self._settle, result, problem)

    def _settle(self, result: Any, problem: BaseException | None) -> None:
        if self.future.done():  # whoever waited was cancelled; what was written stays written
            return
        if problem is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(problem)


class Database:
    """Opened once, closed once. `write` and `read` take a function whose first argument is the transaction."""

    def __init__(self, path: Path, *, readers: int = READERS, metrics: Metrics | None = None) -> None:
        self.path = path
        self._connection = _connect(path)
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(readers, "reader")
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_forever, name="writer", daemon=True)
        self._broken: str | None = None
        self._closed = False
        metrics = metrics or Metrics()
        self._commits = metrics.durations("commit_seconds", "A commit with all its verbs.", up_to=BUCKETS)
        self._verbs = metrics.counter("committed_verbs", "Verbs that were committed.")
        metrics.reading("writer_queue", "Verbs that wait for the writer.", lambda: self.waiting)
        self._writer.start()

    async def write(self, verb: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `verb(tx, …)` in the writer thread in a transaction of its own; it is on disk when this returns."""
        self._check()
        item = _Write(lambda tx: verb(tx, *args, **kwargs), asyncio.get_running_loop())
        self._writes.put(item)
        result: T = await item.future
        return result

    async def read(self, verb: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `verb(tx, …)` in a reader thread on one consistent snapshot."""
        self._check()
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._read, lambda tx: verb(tx, *args, **kwargs)
        )

    @property
    def waiting(self) -> int:
        """How many verbs wait for the writer."""
        return self._writes.qsize()

    @property
    def healthy(self) -> bool:
        return self._broken is None and not self._closed

    async def close(self) -> None:
        """Finish what waits, fold the write-ahead log into the file, let go of it."""
        if self._closed:
            return
        self._closed = True
        self._writes.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._pool.shutdown)
        await asyncio.to_thread(self._connection.close)

    def _check(self) -> None:
        if self._broken:
            raise Unready("The database has failed. Restart Atelier; nothing that was saved is lost.")
        if self._closed:
            raise Unready("Atelier is shutting down.")

    def _read(self, run: Callable[[Transaction], T]) -> T:
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self._connection.cursor()
        try:
            cursor.execute("begin transaction read only")
            try:
                return run(Transaction(cursor))
            finally:
                cursor.execute("rollback")
        except duckdb.Error as problem:
            self._note(problem)
            raise

    def _write_forever(self) -> None:
        cursor = self._connection.cursor()
        while True:
            item = self._writes.get()
            batch: list[_Write] = []
            while item is not None:
                batch.append(item)
                if len(batch) == BATCH:
                    break
                try:
                    item = self._writes.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._commit(cursor, batch)
            if item is None:
                cursor.close()
                return

    def _commit(self, cursor: duckdb.DuckDBPyConnection, batch: list[_Write]) -> None:
        began = perf_counter()
        try:
            cursor.execute("begin transaction")
            transaction = Transaction(cursor)
            for item in batch:
                item.result = item.run(transaction)
            cursor.execute("commit")
        except BaseException as problem:
            self._roll_back(cursor)
            if len(batch) > 1:
                for item in batch:
                    self._commit(cursor, [item])
                return
            if isinstance(problem, duckdb.Error):
                self._note(problem)
                batch[0].settle(None, self._meaning(problem))
            else:
                batch[0].settle(None, problem)
        else:
            for call in transaction.afterwards:
                batch[0].loop.call_soon_threadsafe(call)
            for item in batch:
                item.settle(item.result, None)
            self._commits.observe(perf_counter() - began)
            self._verbs.inc(len(batch))

    def _roll_back(self, cursor: duckdb.DuckDBPyConnection) -> None:
        try:
            cursor.execute("rollback")
        except duckdb.TransactionException:
            pass  # the failed statement was `begin`, or the engine has rolled back by itself
        except duckdb.Error as problem:
            self._note(problem)

    def _note(self, problem: duckdb.Error) -> None:
        if isinstance(problem, duckdb.FatalException) or "database has been invalidated" in str(problem):
            self._broken = str(problem)

    @staticmethod
    def _meaning(problem: duckdb.Error) -> BaseException:
        if "o space left on device" in str(problem):
            return Unready("The disk is full: nothing could be saved. What was saved before is not lost.")
        return problem


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(
            str(path),
            config={
                "threads": 2,
                "memory_limit": "512MB",
                "temp_directory": str(path.parent / "tmp"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
    except duckdb.Error as problem:
        text = str(problem)
        if "Could not set lock" in text:
            raise DatabaseError(f"another process has the database {path.name} open: stop it first") from None
        if "version" in text and ("newer" in text or "storage" in text):
            raise DatabaseError(f"the database {path.name} was written by a newer version: use that version") from None
        raise DatabaseError(
            f"the database {path.name} is damaged or not a database: put a backup in its place, or move it away to start anew"
        ) from None
