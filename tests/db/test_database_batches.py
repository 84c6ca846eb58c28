"""Rows that are written in one statement: cheaper, and for each caller the same as separate statements."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.db.duckdb.database import EmbeddedDatabase
from app.db.duckdb.writer import BATCH
from app.db.transaction import Duplicate, Transaction

# Each row also stores how many rows the statement had that inserted it.
INSERT = "insert into notes select unnest($1::text[]), unnest($2::integer[]), len($1::text[])"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(tmp_path / "test.duckdb")
    await database.write(
        Transaction.execute, "notes", "create table notes (id text primary key, n integer, together integer default 1)"
    )
    await database.write(Transaction.execute, "others", "create table others (id text primary key, n integer)")
    yield database
    await database.close()


def _note(tx: Transaction, id: str, n: int | None = 0) -> None:
    tx.batch("notes", INSERT, id, n)


def _count(tx: Transaction) -> int:
    return int(tx.value("notes", "select count(*) from notes"))


async def test_a_batched_row_is_stored_when_write_returns(database: EmbeddedDatabase) -> None:
    await database.write(_note, "a", None)
    assert await database.read(lambda tx: tx.rows("notes", "select id, n from notes")) == [{"id": "a", "n": None}]


async def test_a_later_query_of_the_same_commit_finds_a_batched_row(database: EmbeddedDatabase) -> None:
    """Also a query of another transaction function: they are committed together, but one runs after the other."""

    async def both() -> tuple[int, int]:
        first = asyncio.create_task(database.write(_note, "a"))
        second = asyncio.create_task(database.write(_count))
        await first
        return 1, await second

    def function(tx: Transaction) -> tuple[int, int]:
        before = _count(tx)
        _note(tx, "mine")
        return before, _count(tx)

    assert await both() == (1, 1)
    assert await database.write(function) == (1, 2)


async def test_many_concurrent_writes_are_all_stored(database: EmbeddedDatabase) -> None:
    await asyncio.gather(*(database.write(_note, f"{number:03}", number) for number in range(200)))
    rows = await database.read(lambda tx: tx.rows("notes", "select id, n from notes order by id"))
    assert rows == [{"id": f"{number:03}", "n": number} for number in range(200)]


async def test_one_statement_inserts_the_rows_of_all_writes_that_are_committed_together(
    database: EmbeddedDatabase,
) -> None:
    begun, queued = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        begun.set()
        assert queued.wait(300)

    holding = asyncio.create_task(database.write(hold))  # the others wait in the queue meanwhile
    await asyncio.to_thread(begun.wait, 300)
    writes = [asyncio.create_task(database.write(_note, str(number))) for number in range(BATCH)]
    await asyncio.sleep(0)
    assert database.waiting == BATCH
    queued.set()
    await asyncio.gather(holding, *writes)
    rows = await database.read(lambda tx: tx.rows("notes", "select together from notes"))
    assert [row["together"] for row in rows] == [BATCH] * BATCH


async def test_a_failure_affects_only_the_write_that_caused_it(database: EmbeddedDatabase) -> None:
    await database.write(_note, "taken")
    results = await asyncio.gather(
        *(database.write(_note, id) for id in ("a", "taken", "b")),
        database.write(lambda tx: tx.execute("others", "insert into others values ('x', 1)")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), Duplicate, type(None), type(None)]
    found = await database.read(lambda tx: tx.rows("notes", "select id from notes order by id"))
    assert [row["id"] for row in found] == ["a", "b", "taken"]


async def test_a_failed_transaction_stores_no_batched_row(database: EmbeddedDatabase) -> None:
    def function(tx: Transaction) -> None:
        _note(tx, "never")
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(function)
    assert await database.read(_count) == 0


async def test_count_returns_how_many_rows_were_changed(database: EmbeddedDatabase) -> None:
    await asyncio.gather(*(database.write(_note, str(number), number) for number in range(5)))
    assert await database.write(lambda tx: tx.count("notes", "update notes set n = n + 1 where n >= $1", 3)) == 2
    assert await database.write(lambda tx: tx.count("notes", "delete from notes where id = $1", "unknown")) == 0


async def test_a_row_is_inserted_although_the_query_before_was_not_read_to_its_end(database: EmbeddedDatabase) -> None:
    def function(tx: Transaction, id: str) -> tuple[int, int]:
        first = tx.value((), "select * from range(5000)")
        tx.insert("notes (id, n)", id, 7)
        return first, tx.value("notes", "select n from notes where id = $1", id)

    assert await asyncio.gather(*(database.write(function, f"{number}") for number in range(10))) == [(0, 7)] * 10


async def test_a_row_that_cannot_be_inserted_affects_neither_the_others_nor_later_ones(
    database: EmbeddedDatabase,
) -> None:
    def function(tx: Transaction, id: str, n: object = 0) -> None:
        tx.insert("notes (id, n)", id, n)

    rows = [("a", 1), ("b", 2), ("b", 3), ("c", "no number"), ("d", 4)]
    results = await asyncio.gather(*(database.write(function, *row) for row in rows), return_exceptions=True)
    assert [type(result).__name__ for result in results] == [
        "NoneType",
        "NoneType",
        "Duplicate",
        "ConversionException",
        "NoneType",
    ]
    await database.write(function, "e", 5)
    found = await database.read(lambda tx: tx.rows("notes", "select * from notes order by id"))
    assert [(row["id"], row["n"]) for row in found] == [("a", 1), ("b", 2), ("d", 4), ("e", 5)]
