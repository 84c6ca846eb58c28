"""What was read a moment ago, for as long as it is still true: until anything is written into a table it was read from.

Pages that many look at again and again, a list of jobs or a shelf of the library, cost some milliseconds of database each
time; between two writes the answer cannot change. Which tables a verb reads and writes is taken from its SQL by the
database itself, so nobody can forget to say it.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec

from app.db.database import Database, Transaction

P = ParamSpec("P")
T = TypeVar("T")

MOST: Final = 64  # answers that are kept
HEAVIEST: Final = 128 * 1024  # bytes of one of them, written as JSON; a larger one is read anew each time


class QueryCache:
    """Reads through the database, and remembers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[Any, tuple[int, frozenset[str], Any]] = OrderedDict()

    def __len__(self) -> int:
        """How many answers are kept."""
        return len(self._kept)

    async def read(self, verb: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `Database.read`; the arguments must be hashable, and nobody may change the answer. What depends on the
        clock is not to be read here."""
        key = (verb, args, tuple(sorted(kwargs.items())))
        kept = self._kept.get(key)
        if kept is not None:
            since, tables, value = kept
            if not self._database.changed_since(tables, since):
                self._kept.move_to_end(key)
                found: T = value
                return found
            del self._kept[key]
        since = self._database.commit_seq

        def weighed(tx: Transaction) -> tuple[T, int]:
            answer = verb(tx, *args, **kwargs)
            return answer, len(msgspec.json.encode(answer))

        (answer, weight), tables = await self._database.read_noting(weighed)
        if weight <= HEAVIEST:
            self._kept[key] = (since, tables, answer)
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return answer
