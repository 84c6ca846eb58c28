"""SQL inside one transaction, the same for every engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, Protocol

P = ParamSpec("P")
Row = dict[str, Any]
Tables = str | tuple[str, ...]


class Duplicate(Exception):
    """A unique key already exists; services turn this into Conflict."""


class Result(Protocol):
    """What a statement returned, as in PEP 249."""

    @property
    def description(self) -> Sequence[Sequence[Any]] | None: ...

    def fetchone(self) -> tuple[Any, ...] | None: ...

    def fetchall(self) -> list[tuple[Any, ...]]: ...


class Transaction(ABC):
    """Runs statements and collects rows to insert. Parameters are `$1`, `$2`, …

    A statement carries the tables that it names, the one that it changes first. They decide which batched rows must be inserted
    before it, which appended rows must be applied before it, and which cached results it invalidates.
    """

    def __init__(self) -> None:
        self.commit_callbacks: list[Callable[[], object]] = []
        self.tables_read: set[str] = set()
        self.tables_changed: set[str] = set()
        self._batches: dict[str, dict[str, list[tuple[Any, ...]]]] = {}  # table -> statement, or `into` -> its rows

    def on_commit(self, call: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call this in the event loop after the commit, before the caller of `write` continues, and even if that caller was
        cancelled: the place to invalidate caches. After a rollback it is not called."""
        self.commit_callbacks.append(lambda: call(*args, **kwargs))

    def execute(self, tables: Tables, sql: str, *parameters: Any) -> None:
        self._run(tables, sql, parameters)

    def count(self, tables: Tables, sql: str, *parameters: Any) -> int:
        """The number of rows that an update or delete has changed."""
        return self._changed_rows(self._run(tables, sql, parameters))

    def rows(self, tables: Tables, sql: str, *parameters: Any) -> list[Row]:
        result = self._run(tables, sql, parameters)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, values, strict=True)) for values in result.fetchall()]

    def row(self, tables: Tables, sql: str, *parameters: Any) -> Row | None:
        """The first row, or None."""
        found = self.rows(tables, sql, *parameters)
        return found[0] if found else None

    def value(self, tables: Tables, sql: str, *parameters: Any) -> Any:
        """The first column of the first row, or None."""
        found = self._run(tables, sql, parameters).fetchone()
        return found[0] if found else None

    def batch(self, table: str, sql: str, *row: Any) -> None:
        """Run a statement on `table` whose parameters are lists (for `unnest`), once with this row and all other rows batched
        for it in the same commit: a statement costs far more than a row. It runs before any later statement of the
        transaction that names the table, and before the commit."""
        self._batches.setdefault(table, {}).setdefault(sql, []).append(row)

    def insert(self, into: str, *row: Any) -> None:
        """Batch a row for `into`: a table with its columns in parentheses, in the order of the values. Sixteen rows cost no
        more than one."""
        self.batch(_table(into), into, *row)

    def insert_all(self, into: str, rows: Iterable[Sequence[Any]]) -> None:
        """Batch many rows."""
        self._batches.setdefault(_table(into), {}).setdefault(into, []).extend(map(tuple, rows))

    def flush(self) -> None:
        """Run everything that was batched."""
        for table in list(self._batches):
            self._flush_batch(table)

    def script(self, sql: str) -> None:
        """Run several statements without parameters that define tables."""
        self.flush()
        self._execute(sql, ())

    @abstractmethod
    def verify_tables(self) -> dict[str, int]:
        """The number of rows of every table. Reads every value, so that damage on the disk is found: DatabaseError."""

    def _run(self, tables: Tables, sql: str, parameters: Sequence[Any]) -> Result:
        names = (tables,) if isinstance(tables, str) else tables
        for name in names:
            if name in self._batches:
                self._flush_batch(name)
        self.tables_read.update(names)
        if not sql.startswith("select "):
            self.tables_changed.update(names[:1])
        return self._execute(sql, parameters)

    def _flush_batch(self, table: str) -> None:
        self.tables_changed.add(table)
        for sql, rows in self._batches.pop(table).items():
            if sql.startswith("insert "):
                self._execute(sql, [list(column) for column in zip(*rows, strict=True)])
            else:
                self._append(sql, rows)

    @abstractmethod
    def _execute(self, sql: str, parameters: Sequence[Any]) -> Result:
        """Run a statement; Duplicate when it violates a unique key."""

    @abstractmethod
    def _changed_rows(self, result: Result) -> int:
        """How many rows the statement with this result has changed."""

    @abstractmethod
    def _append(self, into: str, rows: list[tuple[Any, ...]]) -> None:
        """Insert rows; Duplicate when they violate a unique key."""


class InsertOnly(Transaction):
    """Collects inserted rows and rejects everything else."""

    @property
    def inserted(self) -> dict[str, list[tuple[Any, ...]]]:
        """The rows by table with its columns in parentheses."""
        return {into: rows for table in self._batches.values() for into, rows in table.items()}

    def batch(self, table: str, sql: str, *row: Any) -> None:
        if sql.startswith("insert "):
            raise _rejected(sql)
        super().batch(table, sql, *row)

    def verify_tables(self) -> dict[str, int]:
        raise _rejected("verify_tables")

    def _execute(self, sql: str, parameters: Sequence[Any]) -> Result:
        raise _rejected(sql)

    def _changed_rows(self, result: Result) -> int:
        raise _rejected("count")

    def _append(self, into: str, rows: list[tuple[Any, ...]]) -> None:
        raise _rejected(into)


def _rejected(sql: str) -> TypeError:
    return TypeError(f"a function passed to Database.insert_only may only insert rows, not run a statement: {sql}")


def _table(into: str) -> str:
    return into.partition(" ")[0]
