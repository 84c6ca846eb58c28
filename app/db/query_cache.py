"""A cache of query results, each valid until something is written to a table that it was read from.

Frequently read pages, such as a list of jobs or a page of the library, cost some milliseconds of database time per request,
and the result cannot change between two writes. Statements carry the tables that they read and change, so invalidation needs no
code in the features.
"""

from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec
from cachetools import LRUCache

from app.db.database import Database
from app.db.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")

MAX_ENTRIES: Final = 64
MAX_ENTRY_BYTES: Final = 128 * 1024  # of a result as JSON; a larger one is read again each time


class QueryCache:
    """Reads from the database and caches the results."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: LRUCache[Any, tuple[int, frozenset[str], Any]] = LRUCache(MAX_ENTRIES)

    def __len__(self) -> int:
        """The number of cached results."""
        return len(self._entries)

    async def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `Database.read`. The arguments must be hashable, callers must not modify the result, and the query must not
        depend on the clock."""
        key = (function, args, tuple(sorted(kwargs.items())))
        entry = self._entries.get(key)
        if entry is not None:
            since, tables, value = entry
            if not self._database.changed_since(tables, since):
                found: T = value
                return found
            del self._entries[key]
        since = self._database.commit_seq

        def read_with_size(tx: Transaction) -> tuple[T, int]:
            result = function(tx, *args, **kwargs)
            return result, len(msgspec.json.encode(result))

        (result, size), tables = await self._database.read_with_tables(read_with_size)
        if size <= MAX_ENTRY_BYTES:
            self._entries[key] = (since, tables, result)
        return result
