"""SQL inside one DuckDB transaction."""

import contextlib
from collections.abc import Sequence
from time import sleep
from typing import Any, Final

import duckdb

from app.db.database import DatabaseError
from app.db.transaction import Duplicate, Result, Transaction

CHUNK: Final = 4  # rows appended at once when no one waits for them


class DuckDBTransaction(Transaction):
    """Runs on a cursor that has begun a transaction."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        appenders: dict[str, duckdb.Appender] | None = None,
        *,
        yield_to_loop: bool = False,
    ) -> None:
        """`appenders` belong to the cursor and are reused by later transactions. With `yield_to_loop` rows are appended in small
        chunks, so that the event loop can run in between."""
        super().__init__()
        self._cursor = cursor
        self._appenders = {} if appenders is None else appenders
        self._yield_to_loop = yield_to_loop

    def verify_tables(self) -> dict[str, int]:
        tables = self._execute(
            "select table_name from information_schema.tables"
            " where table_catalog = current_database() and table_schema = 'main' order by table_name",
            (),
        ).fetchall()
        return {table: self._verify(table) for (table,) in tables}

    def _verify(self, table: str) -> int:
        sql = f"select count(*) as rows, bit_xor(hash(everything)) as read from {quoted(table)} as everything"
        try:
            [(rows, _)] = self._execute(sql, ()).fetchall()
        except duckdb.Error as exc:
            if "orrupt" not in str(exc):
                raise
            raise DatabaseError(f"the table {table} is damaged on the disk and cannot be read") from None
        return int(rows)

    def _execute(self, sql: str, parameters: Sequence[Any]) -> Result:
        try:
            return self._cursor.execute(sql, list(parameters)) if parameters else self._cursor.execute(sql)
        except duckdb.ConstraintException as exc:
            raise _constraint_error(exc) from None

    def _changed_rows(self, result: Result) -> int:
        found = result.fetchone()
        return int(found[0]) if found else 0

    def _append(self, into: str, rows: list[tuple[Any, ...]]) -> None:
        appender = self._appenders.get(into)
        if appender is None:
            table, _, columns = into.removesuffix(")").partition(" (")
            appender = self._appenders[into] = self._cursor.appender(table, columns=columns.split(", "))
        self._cursor.complete()  # an earlier query may not have been read to its end
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


def quoted(name: object, mark: str = '"') -> str:
    """A name in double quotes, or with `mark` a string in single ones."""
    return mark + str(name).replace(mark, mark * 2) + mark


def _constraint_error(exc: duckdb.ConstraintException) -> Exception:
    return Duplicate(str(exc)) if "uplicate key" in str(exc) else exc
