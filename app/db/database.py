"""An awaitable face on DuckDB, which is synchronous: one writer thread, a few reader threads, one transaction per verb.

DuckDB refuses two writers on one row and refuses to share a connection between threads, so all writing goes through one
thread and each reader thread has a cursor of its own. Writes that wait together are committed together (one fsync for
all); when one of them fails, the batch is rolled back and each runs alone, so a verb's function may run twice and must
do nothing but SQL. A verb that only adds rows need not wait for a commit at all: see `Database.add` and `journal`.

What DuckDB 2.0 does on a full disk was measured: a commit that finds no room is undone as a whole and the next one that
finds room is sound, but a checkpoint that finds none invalidates the database until it is opened anew. So checkpoints are
made here and only when there is room, and when the engine has given up all the same, it is opened anew while the program
goes on. In 28,000 commits with kills among them no acknowledged one was lost, and no refused one was there afterwards.
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
from app.db.duckdb.append_log import SEGMENT, AppendLog, Record

P = ParamSpec("P")
T = TypeVar("T")
Row = dict[str, Any]

BATCH: Final = 64  # verbs in one commit
TURN: Final = 4  # rows that are appended at one go when nobody waits for them
READERS: Final = 4
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)  # seconds
HEADER: Final = 12_288  # bytes of a database file in front of its blocks
FOLD: Final = 16 * 1024 * 1024  # bytes of write-ahead log that are folded into the file
ROOM: Final = 64 * 1024 * 1024  # bytes that must be free on the disk for that
FOLD_PAUSE: Final = 60.0  # seconds after one that failed
STATEMENTS: Final = 2_000  # whose tables are remembered
MEND_PAUSE: Final = 1.0  # seconds between two tries to open a database anew
TAKE_IN: Final = 1.0  # seconds until what was only added is in its tables, if nobody reads or writes before
MAX_ADDED: Final = 2_000  # verbs that may wait for that

logger = logging.get("database")


class DatabaseError(Exception):
    """One line saying why the database cannot be opened, or read."""


class NoRoom(Unready):
    """The disk is full."""

    def __init__(self) -> None:
        super().__init__("The disk is full: nothing could be saved. What was saved before is not lost.")


class Duplicate(Exception):
    """A unique key is already taken; services turn this into Conflict."""


class Transaction:
    """SQL inside one transaction. Parameters are `$1`, `$2`, …"""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        appenders: dict[str, duckdb.Appender] | None = None,
        *,
        patient: bool = False,
    ) -> None:
        """`appenders` of this connection, kept from one transaction to the next; `patient` when nobody waits for it."""
        self._patient = patient
        self._connection = connection
        self._appenders = {} if appenders is None else appenders
        self._gathered: dict[str, dict[str, list[tuple[Any, ...]]]] = {}  # table -> statement, or `into` -> its rows
        self.afterwards: list[Callable[[], object]] = []
        self.executed_sql: set[str] = set()  # every statement that was run

    def on_commit(self, call: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call this in the event loop once the write is committed, before whoever awaits it goes on, and even if nobody
        does any more: the place to forget what memory still holds. After a rollback it is not called."""
        self.afterwards.append(lambda: call(*args, **kwargs))

    def execute(self, sql: str, *parameters: Any) -> None:
        self._run(sql, parameters)

    def batch(self, table: str, sql: str, *row: Any) -> None:
        """Run a statement on `table` whose parameters are lists (for `unnest`), with this row and those of all who gather
        for it in the verbs that are committed together: a statement costs far more than a row. It has run before
        anything else in this transaction names the table, and before the commit."""
        self._gathered.setdefault(table, {}).setdefault(sql, []).append(row)

    def insert(self, into: str, *row: Any) -> None:
        """Gather a row for `into`, which is a table with its columns in parentheses, in the order of the values. Sixteen
        rows cost no more than one."""
        self.batch(into.partition(" ")[0], into, *row)

    def insert_all(self, into: str, rows: Iterable[Sequence[Any]]) -> None:
        """The same for many rows."""
        self._gathered.setdefault(into.partition(" ")[0], {}).setdefault(into, []).extend(map(tuple, rows))

    def finish(self) -> None:
        """Run what was gathered."""
        for table in list(self._gathered):
            self._scatter(table)

    def count(self, sql: str, *parameters: Any) -> int:
        """How many rows an update or delete has changed."""
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
        """Every table with the number of its rows. Every value there is is read for that, so that damage on the disk comes
        to light: DatabaseError."""
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

    def _scatter(self, table: str) -> None:
        for sql, rows in self._gathered.pop(table).items():
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
        self._connection.complete()  # whoever asked for one value has not read to the end
        try:
            turn = TURN if self._patient else len(rows)
            for start in range(0, len(rows), turn):
                if start:
                    sleep(0)  # the engine holds the interpreter while it takes rows: let the event loop have its turn
                appender.append_rows(rows[start : start + turn])
            appender.flush()
        except BaseException as exc:
            # It keeps the database open for as long as it lives, and the frames of an exception live long.
            with contextlib.suppress(duckdb.Error):
                appender.clear()
            del appender, self._appenders[into]
            if isinstance(exc, duckdb.ConstraintException):
                raise _told(exc) from None
            raise

    def _run(self, sql: str, parameters: Sequence[Any]) -> duckdb.DuckDBPyConnection:
        for table in [table for table in self._gathered if table in sql]:
            self._scatter(table)
        self.executed_sql.add(sql)
        try:
            return self._connection.execute(sql, list(parameters)) if parameters else self._connection.execute(sql)
        except duckdb.ConstraintException as exc:
            raise _told(exc) from None


class _Additions(Transaction):
    """Rows for the journal: takes what is inserted and refuses everything else."""

    def __init__(self) -> None:
        super().__init__(_NOWHERE)

    @property
    def rows_added(self) -> dict[str, list[tuple[Any, ...]]]:
        return {into: rows for table in self._gathered.values() for into, rows in table.items()}

    def batch(self, table: str, sql: str, *row: Any) -> None:
        if sql.startswith("insert "):
            raise TypeError(f"whoever only adds runs no statement: {sql}")
        super().batch(table, sql, *row)

    def _run(self, sql: str, parameters: Sequence[Any]) -> duckdb.DuckDBPyConnection:
        raise TypeError(f"whoever only adds runs no statement: {sql}")


_NOWHERE: Final[Any] = None


def _told(problem: duckdb.ConstraintException) -> Exception:
    return Duplicate(str(problem)) if "uplicate key" in str(problem) else problem


class _Write:
    """A verb waiting for the writer thread, and the future of whoever awaits it."""

    def __init__(self, name: str, run: Callable[[Transaction], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.name = name  # of the verb
        self.run = run
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None

    def settle(self, result: Any, problem: BaseException | None) -> None:
        self.loop.call_soon_threadsafe(self.tell, result, problem)

    def tell(self, result: Any, problem: BaseException | None) -> None:
        """In the loop."""
        if self.future.done():  # whoever waited was cancelled; what was written stays written
            return
        if problem is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(problem)


def _tell(afterwards: Sequence[Callable[[], object]], batch: Sequence[_Write]) -> None:
    """In the loop: what was to be done once the write is committed, then to everybody in it that it is. The loop is woken
    once for all; each step is its own, so that none can keep another from happening."""
    loop = batch[0].loop
    for call in afterwards:
        loop.call_soon(call)
    for item in batch:
        loop.call_soon(item.tell, item.result, None)


class Database:
    """Opened once, closed once. `write` and `read` take a function whose first argument is the transaction."""

    def __init__(
        self,
        path: Path,
        *,
        readers: int = READERS,
        fold: int = FOLD,
        room: int = ROOM,
        take_in: float = TAKE_IN,
        most_added: int = MAX_ADDED,
        segment: int = SEGMENT,
        metrics: Metrics | None = None,
    ) -> None:
        """The constants of this module say what each number means; `segment` is the journal's."""
        struct_warmup.warm_up()  # before there are threads that meet them
        self.path = path
        self._ahead = path.with_name(f"{path.name}.wal")
        self._fold_at = fold
        self._fold_after = 0.0  # not before the monotonic clock shows this
        self._room = room
        self._take_in_after = take_in
        self._most_added = most_added
        self._connection = _connect(path)
        self._era = 0  # how often it was opened anew; a cursor is good for one era
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._appenders: dict[str, duckdb.Appender] = {}  # the writer's
        self._copying: duckdb.DuckDBPyConnection | None = None
        self._gate = threading.Condition()
        self._inside = 0  # readers at work
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(readers, "reader")
        self._writes: queue.SimpleQueue[_Write | _Wake | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_forever, name="writer", daemon=True)
        self._broken: str | None = None
        self._closed = False
        self._moment = 0
        self._written: dict[str, int] = {}  # table -> moment
        self._tables: frozenset[str] = frozenset()  # all there are, once somebody wants to know
        self._names: dict[str, frozenset[str]] = {}  # statement -> its tables
        metrics = metrics or Metrics()
        self._taken = _taken(self._connection)  # up to which record the tables have what the journal holds
        try:
            self._journal = AppendLog(path, self._taken, metrics, segment=segment)
        except OSError as exc:
            self._connection.close()
            raise DatabaseError(
                f"the journal of the database {path.name} cannot be read ({exc.strerror}): what it holds is not in the"
                " database yet, so make it readable"
            ) from None
        self._journal.mark_applied(self._taken)
        self._timer: asyncio.TimerHandle | None = None
        self._commits = metrics.histogram("commit_seconds", "A commit with all its verbs.", up_to=BUCKETS)
        self._verbs = metrics.counter("db_transactions", "Verbs that were committed.")
        metrics.gauge_callback("db_write_queue_depth", "Verbs that wait for the writer.", lambda: self.waiting)
        self._writer.start()

    async def write(self, verb: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `verb(tx, …)` in the writer thread in a transaction of its own; it is on disk when this returns. Raises
        Unready when the disk has no room for it, and while the database is being opened anew."""
        self._check()
        name = getattr(verb, "__name__", "")
        crash_point("transaction.requested", name)
        item = _Write(name, lambda tx: verb(tx, *args, **kwargs), asyncio.get_running_loop())
        self._writes.put(item)
        result: T = await item.future
        crash_point("transaction.acknowledged", name)
        return result

    async def add(self, verb: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a `verb(tx, …)` that only inserts, in the event loop: its rows are on disk when this returns, and in their
        tables before anybody reads or writes. It costs a tenth of a `write`. Raises Unready as `write` does, and
        TypeError when the verb does anything else."""
        self._check()
        if len(self._journal.waiting) >= self._most_added:
            await self.write(_nothing)
        tx = _Additions()
        result = verb(tx, *args, **kwargs)
        rows = tx.rows_added
        tables = frozenset(into.partition(" ")[0] for into in rows)
        try:
            await self._journal.add(rows, functools.partial(self._added, tables, tx.afterwards))
        except OSError as exc:
            if exc.errno in NO_SPACE:
                raise NoRoom from exc
            logger.error("the journal cannot be written", reason=str(exc))
            raise Unready(_UNWRITTEN) from exc
        return result

    def _added(self, tables: frozenset[str], afterwards: Sequence[Callable[[], object]]) -> None:
        self._note(tables)
        self._verbs.inc()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._take_in_after, self._take_in_now)
        for call in afterwards:
            call()

    def _take_in_now(self) -> None:
        self._timer = None
        self._writes.put(_Wake())

    async def _settled(self) -> None:
        """Once everything that was added is in its tables, or cannot be brought there now."""
        if self._journal.waiting:
            with contextlib.suppress(Unready):
                await self.write(_nothing)

    async def read(self, verb: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `verb(tx, …)` in a reader thread on one consistent snapshot."""
        return await self._look(lambda tx: verb(tx, *args, **kwargs))

    async def read_noting(self, verb: Callable[[Transaction], T]) -> tuple[T, frozenset[str]]:
        """Like `read`; also the names of the tables that were read, for `written`."""
        if not self._tables:
            self._tables = await self.read(_table_names)

        def run(tx: Transaction) -> tuple[T, frozenset[str]]:
            result = verb(tx)
            return result, frozenset().union(*(self._named(sql) for sql in tx.executed_sql))

        return await self._look(run)

    async def _look(self, run: Callable[[Transaction], T]) -> T:
        """Whoever reads a table to which something was added before reads again once it is there: few do, and the others
        need not wait for it."""
        self._check()
        loop = asyncio.get_running_loop()
        waiting = self._journal.tables
        if not waiting:
            return await loop.run_in_executor(self._pool, self._read, run)
        said: set[str] = set()

        def noting(tx: Transaction) -> T:
            try:
                return run(tx)
            finally:
                said.update(tx.executed_sql)

        try:
            result = await loop.run_in_executor(self._pool, self._read, noting)
        except Exception:
            if not _touches(said, waiting):
                raise
        else:
            if not _touches(said, waiting):
                return result
        await self._settled()
        return await loop.run_in_executor(self._pool, self._read, run)

    @property
    def commit_seq(self) -> int:
        """Grows with each commit. What is read from here on shows at least all that was committed until now."""
        return self._moment

    def changed_since(self, tables: Iterable[str], since: int) -> bool:
        """Whether something has been written into one of these tables since that moment."""
        return any(self._written.get(table, 0) > since for table in tables)

    def _note(self, tables: frozenset[str]) -> None:
        """In the loop, before anybody who waited for the write goes on."""
        self._moment += 1
        for table in tables:
            self._written[table] = self._moment

    def _named(self, sql: str) -> frozenset[str]:
        """The tables that stand in a statement: every word that is the name of one, so rather one too many."""
        found = self._names.get(sql)
        if found is None and self._tables:
            found = frozenset(_WORD.findall(sql)) & self._tables
            if len(self._names) < STATEMENTS:
                self._names[sql] = found
        return found or frozenset()

    async def snapshot(self, path: Path, verb: Callable[[Transaction], T]) -> T:
        """Copy the database as it is at this moment into the new file `path`; returns what `verb` reads in the copy.

        Reading and writing go on meanwhile: the copy is one long reader for which no write waits. Only the write-ahead log
        may not be folded in before it ends, and grows by what is written. Raises NoRoom when there is none for the
        copy. The database does not suffer from that; what came of the copy is left to the caller.
        """
        self._check()
        await self._settled()
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._copy_to, path, verb)

    @property
    def waiting(self) -> int:
        """How many verbs wait for the writer."""
        return self._writes.qsize()

    @property
    def unapplied(self) -> int:
        """How many added verbs are on disk but not known to be in their tables yet."""
        return len(self._journal.waiting)

    @property
    def generation(self) -> int:
        """How often it was opened again after its engine had given up."""
        return self._era

    @property
    def healthy(self) -> bool:
        return self._broken is None and not self._closed

    async def close(self) -> None:
        """Finish what waits, give up a copy that is being made, fold the write-ahead log into the file, let go of it."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.to_thread(self._journal.stop)
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

    def _copy_to(self, path: Path, verb: Callable[[Transaction], T]) -> T:
        with self._reading() as cursor:
            source = _quoted(Transaction(cursor).value("select current_database()"), '"')
            target = _quoted(path, "'")
            cursor.execute(f"attach '{target}' as {_COPY}")
            try:
                self._copying = cursor
                cursor.execute(f'copy from database "{source}" to {_COPY}')
                cursor.execute(f"checkpoint {_COPY}")  # to detach does the same, but keeps a failure to itself
                cursor.execute(f"use {_COPY}")
                return verb(Transaction(cursor))
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
        """This thread's cursor; the database is not opened anew before it is given back."""
        with self._gate:
            if self._broken:
                raise Unready(_BROKEN)
            if getattr(self._local, "era", None) != self._era:
                self._local.era, self._local.cursor = self._era, self._connection.cursor()
                self._cursors.append(self._local.cursor)
            self._inside += 1
        try:
            yield self._local.cursor
        except duckdb.Error as exc:
            meaning = self._meaning(exc)
            if meaning is exc:
                raise
            raise meaning from exc
        finally:
            with self._gate:
                self._inside -= 1
                self._gate.notify_all()

    # The writer

    def _write_forever(self) -> None:
        cursor = self._connection.cursor()
        more = True
        while more:
            batch, more = self._next()
            if self._broken:
                cursor = self._mended(cursor) or cursor
            if batch or self._untaken():
                self._commit(cursor, batch)
            self._fold(cursor)
            if self._broken:
                cursor = self._mended(cursor) or cursor
        self._journal.mark_applied(self._taken)
        self._appenders.clear()
        cursor.close()

    def _next(self) -> tuple[list["_Write"], bool]:
        """What waits, as much as is committed together, once there is anything; False with the last."""
        batch: list[_Write] = []
        try:
            item = self._writes.get(timeout=MEND_PAUSE if self._broken else None)
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
        """Together, or if that fails each by itself; before any of them what waits in the journal."""
        if self._broken:
            for item in batch:
                item.settle(None, Unready(_BROKEN))
            return
        added = self._untaken()
        problem = self._try(cursor, added, batch)
        if problem is None:
            return
        if not added and len(batch) == 1:
            batch[0].settle(None, problem)
        elif added and (problem := self._bring_in(cursor, added)):
            for item in batch:
                item.settle(None, problem)
        else:
            for item in batch:
                self._commit(cursor, [item])

    def _try(
        self, cursor: duckdb.DuckDBPyConnection, added: Sequence[Record], batch: Sequence["_Write"]
    ) -> BaseException | None:
        """Commit what waits in the journal and all verbs together; why it could not be, or None."""
        began = perf_counter()
        try:
            cursor.execute("begin transaction")
            transaction = Transaction(cursor, self._appenders, patient=not batch)
            if added:
                _take_in(transaction, added, new=not self._taken)
            for item in batch:
                item.result = item.run(transaction)
                crash_point("transaction.executed", item.name)
            transaction.finish()
            cursor.execute("commit")
        except BaseException as exc:
            meaning = self._meaning(exc)
            self._roll_back(cursor)
            return meaning
        for item in batch:
            crash_point("transaction.committed", item.name)
        if added:
            self._taken = added[-1].number
            self._journal.mark_applied(self._taken)
        if batch:
            changes = (self._named(sql) for sql in transaction.executed_sql if not sql.startswith("select "))
            note: Callable[[], object] = functools.partial(self._note, frozenset().union(*changes))
            batch[0].loop.call_soon_threadsafe(_tell, [note, *transaction.afterwards], batch)
            self._verbs.inc(len(batch))
        self._commits.observe(perf_counter() - began)
        return None

    def _untaken(self) -> Sequence[Record]:
        return [record for record in self._journal.waiting if record.number > self._taken]

    def _bring_in(self, cursor: duckdb.DuckDBPyConnection, added: Sequence[Record]) -> BaseException | None:
        """Commit what waits in the journal by itself; why it must go on waiting, or None. What the tables refuse for good
        must not keep everything else out, and is set aside."""
        problem = self._try(cursor, added, [])
        if problem is None or isinstance(problem, Unready):
            return problem
        for record in added:
            problem = self._try(cursor, [record], [])
            if isinstance(problem, Unready):
                return problem
            if problem is not None:
                logger.error("rows fit into no table and are set aside", record=record.number, reason=str(problem))
                self._journal.quarantine(record)
                self._try(cursor, [Record(record.number, {})], [])
        return None

    def _roll_back(self, cursor: duckdb.DuckDBPyConnection) -> None:
        try:
            cursor.execute("rollback")
        except duckdb.TransactionException:
            pass  # the failed statement was `begin`, or the engine has rolled back by itself
        except duckdb.Error as exc:
            self._meaning(exc)

    def _fold(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Bring the write-ahead log into the file when it has grown and there is room for that."""
        if self._broken or monotonic() < self._fold_after:
            return
        try:
            grown = self._ahead.stat().st_size
            if grown < self._fold_at or shutil.disk_usage(self.path.parent).free < self._room + grown:
                return
        except OSError:  # there is no log
            return
        try:
            cursor.execute("checkpoint")
        except duckdb.TransactionException:
            pass  # somebody still reads what was there before: after one of the next writes, then
        except duckdb.Error as exc:
            self._fold_after = monotonic() + FOLD_PAUSE
            self._meaning(exc)

    def _mended(self, writing: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection | None:
        """Open anew a database whose engine has given up; the writer's new cursor, or None when it cannot be opened now."""
        with self._gate:
            while self._inside:
                if copying := self._copying:
                    copying.interrupt()
                self._gate.wait(MEND_PAUSE)
            self._appenders.clear()
            for opened in (writing, *self._cursors, self._connection):
                with contextlib.suppress(duckdb.Error):
                    opened.close()
            self._cursors.clear()
            try:
                self._connection = _connect(self.path)
            except DatabaseError as exc:
                logger.error("the database cannot be opened anew", reason=str(exc))
                return None
            self._taken = _taken(self._connection)
            self._era += 1
            self._broken = None
            logger.info("the database was opened anew")
            return self._connection.cursor()

    def _meaning(self, problem: BaseException) -> BaseException:
        """What a failure means to whoever asked; when the engine has given up, the writer is woken to open it anew."""
        text = str(problem)
        if isinstance(problem, duckdb.FatalException) or (_INVALID in text and f'"{_COPY}"' not in text):
            if self._broken is None:
                self._broken = text
                logger.error("the database has given up", reason=text[:500])
                self._writes.put(_Wake())
            return Unready(_BROKEN)
        if isinstance(problem, duckdb.Error) and any(reason in text for reason in _NO_ROOM):
            return NoRoom()
        if isinstance(problem, duckdb.InterruptException):
            return Unready(_CLOSED if self._closed else _BROKEN)
        return problem


class _Wake:
    """Gets the writer to look around."""


def _nothing(_: Transaction) -> None:
    """A verb for whoever only wants what was added before to be in the tables."""


def _take_in(tx: Transaction, added: Sequence[Record], *, new: bool) -> None:
    """The rows of these records, and the number of the last one; `new` when there was none before."""
    for record in added:
        for into, rows in record.rows.items():
            tx.insert_all(into, rows)
    number = added[-1].number
    if new:
        tx.execute("create table if not exists journal (taken bigint not null)")
        tx.execute("delete from journal")
        tx.execute("insert into journal values ($1)", number)
    else:
        tx.execute("update journal set taken = $1", number)


def _taken(connection: duckdb.DuckDBPyConnection) -> int:
    """The number of the last record of the journal whose rows are in the tables."""
    try:
        found = connection.execute("select taken from journal").fetchall()
    except duckdb.CatalogException:  # there never was a record
        return 0
    return int(found[0][0]) if found else 0


_COPY: Final = "copied"  # what a copy is called while it is made; when that fails, we do not suffer
_INVALID: Final = "database has been invalidated"
_CLOSED: Final = "Atelier is shutting down."
_UNWRITTEN: Final = "The server's disk does not take what shall be saved. Please tell an administrator."
_BROKEN: Final = "The database is being opened anew, so nothing could be read or saved. Try again in a moment."
_WORD: Final = re.compile(r"[a-z_]+[a-z0-9_]*")
_NO_ROOM: Final = tuple(os.strerror(number) for number in NO_SPACE)


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
                "wal_autocheckpoint": "1TB",  # never by itself: see `_fold`
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
        if any(reason in text for reason in _NO_ROOM):
            raise DatabaseError(f"there is no room on the disk to open the database {path.name}: make some") from None
        raise _damaged(path) from None
    # A file that was cut off opens as long as nobody reads what is missing. Free blocks do not count: the engine itself cuts
    # them off the end when it closes the file, and still has them in its total.
    [(blocks,)] = (
        connection.execute(  # all of it is fetched: a result that stays open would keep the log from being folded
            "select used_blocks * block_size from pragma_database_size() where database_name = current_database()"
        ).fetchall()
    )
    if path.stat().st_size < HEADER + blocks:
        connection.close()
        raise _damaged(path)
    return connection


def _damaged(path: Path) -> DatabaseError:
    return DatabaseError(
        f"the database {path.name} is damaged or not a database: put a backup in its place, or move it away to start anew"
    )
