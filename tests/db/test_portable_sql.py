"""The SQL of the program is what DuckDB and PostgreSQL share, and each statement carries its tables.

Statements that are put together from parts are checked whenever a test runs them: see tests/portable_sql.py. Here are those that
can be read from the source, so that none is missed because no test runs it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pglast
import pytest

from app.db.duckdb.database import EmbeddedDatabase
from app.db.migrate import MIGRATIONS, find_migrations
from app.db.transaction import Transaction
from app.maintenance.repository import INVARIANTS
from tests.kit import Cases
from tests.portable_sql import CHECKED, WrongStatement, check_statement
from tests.rules.source import Module, modules


def test_postgresql_reads_every_migration() -> None:
    with Cases() as cases:
        for migration in find_migrations(MIGRATIONS):
            with cases.case(migration.name):
                assert pglast.parse_sql(migration.sql)


def test_only_states_of_jobs_and_roles_of_users_are_checked_by_the_database() -> None:
    """DuckDB can neither add nor drop a check later."""
    checks = [
        line.strip()
        for migration in find_migrations(MIGRATIONS)
        for line in migration.sql.splitlines()
        if "check (" in line and not line.startswith("--")
    ]
    assert len(checks) == 3
    assert all("status in (" in check or "role in (" in check for check in checks)


def test_postgresql_reads_every_invariant_of_the_doctor() -> None:
    with Cases() as cases:
        for invariant in INVARIANTS:
            with cases.case(invariant.message):
                assert pglast.parse_sql(invariant.sql)


def _statements(module: Module) -> Iterator[tuple[int, str | tuple[str, ...], str]]:
    """Line, tables and SQL of each call whose statement is one literal."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or len(node.args) < 2:
            continue
        tables, sql = node.args[:2]
        if node.func.attr in CHECKED and isinstance(sql, ast.Constant) and isinstance(sql.value, str):
            yield node.lineno, ast.literal_eval(tables), sql.value


def test_every_statement_that_the_source_shows_is_portable_and_carries_its_tables() -> None:
    found = 0
    with Cases() as cases:
        for module in modules():
            if module.part.endswith("repository"):
                for line, tables, sql in _statements(module):
                    found += 1
                    with cases.case(f"{module.part}:{line}"):
                        check_statement(tables, sql)
    assert found > 40


def test_a_wrong_statement_of_the_program_is_found() -> None:
    wrong: dict[str, tuple[str | tuple[str, ...], str]] = {
        "names sorted": ("jobs", "select 1 from assets"),
        "one too few": ("jobs", "select 1 from jobs join assets on true"),
        "changes another": (("assets", "jobs"), "update jobs set model = (select max(name) from assets)"),
        "not PostgreSQL": ("jobs", "select * exclude (id) from jobs"),
    }
    with Cases() as cases:
        for name, (tables, sql) in wrong.items():
            with cases.case(name), pytest.raises(WrongStatement):
                check_statement(tables, sql)
    check_statement(
        ("jobs", "assets"), "with a as (select id from assets) delete from jobs where id in (select id from a)"
    )


async def test_statements_are_checked_while_tests_run_them(tmp_path: Path) -> None:
    namespace = {"__name__": "app.anything"}
    exec("def read(tx): return tx.value('jobs', 'select 1 from assets')", namespace)  # noqa: S102
    database = EmbeddedDatabase(tmp_path / "test.duckdb")

    def read(tx: Transaction) -> object:
        return namespace["read"](tx)  # type: ignore[operator]

    with pytest.raises(WrongStatement, match="but names"):
        await database.read(read)
    await database.close()
