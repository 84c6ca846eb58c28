"""Checks every statement of the program that any test runs: PostgreSQL's own grammar accepts it, and it carries its tables."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pglast
from pglast.visitors import referenced_relations

from app.db.transaction import Tables, Transaction

CHECKED = ("execute", "count", "rows", "value", "batch")  # methods of Transaction that take tables and a statement


class WrongStatement(AssertionError):
    """What is wrong with a statement."""


@functools.cache
def check_statement(tables: Tables, sql: str) -> None:
    """WrongStatement when PostgreSQL cannot read the statement, or it names other tables than it carries, the one that it changes
    first."""
    try:
        [statement] = pglast.parse_sql(sql)
    except pglast.Error as exc:
        raise WrongStatement(f"PostgreSQL cannot read it ({exc}): {sql}") from None
    carried = (tables,) if isinstance(tables, str) else tables
    if (named := referenced_relations(sql)) != set(carried):
        raise WrongStatement(f"it carries the tables {carried}, but names {sorted(named)}: {sql}")
    changed = getattr(statement.stmt, "relation", None)
    if changed is not None and changed.relname != carried[0]:
        raise WrongStatement(f"it changes {changed.relname}, but carries {carried[0]} first: {sql}")


def watch_statements() -> None:
    """From now on, in this process, a statement of the program that is wrong fails in its transaction."""
    for name in CHECKED:
        setattr(Transaction, name, _checked(getattr(Transaction, name)))


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Transaction, tables: Tables, sql: str, *parameters: Any) -> Any:
        if sql.startswith(STATEMENTS) and _of_the_program():
            check_statement(tables, sql)
        return method(self, tables, sql, *parameters)

    return call


STATEMENTS = (
    "select ",
    "insert ",
    "update ",
    "delete ",
    "with ",
)  # not what `insert` batches, and no definitions of tables


def _of_the_program() -> bool:
    """Whether the statement stands in the program, and not in its embedded engine or in a test."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals["__name__"] in (__name__, "app.db.transaction"):
        frame = frame.f_back
    module = "" if frame is None else str(frame.f_globals["__name__"])
    return module.startswith("app.") and not module.startswith("app.db.duckdb")
