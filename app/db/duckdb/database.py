"""The embedded database: one file, one process."""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from app.base import logging, struct_warmup
from app.base.crash_points import crash_point
from app.base.disk_full import NO_SPACE, DiskFull
from app.base.errors import Unready
from app.base.metrics import Metrics
from app.db.database import Database
from app.db.duckdb.append_log import SEGMENT_BYTES, AppendLog
from app.db.duckdb.checkpoint import CHECKPOINT_BYTES, CHECKPOINT_FREE_BYTES, Checkpoints
from app.db.duckdb.connection import CLOSED, Connection
from app.db.duckdb.writer import Writer
from app.db.transaction import InsertOnly, Transaction

P = ParamSpec("P")
T = TypeVar("T")

READERS: Final = 4  # threads
APPLY_AFTER: Final = 1.0  # seconds until added rows are applied to their tables, if nothing reads or writes before
MAX_UNAPPLIED: Final = 2_000  # additions that may wait to be applied

logger = logging.get("database")


class EmbeddedDatabase(Database):
    """A DuckDB file behind the interface of `Database`."""

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
        """Each number is explained at the constant that is its default. Raises DatabaseError."""
        struct_warmup.warm_up()  # before any thread uses the structs
        metrics = metrics or Metrics()
        self.path = path
        self._apply_after = apply_after
        self._max_unapplied = max_unapplied
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._commit_seq = 0
        self._changed_at: dict[str, int] = {}  # table -> commit_seq of its last change
        self._pool = ThreadPoolExecutor(readers, "reader")
        self._connection = Connection(path, on_failure=lambda: self._writer.wake())
        try:
            with contextlib.closing(self._connection.cursor()) as cursor:
                self._append_log = AppendLog(path, cursor, metrics, segment_bytes=segment_bytes)
        except BaseException:
            self._connection.close()
            raise
        checkpoints = Checkpoints(self._connection, start_bytes=checkpoint_bytes, free_bytes=checkpoint_free_bytes)
        self._writer = Writer(self._connection, self._append_log, checkpoints, self._committed, metrics)
        self._transactions = metrics.counter("db_transactions", "Committed transaction functions.")
        metrics.gauge_callback(
            "db_write_queue_depth", "Transaction functions that wait for the writer thread.", lambda: self.waiting
        )
        self._writer.start()

    # Writing

    async def write(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._check()
        name = getattr(function, "__name__", "")
        crash_point("transaction.requested", name)
        result: T = await self._writer.run(name, lambda tx: function(tx, *args, **kwargs))
        crash_point("transaction.acknowledged", name)
        return result

    async def write_for(
        self, key: str, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self.write(function, *args, **kwargs)  # there is one writer, whatever the key

    async def insert_only(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See `Database.insert_only`. The function runs in the event loop. The rows are on disk when this returns, and in their
        tables before the next read or write that could see them. Costs a tenth of `write`."""
        self._check()
        if self.unapplied >= self._max_unapplied:
            await self.write(_apply_added)
        tx = InsertOnly()
        result = function(tx, *args, **kwargs)
        rows = tx.inserted
        tables = frozenset(into.partition(" ")[0] for into in rows)
        try:
            await self._append_log.add(rows, functools.partial(self._added, tables, tx.commit_callbacks))
        except OSError as exc:
            if exc.errno in NO_SPACE:
                raise DiskFull from exc
            logger.error("append log write failed", reason=str(exc))
            raise Unready(_WRITE_FAILED) from exc
        return result

    def _added(self, tables: frozenset[str], callbacks: Sequence[Callable[[], object]]) -> None:
        self._committed(tables, 1)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._apply_after, self._apply_soon)
        for call in callbacks:
            call()

    def _apply_soon(self) -> None:
        self._timer = None
        self._writer.wake()

    async def _apply_waiting(self) -> None:
        """Return once all added rows are in their tables, or cannot be applied now."""
        if self.unapplied:
            with contextlib.suppress(Unready):
                await self.write(_apply_added)

    def _committed(self, tables: frozenset[str], functions: int) -> None:
        """Runs in the event loop, before the callers of `write` continue."""
        self._commit_seq += 1
        for table in tables:
            self._changed_at[table] = self._commit_seq
        self._transactions.inc(functions)

    # Reading

    async def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return (await self.read_with_tables(lambda tx: function(tx, *args, **kwargs)))[0]

    async def read_with_tables(self, function: Callable[[Transaction], T]) -> tuple[T, frozenset[str]]:
        """See `Database.read_with_tables`. If a table was read for which added rows still wait, they are applied and it is read
        again: few reads need that, and the others do not wait."""
        self._check()
        waiting = self._append_log.tables
        tables: set[str] = set()

        def run(tx: Transaction) -> T:
            try:
                return function(tx)
            finally:
                tables.update(tx.tables_read)

        try:
            result = await self._in_reader(self._connection.read, run)
        except Exception:
            if waiting.isdisjoint(tables):
                raise
        else:
            if waiting.isdisjoint(tables):
                return result, frozenset(tables)
        await self._apply_waiting()
        return await self._in_reader(self._connection.read, run), frozenset(tables)

    async def snapshot(self, path: Path, function: Callable[[Transaction], T]) -> T:
        self._check()
        await self._apply_waiting()
        return await self._in_reader(self._connection.copy_to, path, function)

    async def _in_reader(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    # State

    @property
    def commit_seq(self) -> int:
        return self._commit_seq

    def changed_since(self, tables: Iterable[str], since: int) -> bool:
        return any(self._changed_at.get(table, 0) > since for table in tables)

    @property
    def waiting(self) -> int:
        """How many transaction functions wait for the writer."""
        return self._writer.waiting

    @property
    def unapplied(self) -> int:
        """How many additions are on disk but not known to be in their tables yet."""
        return self._append_log.unapplied

    @property
    def generation(self) -> int:
        """How often the file was reopened after its engine had failed."""
        return self._connection.generation

    @property
    def healthy(self) -> bool:
        return not self._connection.failed and not self._closed

    async def close(self) -> None:
        """Finish waiting writes, abort a running copy, checkpoint and close the file."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.to_thread(self._append_log.stop)
        await asyncio.to_thread(self._writer.stop)
        await asyncio.to_thread(self._connection.abort_copy)
        await asyncio.to_thread(self._pool.shutdown)
        await asyncio.to_thread(self._connection.close)

    def _check(self) -> None:
        if self._closed:
            raise Unready(CLOSED)


def _apply_added(_: Transaction) -> None:
    """Does nothing itself: writing it applies all added rows first."""


_WRITE_FAILED: Final = "The server's disk could not be written. Please inform an administrator."
