"""A query result is cached until one of its tables changes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.db.duckdb.database import EmbeddedDatabase
from app.db.query_cache import MAX_ENTRIES, MAX_ENTRY_BYTES, QueryCache
from app.db.transaction import Transaction
from tests.kit import Cases

queries: list[object] = []


def notes(tx: Transaction, least: int) -> list[int]:
    queries.append(least)
    return [row["n"] for row in tx.rows("notes", "select n from notes where n >= $1 order by n", least)]


def joined(tx: Transaction) -> int:
    queries.append("joined")
    return int(
        tx.value(
            ("notes", "others"),
            "with all_of as (select n from notes union all select n from others) select count(*) from all_of",
        )
    )


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(tmp_path / "test.duckdb")
    for name in ("notes", "others", "rest"):
        await database.write(Transaction.execute, name, f"create table {name} (n integer)")
    queries.clear()
    yield database
    await database.close()


async def test_a_query_runs_once_until_one_of_its_tables_changes(database: EmbeddedDatabase) -> None:
    cache = QueryCache(database)
    await database.write(Transaction.execute, "notes", "insert into notes values (1)")
    assert [await cache.read(notes, 0) for _ in range(3)] == [[1]] * 3
    assert queries == [0]
    await database.write(Transaction.execute, "rest", "insert into rest values (1)")
    assert await cache.read(notes, 0) == [1]
    assert queries == [0], "its table has not changed"
    await database.write(Transaction.execute, "notes", "insert into notes values (2)")
    assert await cache.read(notes, 0) == [1, 2]


CHANGES = [
    "insert into others values (7)",
    "update others set n = 8",
    "delete from others",
    "with gone as (select n from rest) delete from others where n not in (select n from gone)",
]


async def test_every_kind_of_change_to_any_table_of_a_query_counts(database: EmbeddedDatabase) -> None:
    cache = QueryCache(database)
    with Cases() as cases:
        for change in CHANGES:
            await database.write(Transaction.execute, "others", "insert into others values (5)")
            await cache.read(joined)
            await database.write(Transaction.execute, "others", change)
            expected = await database.read(joined)
            queries.clear()
            with cases.case(change):
                assert await cache.read(joined) == expected
                assert queries == ["joined"]


async def test_a_batched_row_counts_as_a_change(database: EmbeddedDatabase) -> None:
    cache = QueryCache(database)
    assert await cache.read(notes, 0) == []
    await database.write(Transaction.insert, "notes (n)", 4)
    assert await cache.read(notes, 0) == [4]


async def test_a_transaction_that_is_rolled_back_counts_as_no_change(database: EmbeddedDatabase) -> None:
    cache = QueryCache(database)
    assert await cache.read(notes, 0) == []

    def failing(tx: Transaction) -> None:
        tx.execute("notes", "insert into notes values (9)")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(failing)
    assert await cache.read(notes, 0) == []
    assert queries == [0]


async def test_a_writer_reads_its_own_row_whatever_others_do(database: EmbeddedDatabase) -> None:
    """Many write and read concurrently; no reader misses a row that was committed before its query."""
    cache = QueryCache(database)

    async def write_and_read(number: int) -> None:
        await database.write(Transaction.execute, "notes", "insert into notes values ($1)", number)
        assert number in await cache.read(notes, 0)

    await asyncio.gather(*(write_and_read(number) for number in range(200)))
    assert await cache.read(notes, 0) == list(range(200))


async def test_memory_is_bounded(database: EmbeddedDatabase) -> None:
    cache = QueryCache(database)
    for least in range(MAX_ENTRIES + 10):
        await cache.read(notes, least)
    assert len(cache) == MAX_ENTRIES
    await database.write(
        Transaction.execute, "notes", "insert into notes select n from range($1) t(n)", MAX_ENTRY_BYTES
    )
    await cache.read(notes, 0)
    queries.clear()
    await cache.read(notes, 0)
    assert queries == [0], "the result is too large to be cached"
