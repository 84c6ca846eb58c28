"""The one thread that writes. Writes that wait at the same time are committed together, with one fsync for all.

When one of them fails, the batch is rolled back and each runs on its own, so a transaction function may run twice and must do
nothing but SQL.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final

import duckdb

from app.base import logging
from app.base.crash_points import crash_point
from app.base.errors import Unready
from app.base.metrics import Metrics
from app.db.duckdb.append_log import AppendLog, Record
from app.db.duckdb.checkpoint import Checkpoints
from app.db.duckdb.connection import REOPEN_PAUSE, UNAVAILABLE, Connection
from app.db.duckdb.transaction import DuckDBTransaction
from app.db.transaction import Transaction

BATCH: Final = 64  # transaction functions in one commit
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)  # seconds

logger = logging.get("database")


class _Write:
    """A transaction function in the queue, and the future that its caller awaits."""

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


class _Wake:
    """Wakes the thread without a write."""


class Writer:
    """A queue of transaction functions and the thread that runs them."""

    def __init__(
        self,
        connection: Connection,
        append_log: AppendLog,
        checkpoints: Checkpoints,
        on_commit: Callable[[frozenset[str], int], object],
        metrics: Metrics,
    ) -> None:
        """`on_commit` is called in the event loop after each commit, before the callers continue, with the tables that were
        changed and the number of functions."""
        self._connection = connection
        self._append_log = append_log
        self._checkpoints = checkpoints
        self._queue: queue.SimpleQueue[_Write | _Wake | None] = queue.SimpleQueue()
        self._on_commit = on_commit
        self._appenders: dict[str, duckdb.Appender] = {}
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._seconds = metrics.histogram(
            "commit_seconds", "Duration of a commit with all its transactions.", up_to=BUCKETS
        )

    @property
    def waiting(self) -> int:
        """How many functions wait."""
        return self._queue.qsize()

    def start(self) -> None:
        self._thread.start()

    async def run(self, name: str, function: Callable[[Transaction], Any]) -> Any:
        """Run a function in a transaction; returns its result once that is on disk."""
        write = _Write(name, function, asyncio.get_running_loop())
        self._queue.put(write)
        return await write.future

    def wake(self) -> None:
        """Apply waiting rows of the append log, or reopen a database that has failed. Thread-safe."""
        self._queue.put(_Wake())

    def stop(self) -> None:
        """Finish waiting writes. Blocks."""
        self._queue.put(None)
        self._thread.join()

    # The thread

    def _run(self) -> None:
        cursor = self._connection.cursor()
        more = True
        while more:
            batch, more = self._next_batch()
            cursor = self._reopened(cursor)
            if batch or self._append_log.next_records():
                self._commit(cursor, batch)
            self._checkpoints.make_if_due(cursor)
            cursor = self._reopened(cursor)
        self._append_log.remove_applied()
        self._appenders.clear()
        cursor.close()

    def _next_batch(self) -> tuple[list[_Write], bool]:
        """Wait for a write, then take up to `BATCH` of those that wait; False when it is the last batch."""
        batch: list[_Write] = []
        try:
            item = self._queue.get(timeout=REOPEN_PAUSE if self._connection.failed else None)
            while item is not None:
                if isinstance(item, _Write):
                    batch.append(item)
                if len(batch) == BATCH:
                    break
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, item is not None

    def _reopened(self, cursor: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        """The cursor, or a new one when the database had failed and could be reopened."""
        if not self._connection.failed:
            return cursor
        self._appenders.clear()
        new = self._connection.reopen(cursor)
        if new is None:
            return cursor
        self._append_log.reload(new)
        return new

    def _commit(self, cursor: duckdb.DuckDBPyConnection, batch: Sequence[_Write]) -> None:
        """Commit the waiting log records and the batch together; if that fails, the records first, then each write alone."""
        if self._connection.failed:
            for item in batch:
                item.resolve_threadsafe(None, Unready(UNAVAILABLE))
            return
        records = self._append_log.next_records()
        error = self._try(cursor, records, batch)
        if error is None:
            return
        if not records and len(batch) == 1:
            batch[0].resolve_threadsafe(None, error)
        elif records and (error := self._apply(cursor, records)):
            for item in batch:
                item.resolve_threadsafe(None, error)
        else:
            for item in batch:
                self._commit(cursor, [item])

    def _try(
        self, cursor: duckdb.DuckDBPyConnection, records: Sequence[Record], batch: Sequence[_Write]
    ) -> BaseException | None:
        """Commit the log records and the whole batch in one transaction; returns the error, or None."""

        def run(tx: Transaction) -> None:
            if records:
                self._append_log.apply(tx, records)
            for item in batch:
                item.result = item.run(tx)
                crash_point("transaction.executed", item.name)

        started = perf_counter()
        committed = self._transact(cursor, run, yield_to_loop=not batch)
        if isinstance(committed, BaseException):
            return committed
        for item in batch:
            crash_point("transaction.committed", item.name)
        if records:
            self._append_log.mark_applied(records)
        if batch:
            batch[0].loop.call_soon_threadsafe(self._resolve, committed, batch)
        self._seconds.observe(perf_counter() - started)
        return None

    def _transact(
        self, cursor: duckdb.DuckDBPyConnection, run: Callable[[Transaction], object], *, yield_to_loop: bool
    ) -> Transaction | BaseException:
        """Run and commit; returns the transaction, or the error after a rollback."""
        try:
            cursor.execute("begin transaction")
            transaction = DuckDBTransaction(cursor, self._appenders, yield_to_loop=yield_to_loop)
            run(transaction)
            transaction.flush()
            cursor.execute("commit")
        except BaseException as exc:
            error = self._connection.translate_error(exc)
            self._roll_back(cursor)
            return error
        return transaction

    def _apply(self, cursor: duckdb.DuckDBPyConnection, records: Sequence[Record]) -> BaseException | None:
        """Commit the waiting log records without any write; returns why they must keep waiting, or None. A record that its
        table rejects is quarantined, so that it does not block the others."""
        error = self._try(cursor, records, [])
        if error is None or isinstance(error, Unready):
            return error
        for record in records:
            error = self._try(cursor, [record], [])
            if isinstance(error, Unready):
                return error
            if error is not None:
                self._quarantine(cursor, record, error)
        return None

    def _quarantine(self, cursor: duckdb.DuckDBPyConnection, record: Record, reason: BaseException) -> None:
        logger.error("rows rejected by their table, record quarantined", record=record.number, reason=str(reason))
        done = self._transact(cursor, lambda tx: self._append_log.skip(tx, record), yield_to_loop=True)
        if not isinstance(done, BaseException):
            self._append_log.mark_applied([record])

    def _roll_back(self, cursor: duckdb.DuckDBPyConnection) -> None:
        try:
            cursor.execute("rollback")
        except duckdb.TransactionException:
            pass  # the failed statement was `begin`, or the engine has already rolled back
        except duckdb.Error as exc:
            self._connection.translate_error(exc)

    def _resolve(self, transaction: Transaction, batch: Sequence[_Write]) -> None:
        """Runs in the event loop: the callbacks of a committed batch, then its futures. The loop is woken once for all, and each
        step is scheduled separately, so that one that fails does not stop the others."""
        loop = batch[0].loop
        loop.call_soon(self._on_commit, frozenset(transaction.tables_changed), len(batch))
        for call in transaction.commit_callbacks:
            loop.call_soon(call)
        for item in batch:
            loop.call_soon(item.resolve, item.result, None)
