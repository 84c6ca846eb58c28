"""An awaitable interface to DuckDB, which is synchronous: one writer thread, a few reader threads, one transaction per call.

DuckDB rejects two concurrent writers of one row, and a connection may not be shared between threads. So one thread does all
the writing, and each reader thread has its own cursor. Writes that wait at the same time are committed together (one fsync
for all). When one of them fails, the batch is rolled back and each runs on its own, so a transaction function may run twice
and must do nothing but SQL. A function that only inserts rows need not wait for a commit at all: see `Database.add` and
`duckdb.append_log`.

DuckDB 2.0 on a full disk, as measured: a commit that runs out of space is undone as a whole, and the next commit that fits is
sound; but a checkpoint that runs out of space invalidates the database until it is reopened. So checkpoints are made here,
only when there is enough space, and if the engine fails nevertheless, the database is reopened while the server runs. In
28,000 commits with the process killed at random, no acknowledged commit was lost and no rejected one came back.
"""

import asyncio
import contextlib
import functools
import os
import queue
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import duckdb

from app.base import logging, struct_warmup
from app.base.crash_points import crash_point
from app.base.disk_full import NO_SPACE
from app.base.errors import Unready
from app.base.metrics import Metrics
from app.db.duckdb.append_log import SEGMENT_BYTES, AppendLog, Record

P = ParamSpec("P")
T = TypeVar("T")
Row = dict[str, Any]

BATCH: Final = 64  # transaction functions in one commit
CHUNK: Final = 4  # rows appended at once when no one waits for them
READERS: Final = 4
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)  # seconds
HEADER: Final = 12_288  # bytes of a database file before its blocks
CHECKPOINT_BYTES: Final = 16 * 1024 * 1024  # size of the write-ahead log that starts a checkpoint
CHECKPOINT_FREE_BYTES: Final = 64 * 1024 * 1024  # free disk space that a checkpoint needs, plus the size of the log
CHECKPOINT_PAUSE: Final = 60.0  # seconds after a failed checkpoint
MAX_STATEMENTS: Final = 2_000  # statements whose tables are cached
REOPEN_PAUSE: Final = 1.0  # seconds between two attempts to reopen the database
APPLY_AFTER: Final = 1.0  # seconds until added rows are applied to their tables, if nothing reads or writes before
MAX_UNAPPLIED: Final = 2_000  # additions that may wait to be applied

logger = logging.get("database")


class DatabaseError(Exception):
    """Why the database cannot be opened or read, in one line."""


class DatabaseFull(Unready):
    """The disk is full."""

    def __init__(self) -> None:
        super().__init__("The disk is full, so nothing was saved. Data saved earlier is safe.")


class Duplicate(Exception):
    """A unique key already exists; services turn this into Conflict."""


class Transaction:
    """SQL inside one transaction. Parameters are `$1`, `$2`, …"""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        appenders: dict[str, duckdb.Appender] | None = None,
        *,
        yield_to_loop: bool = False,
    ) -> None:
        """`appenders` belong to the connection and are reused by later transactions. With `yield_to_loop` rows are appended
        in small chunks, so that the event loop can run in between."""
        self._yield_to_loop = yield_to_loop
        self._connection = connection
        self._appenders = {} if appenders is None else appenders
        self._batches: dict[str, dict[str, list[tuple[Any, ...]]]] = {}  # table -> statement, or `into` -> its rows
        self.commit_callbacks: list[Callable[[], object]] = []
        self.executed_sql: set[str] = set()

    def on_commit(self, call: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call this in the event loop after the commit, before the caller of `write` continues, and even if that caller was
        cancelled: the place to invalidate caches. After a rollback it is not called."""
        self.commit_callbacks.append(lambda: call(*args, **kwargs))

    def execute(self, sql: str, *parameters: Any) -> None:
        self._run(sql, parameters)

    def batch(self, table: str, sql: str, *row: Any) -> None:
        """Run a statement on `table` whose parameters are lists (for `unnest`), once with this row and all other rows batched
        for it in the same commit: a statement costs far more than a row. It runs before any later statement of the
        transaction that names the table, and before the commit."""
        self._batches.setdefault(table, {}).setdefault(sql, []).append(row)

    def insert(self, into: str, *row: Any) -> None:
        """Batch a row for `into`: a table with its columns in parentheses, in the order of the values. Sixteen rows cost no
        more than one."""
        self.batch(into.partition(" ")[0], into, *row)

    def insert_all(self, into: str, rows: Iterable[Sequence[Any]]) -> None:
        """Batch many rows."""
        self._batches.setdefault(into.partition(" ")[0], {}).setdefault(into, []).extend(map(tuple, rows))

    def flush(self) -> None:
        """Run everything that was batched."""
        for table in list(self._batches):
            self._flush_batch(table)

    def count(self, sql: str, *parameters: Any) -> int:
        """The number of rows that an update or delete has changed."""
        found = self._run(sql, parameters).fetchone()
        return int(found[0]) if found else 0

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

    def verify_tables(self) -> dict[str, int]:
        """The number of rows of every table. Reads every value, so that damage on the disk is found: DatabaseError."""
        tables = self.rows(
            "select table_name as name from information_schema.tables"
            " where table_catalog = current_database() and table_schema = 'main' order by table_name"
        )
        found = {}
        for table in tables:
            name = _quoted(table["name"], '"')
            sql = f'select count(*) as rows, bit_xor(hash(everything)) as read from "{name}" as everything'  # noqa: S608
            try:
                found[table["name"]] = int(self.value(sql))
            except duckdb.Error as exc:
                if "orrupt" not in str(exc):
                    raise
                raise DatabaseError(f"the table {table['name']} is damaged on the disk and cannot be read") from None
        return found

    def _flush_batch(self, table: str) -> None:
        for sql, rows in self._batches.pop(table).items():
            if sql.startswith("insert "):
                self._run(sql, [list(column) for column in zip(*rows, strict=True)])
            else:
                self._append(sql, rows)

    def _append(self, into: str, rows: list[tuple[Any, ...]]) -> None:
        self.executed_sql.add(f"insert into {into}")
        appender = self._appenders.get(into)
        if appender is None:
            table, _, columns = into.removesuffix(")").partition(" (")
            appender = self._appenders[into] = self._connection.appender(table, columns=columns.split(", "))
        self._connection.complete()  # an earlier query may not have been read to its end
        try:
            size = CHUNK if self._yield_to_loop else len(rows)
            for start in range(0, len(rows), size):
                if start:
                    sleep(0)  # the engine holds the interpreter lock while it appends: let the event loop run
                appender.append_rows(rows[start : start + size])
            appender.flush()
        except BaseException as exc:
            # A living appender keeps the database open, and the frames of an exception live long.
            with contextlib.suppress(duckdb.Error):
                appender.clear()
            del appender, self._appenders[into]
            if isinstance(exc, duckdb.ConstraintException):
                raise _constraint_error(exc) from None
            raise

    def _run(self, sql: str, parameters: Sequence[Any]) -> duckdb.DuckDBPyConnection:
        for table in [table for table in self._batches if table in sql]:
            self._flush_batch(table)
        self.executed_sql.add(sql)
        try:
            return self._connection.execute(sql, list(parameters)) if parameters else self._connection.execute(sql)
        except duckdb.ConstraintException as exc:
            raise _constraint_error(exc) from None


class _Additions(Transaction):
    """Collects inserted rows for the append log and rejects everything else."""

    def __init__(self) -> None:
        super().__init__(_NO_CONNECTION)

    @property
    def rows_added(self) -> dict[str, list[tuple[Any, ...]]]:
        return {into: rows for table in self._batches.values() for into, rows in table.items()}

    def batch(self, table: str, sql: str, *row: Any) -> None:
        if sql.startswith("insert "):
            raise TypeError(_ONLY_INSERTS.format(sql))
        super().batch(table, sql, *row)

    def _run(self, sql: str, parameters: Sequence[Any]) -> duckdb.DuckDBPyConnection:
        raise TypeError(_ONLY_INSERTS.format(sql))


_NO_CONNECTION: Final[Any] = None
_ONLY_INSERTS: Final = "a function passed to Database.add may only insert rows, not run a statement: {}"


def _constraint_error(exc: duckdb.ConstraintException) -> Exception:
    return Duplicate(str(exc)) if "uplicate key" in str(exc) else exc


class _Write:
    """A transaction function in the writer's queue, and the future that its caller awaits."""

    def __init__(self, name: str, run: Callable[[Transaction], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.name = name  # of the function
        self.run = run
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None

    def resolve_threadsafe(self, result: Any, exc: BaseException | None) -> None:
        self.loop.call_soon_threadsafe(self.resolve, result, exc)

    def resolve(self, result: Any, exc: BaseException | None) -> None:
        """Runs in the event loop."""
        if self.future.done():  # the caller was cancelled; the write stays committed
            return
        if exc is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(exc)


def _resolve_batch(callbacks: Sequence[Callable[[], object]], batch: Sequence[_Write]) -> None:
    """Runs in the event loop: the callbacks of a committed batch, then its futures. The loop is woken once for all, and each
    step is scheduled separately, so that one that fails does not stop the others."""
    loop = batch[0].loop
    for call in callbacks:
        loop.call_soon(call)
    for item in batch:
        loop.call_soon(item.resolve, item.result, None)


class Database:
    """Opened once, closed once. `write`, `add` and `read` take a function whose first argument is the transaction."""

    def __init__(
        self,
        path: Path,
        *,
        readers: int = READERS,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
        checkpoint_free_bytes: int = CHECKPOINT_FREE_BYTES,
        apply_after: float = APPLY_AFTER,
        max_unapplied: int = MAX_UNAPPLIED,
        segment_bytes: int = SEGMENT_BYTES,
        metrics: Metrics | None = None,
    ) -> None:
        """Each number is explained at the constant that is its default; `segment_bytes` is the append log's."""
        struct_warmup.warm_up()  # before any thread uses the structs
        self.path = path
        self._wal = path.with_name(f"{path.name}.wal")
        self._checkpoint_bytes = checkpoint_bytes
        self._checkpoint_free_bytes = checkpoint_free_bytes
        self._no_checkpoint_until = 0.0  # by the monotonic clock
        self._apply_after = apply_after
        self._max_unapplied = max_unapplied
        self._connection = _connect(path)
        self._generation = 0  # how often it was reopened; a cursor is valid for one generation
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._appenders: dict[str, duckdb.Appender] = {}  # the writer's
        self._copying: duckdb.DuckDBPyConnection | None = None
        self._gate = threading.Condition()
        self._active_readers = 0
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(readers, "reader")
        self._writes: queue.SimpleQueue[_Write | _Wake | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_forever, name="writer", daemon=True)
        self._broken: str | None = None
        self._closed = False
        self._commit_seq = 0
        self._changed_at: dict[str, int] = {}  # table -> commit_seq of its last change
        self._tables: frozenset[str] = frozenset()  # all there are, once `read_with_tables` was called
        self._statement_tables: dict[str, frozenset[str]] = {}
        metrics = metrics or Metrics()
        self._applied = _last_applied(self._connection)  # number of the last log record whose rows are in the tables
        try:
            self._append_log = AppendLog(path, self._applied, metrics, segment_bytes=segment_bytes)
        except OSError as exc:
            self._connection.close()
            raise DatabaseError(
                f"the append log of the database {path.name} cannot be read ({exc.strerror}); it holds rows that are not in"
                " the database yet: make it readable"
            ) from None
        self._append_log.mark_applied(self._applied)
        self._timer: asyncio.TimerHandle | None = None
        self._commits = metrics.histogram(
            "commit_seconds", "Duration of a commit with all its transactions.", up_to=BUCKETS
        )
        self._transactions = metrics.counter("db_transactions", "Committed transaction functions.")
        metrics.gauge_callback(
            "db_write_queue_depth", "Transaction functions that wait for the writer thread.", lambda: self.waiting
        )
        self._writer.start()

    async def write(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(tx, …)` in a transaction in the writer thread; it is on disk when this returns. Raises Unready while
        the disk is full or the database is being reopened."""
        self._check()
        name = getattr(function, "__name__", "")
        crash_point("transaction.requested", name)
        item = _Write(name, lambda tx: function(tx, *args, **kwargs), asyncio.get_running_loop())
        self._writes.put(item)
        result: T = await item.future
        crash_point("transaction.acknowledged", name)
        return result

    async def add(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a `function(tx, …)` that only inserts rows, in the event loop. The rows are on disk when this returns, and in
        their tables before the next read or write that could see them. Costs a tenth of `write`. Raises Unready as `write`
        does, and TypeError when the function does anything else."""
        self._check()
        if len(self._append_log.waiting) >= self._max_unapplied:
            await self.write(_apply_added)
        tx = _Additions()
        result = function(tx, *args, **kwargs)
        rows = tx.rows_added
        tables = frozenset(into.partition(" ")[0] for into in rows)
        try:
            await self._append_log.add(rows, functools.partial(self._added, tables, tx.commit_callbacks))
        except OSError as exc:
            if exc.errno in NO_SPACE:
                raise DatabaseFull from exc
            logger.error("append log write failed", reason=str(exc))
            raise Unready(_WRITE_FAILED) from exc
        return result

    def _added(self, tables: frozenset[str], callbacks: Sequence[Callable[[], object]]) -> None:
        self._note_change(tables)
        self._transactions.inc()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._apply_after, self._apply_soon)
        for call in callbacks:
            call()

    def _apply_soon(self) -> None:
        self._timer = None
        self._writes.put(_Wake())

    async def _apply_waiting(self) -> None:
        """Return once all added rows are in their tables, or cannot be applied now."""
        if self._append_log.waiting:
            with contextlib.suppress(Unready):
                await self.write(_apply_added)

    async def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(tx, …)` in a reader thread on one consistent snapshot."""
        return await self._read_current(lambda tx: function(tx, *args, **kwargs))

    async def read_with_tables(self, function: Callable[[Transaction], T]) -> tuple[T, frozenset[str]]:
        """Like `read`; also returns the names of the tables that were read, for `changed_since`."""
        if not self._tables:
            self._tables = await self.read(_table_names)

        def run(tx: Transaction) -> tuple[T, frozenset[str]]:
            result = function(tx)
            return result, frozenset().union(*(self._tables_of(sql) for sql in tx.executed_sql))

        return await self._read_current(run)

    async def _read_current(self, run: Callable[[Transaction], T]) -> T:
        """Read; if a table was read for which added rows still wait, apply them and read again. Few reads need that, and the
        others do not wait."""
        self._check()
        loop = asyncio.get_running_loop()
        waiting = self._append_log.tables
        if not waiting:
            return await loop.run_in_executor(self._pool, self._read, run)
        executed_sql: set[str] = set()

        def run_and_record(tx: Transaction) -> T:
            try:
                return run(tx)
            finally:
                executed_sql.update(tx.executed_sql)

        try:
            result = await loop.run_in_executor(self._pool, self._read, run_and_record)
        except Exception:
            if not _touches(executed_sql, waiting):
                raise
        else:
            if not _touches(executed_sql, waiting):
                return result
        await self._apply_waiting()
        return await loop.run_in_executor(self._pool, self._read, run)

    @property
    def commit_seq(self) -> int:
        """Increases with each commit. A read that starts later sees at least everything committed until now."""
        return self._commit_seq

    def changed_since(self, tables: Iterable[str], since: int) -> bool:
        """Whether one of these tables was written to after the commit with that number."""
        return any(self._changed_at.get(table, 0) > since for table in tables)

    def _note_change(self, tables: frozenset[str]) -> None:
        """Runs in the event loop, before the callers of `write` continue."""
        self._commit_seq += 1
        for table in tables:
            self._changed_at[table] = self._commit_seq

    def _tables_of(self, sql: str) -> frozenset[str]:
        """The tables that a statement names. Every word that equals a table's name counts, so it may be one too many."""
        found = self._statement_tables.get(sql)
        if found is None and self._tables:
            found = frozenset(_IDENTIFIER.findall(sql)) & self._tables
            if len(self._statement_tables) < MAX_STATEMENTS:
                self._statement_tables[sql] = found
        return found or frozenset()

    async def snapshot(self, path: Path, function: Callable[[Transaction], T]) -> T:
        """Copy the database as it is now into the new file `path`; returns what `function` reads in the copy.

        Reads and writes continue meanwhile: the copy is one long reader that blocks no write. Only a checkpoint cannot run
        before it ends, so the write-ahead log grows. Raises DatabaseFull when there is no space for the copy; the database
        itself is not affected, and the caller has to remove the incomplete copy.
        """
        self._check()
        await self._apply_waiting()
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._copy_to, path, function)

    @property
    def waiting(self) -> int:
        """How many transaction functions wait for the writer."""
        return self._writes.qsize()

    @property
    def unapplied(self) -> int:
        """How many additions are on disk but not known to be in their tables yet."""
        return len(self._append_log.waiting)

    @property
    def generation(self) -> int:
        """How often the database was reopened after its engine had failed."""
        return self._generation

    @property
    def healthy(self) -> bool:
        return self._broken is None and not self._closed

    async def close(self) -> None:
        """Finish waiting writes, abort a running copy, checkpoint and close the file."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.to_thread(self._append_log.stop)
        self._writes.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._stop_copying)
        await asyncio.to_thread(self._pool.shutdown)
        await asyncio.to_thread(self._connection.close)

    def _check(self) -> None:
        if self._closed:
            raise Unready(_CLOSED)

    # Readers

    def _read(self, run: Callable[[Transaction], T]) -> T:
        with self._reading() as cursor:
            cursor.execute("begin transaction read only")
            try:
                return run(Transaction(cursor))
            finally:
                cursor.execute("rollback")

    def _copy_to(self, path: Path, function: Callable[[Transaction], T]) -> T:
        with self._reading() as cursor:
            source = _quoted(Transaction(cursor).value("select current_database()"), '"')
            target = _quoted(path, "'")
            cursor.execute(f"attach '{target}' as {_COPY}")
            try:
                self._copying = cursor
                cursor.execute(f'copy from database "{source}" to {_COPY}')
                cursor.execute(f"checkpoint {_COPY}")  # detach does the same, but does not report a failure
                cursor.execute(f"use {_COPY}")
                return function(Transaction(cursor))
            finally:
                self._copying = None
                cursor.execute(f'use "{source}"')
                cursor.execute(f"detach {_COPY}")

    def _stop_copying(self) -> None:
        while cursor := self._copying:
            cursor.interrupt()
            sleep(0.02)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """This thread's cursor; the database is not reopened while it is in use."""
        with self._gate:
            if self._broken:
                raise Unready(_BROKEN)
            if getattr(self._local, "generation", None) != self._generation:
                self._local.generation, self._local.cursor = self._generation, self._connection.cursor()
                self._cursors.append(self._local.cursor)
            self._active_readers += 1
        try:
            yield self._local.cursor
        except duckdb.Error as exc:
            error = self._translate_error(exc)
            if error is exc:
                raise
            raise error from exc
        finally:
            with self._gate:
                self._active_readers -= 1
                self._gate.notify_all()

    # The writer

    def _write_forever(self) -> None:
        cursor = self._connection.cursor()
        more = True
        while more:
            batch, more = self._next_batch()
            if self._broken:
                cursor = self._reopen(cursor) or cursor
            if batch or self._unapplied_records():
                self._commit(cursor, batch)
            self._checkpoint(cursor)
            if self._broken:
                cursor = self._reopen(cursor) or cursor
        self._append_log.mark_applied(self._applied)
        self._appenders.clear()
        cursor.close()

    def _next_batch(self) -> tuple[list["_Write"], bool]:
        """Wait for a write, then take up to `BATCH` of those that wait; False when it is the last batch."""
        batch: list[_Write] = []
        try:
            item = self._writes.get(timeout=REOPEN_PAUSE if self._broken else None)
            while item is not None:
                if isinstance(item, _Write):
                    batch.append(item)
                if len(batch) == BATCH:
                    break
                item = self._writes.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, item is not None

    def _commit(self, cursor: duckdb.DuckDBPyConnection, batch: list["_Write"]) -> None:
        """Commit the waiting log records and the batch together; if that fails, the records first, then each write alone."""
        if self._broken:
            for item in batch:
                item.resolve_threadsafe(None, Unready(_BROKEN))
            return
        added = self._unapplied_records()
        error = self._try(cursor, added, batch)
        if error is None:
            return
        if not added and len(batch) == 1:
            batch[0].resolve_threadsafe(None, error)
        elif added and (error := self._apply_records(cursor, added)):
            for item in batch:
                item.resolve_threadsafe(None, error)
        else:
            for item in batch:
                self._commit(cursor, [item])

    def _try(
        self, cursor: duckdb.DuckDBPyConnection, added: Sequence[Record], batch: Sequence["_Write"]
    ) -> BaseException | None:
        """Commit the log records and the whole batch in one transaction; returns the error, or None."""
        started = perf_counter()
        try:
            cursor.execute("begin transaction")
            transaction = Transaction(cursor, self._appenders, yield_to_loop=not batch)
            if added:
                _apply(transaction, added, first=not self._applied)
            for item in batch:
                item.result = item.run(transaction)
                crash_point("transaction.executed", item.name)
            transaction.flush()
            cursor.execute("commit")
        except BaseException as exc:
            error = self._translate_error(exc)
            self._roll_back(cursor)
            return error
        for item in batch:
            crash_point("transaction.committed", item.name)
        if added:
            self._applied = added[-1].number
            self._append_log.mark_applied(self._applied)
        if batch:
            changes = (self._tables_of(sql) for sql in transaction.executed_sql if not sql.startswith("select "))
            note: Callable[[], object] = functools.partial(self._note_change, frozenset().union(*changes))
            batch[0].loop.call_soon_threadsafe(_resolve_batch, [note, *transaction.commit_callbacks], batch)
            self._transactions.inc(len(batch))
        self._commits.observe(perf_counter() - started)
        return None

    def _unapplied_records(self) -> Sequence[Record]:
        return [record for record in self._append_log.waiting if record.number > self._applied]

    def _apply_records(self, cursor: duckdb.DuckDBPyConnection, added: Sequence[Record]) -> BaseException | None:
        """Commit the waiting log records without any write; returns why they must keep waiting, or None. A record that its
        table rejects is quarantined, so that it does not block the others."""
        error = self._try(cursor, added, [])
        if error is None or isinstance(error, Unready):
            return error
        for record in added:
            error = self._try(cursor, [record], [])
            if isinstance(error, Unready):
                return error
            if error is not None:
                logger.error(
                    "rows rejected by their table, record quarantined", record=record.number, reason=str(error)
                )
                self._append_log.quarantine(record)
                self._try(cursor, [Record(record.number, {})], [])
        return None

    def _roll_back(self, cursor: duckdb.DuckDBPyConnection) -> None:
        try:
            cursor.execute("rollback")
        except duckdb.TransactionException:
            pass  # the failed statement was `begin`, or the engine has already rolled back
        except duckdb.Error as exc:
            self._translate_error(exc)

    def _checkpoint(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Write the write-ahead log into the file when it is large enough and the disk has enough free space."""
        if self._broken or monotonic() < self._no_checkpoint_until:
            return
        try:
            size = self._wal.stat().st_size
            free = shutil.disk_usage(self.path.parent).free
            if size < self._checkpoint_bytes or free < self._checkpoint_free_bytes + size:
                return
        except OSError:  # there is no log
            return
        try:
            cursor.execute("checkpoint")
        except duckdb.TransactionException:
            pass  # a reader still needs the old state: try again after the next write
        except duckdb.Error as exc:
            self._no_checkpoint_until = monotonic() + CHECKPOINT_PAUSE
            self._translate_error(exc)

    def _reopen(self, cursor: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection | None:
        """Reopen a database whose engine has failed. Closes the writer's `cursor` and returns a new one, or None when the
        database cannot be opened now."""
        with self._gate:
            while self._active_readers:
                if copying := self._copying:
                    copying.interrupt()
                self._gate.wait(REOPEN_PAUSE)
            self._appenders.clear()
            for opened in (cursor, *self._cursors, self._connection):
                with contextlib.suppress(duckdb.Error):
                    opened.close()
            self._cursors.clear()
            try:
                self._connection = _connect(self.path)
            except DatabaseError as exc:
                logger.error("database reopen failed", reason=str(exc))
                return None
            self._applied = _last_applied(self._connection)
            self._generation += 1
            self._broken = None
            logger.info("database reopened")
            return self._connection.cursor()

    def _translate_error(self, exc: BaseException) -> BaseException:
        """The error that the caller gets. When the engine has failed, also wakes the writer, which reopens the database."""
        text = str(exc)
        if isinstance(exc, duckdb.FatalException) or (_INVALIDATED in text and f'"{_COPY}"' not in text):
            if self._broken is None:
                self._broken = text
                logger.error("database engine failed", reason=text[:500])
                self._writes.put(_Wake())
            return Unready(_BROKEN)
        if isinstance(exc, duckdb.Error) and any(reason in text for reason in _NO_SPACE_TEXTS):
            return DatabaseFull()
        if isinstance(exc, duckdb.InterruptException):
            return Unready(_CLOSED if self._closed else _BROKEN)
        return exc


class _Wake:
    """Wakes the writer without a write."""


def _apply_added(_: Transaction) -> None:
    """Does nothing itself: writing it applies all added rows first."""


def _apply(tx: Transaction, records: Sequence[Record], *, first: bool) -> None:
    """Insert the rows of these records and store the number of the last one; `first` when none was applied before."""
    for record in records:
        for into, rows in record.rows.items():
            tx.insert_all(into, rows)
    number = records[-1].number
    if first:
        tx.execute("create table if not exists journal (taken bigint not null)")
        tx.execute("delete from journal")
        tx.execute("insert into journal values ($1)", number)
    else:
        tx.execute("update journal set taken = $1", number)


def _last_applied(connection: duckdb.DuckDBPyConnection) -> int:
    """The number of the last append-log record whose rows are in the tables."""
    try:
        found = connection.execute("select taken from journal").fetchall()
    except duckdb.CatalogException:  # there has never been a record
        return 0
    return int(found[0][0]) if found else 0


_COPY: Final = "copied"  # catalog name of a running copy; an error that names it does not concern the database itself
_INVALIDATED: Final = "database has been invalidated"
_CLOSED: Final = "Atelier is shutting down."
_WRITE_FAILED: Final = "The server's disk could not be written. Please inform an administrator."
_BROKEN: Final = "The database is being reopened. Try again in a moment."
_IDENTIFIER: Final = re.compile(r"[a-z_]+[a-z0-9_]*")
_NO_SPACE_TEXTS: Final = tuple(os.strerror(number) for number in NO_SPACE)


def _touches(statements: Iterable[str], tables: Iterable[str]) -> bool:
    return any(table in sql for sql in statements for table in tables)


def _table_names(tx: Transaction) -> frozenset[str]:
    return frozenset(row["name"] for row in tx.rows("select table_name as name from information_schema.tables"))


def _quoted(text: object, mark: str) -> str:
    return str(text).replace(mark, mark * 2)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        connection = duckdb.connect(
            str(path),
            config={
                "threads": 2,
                "memory_limit": "512MB",
                "temp_directory": str(path.parent / "tmp"),
                "wal_autocheckpoint": "1TB",  # never automatically: see `_checkpoint`
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
    except duckdb.Error as exc:
        text = str(exc)
        if "Could not set lock" in text:
            raise DatabaseError(f"another process has the database {path.name} open: stop it first") from None
        if "version" in text and ("newer" in text or "storage" in text):
            raise DatabaseError(f"the database {path.name} was written by a newer version: use that version") from None
        if any(reason in text for reason in _NO_SPACE_TEXTS):
            raise DatabaseError(
                f"the disk is full, so the database {path.name} cannot be opened: free some space"
            ) from None
        raise _damaged(path) from None
    # A truncated file opens as long as the missing part is not read. Free blocks do not count: the engine itself cuts them off
    # the end when it closes the file, and still has them in its total.
    [(blocks,)] = connection.execute(  # fetch everything: an open result would block checkpoints
        "select used_blocks * block_size from pragma_database_size() where database_name = current_database()"
    ).fetchall()
    if path.stat().st_size < HEADER + blocks:
        connection.close()
        raise _damaged(path)
    return connection


def _damaged(path: Path) -> DatabaseError:
    return DatabaseError(
        f"the database {path.name} is damaged or not a database: restore a backup, or move the file away to start empty"
    )
