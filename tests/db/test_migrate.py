"""Migrations are applied once, in order, and never silently differ."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.db.database import DatabaseError
from app.db.duckdb.database import EmbeddedDatabase
from app.db.migrate import MIGRATIONS, find_migrations, migrate


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(tmp_path / "test.duckdb")
    yield database
    await database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_first.sql").write_text("create table first (id integer); insert into first values (1);")
    (folder / "0002_second.sql").write_text("create table second (id integer);")
    return folder


async def _tables(database: EmbeddedDatabase) -> set[str]:
    rows = await database.read(lambda tx: tx.rows((), "select table_name from information_schema.tables"))
    return {row["table_name"] for row in rows}


async def test_migrations_are_applied_once_and_in_order(database: EmbeddedDatabase, folder: Path) -> None:
    assert await migrate(database, folder) == ["0001_first.sql", "0002_second.sql"]
    assert await migrate(database, folder) == []
    assert await database.read(lambda tx: tx.value("first", "select count(*) from first")) == 1


async def test_a_new_migration_is_applied_to_an_old_database(database: EmbeddedDatabase, folder: Path) -> None:
    await migrate(database, folder)
    (folder / "0003_third.sql").write_text("create table third (id integer);")
    assert await migrate(database, folder) == ["0003_third.sql"]
    assert {"first", "second", "third"} <= await _tables(database)


async def test_an_edited_migration_is_refused_by_name(database: EmbeddedDatabase, folder: Path) -> None:
    await migrate(database, folder)
    (folder / "0001_first.sql").write_text("create table first (id bigint);")
    with pytest.raises(DatabaseError, match=r"0001_first\.sql was edited after it was applied"):
        await migrate(database, folder)


async def test_the_database_of_a_newer_version_is_refused(database: EmbeddedDatabase, folder: Path) -> None:
    await migrate(database, folder)
    (folder / "0002_second.sql").unlink()
    with pytest.raises(DatabaseError, match="by a newer version"):
        await migrate(database, folder)


async def test_a_migration_that_fails_leaves_nothing_behind(database: EmbeddedDatabase, folder: Path) -> None:
    (folder / "0003_broken.sql").write_text("create table third (id integer); insert into nowhere values (1);")
    with pytest.raises(Exception, match="nowhere"):
        await migrate(database, folder)
    assert "third" not in await _tables(database)
    assert "second" in await _tables(database)


def test_a_missing_number_or_a_malformed_name_is_refused(folder: Path) -> None:
    for name in ("0004_gap.sql", "3_short.sql"):
        path = folder / name
        path.write_text("select 1;")
        with pytest.raises(DatabaseError):
            find_migrations(folder)
        path.unlink()


async def test_the_migrations_of_the_program_apply_to_an_empty_database(database: EmbeddedDatabase) -> None:
    applied = await migrate(database, MIGRATIONS)
    assert len(applied) == len(list(MIGRATIONS.glob("*.sql"))) > 0
    assert {"users", "models", "assets", "jobs"} <= await _tables(database)
