"""What every database engine offers: an awaitable interface whose transactions are plain synchronous functions.

A transaction function gets a `Transaction` first. It must do nothing but SQL, because an engine may run it again. The embedded
engine is `db.duckdb`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from app.db.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseError(Exception):
    """Why the database cannot be opened or read, in one line."""


class Database(Protocol):
    """Opened once, closed once. Every method raises Unready while the engine is unavailable, and DiskFull when nothing more can
    be stored."""

    async def write(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(tx, …)` in a transaction that is on disk when this returns. No other `write` runs at the same time, so the
        function may read, decide and then write."""

    async def write_for(
        self, key: str, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `write`, for a function whose decision concerns only `key`, the id of an owner or a job. An engine with several
        writers may run it beside others with different keys."""

    async def insert_only(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `write`, for a function that only inserts rows; cheaper. TypeError when it does anything else."""

    async def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(tx, …)` on one consistent snapshot, which includes everything that was written before."""

    async def read_with_tables(self, function: Callable[[Transaction], T]) -> tuple[T, frozenset[str]]:
        """Like `read`; also returns the tables that were read, for `changed_since`."""

    @property
    def commit_seq(self) -> int:
        """Increases with each commit. A read that starts later sees at least everything committed until now."""

    def changed_since(self, tables: Iterable[str], since: int) -> bool:
        """Whether one of these tables may have changed after the commit with that number."""

    async def snapshot(self, path: Path, function: Callable[[Transaction], T]) -> T:
        """Copy the database as it is now into the new file `path`; returns what `function` reads in the copy. Reads and writes
        continue meanwhile. When it fails, the caller has to remove the incomplete copy."""

    @property
    def healthy(self) -> bool:
        """Whether it can be read and written now."""

    async def close(self) -> None:
        """Finish waiting writes and close. Later calls raise Unready."""
