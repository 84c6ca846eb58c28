"""What was read a moment ago is remembered for exactly as long as it is true."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.base.database import Database, Transaction
from app.base.recall import HEAVIEST, MOST, Recall

looks: list[object] = []


def notes(tx: Transaction, least: int) -> list[int]:
    looks.append(least)
    return [row["n"] for row in tx.rows("select n from notes where n >= $1 order by n", least)]


def joined(tx: Transaction) -> int:
    looks.append("joined")
    return int(
        tx.value("with all_of as (select n from notes union all select n from others) select count(*) from all_of")
    )


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "test.duckdb")
    for name in ("notes", "others", "rest"):
        await database.write(Transaction.execute, f"create table {name} (n integer)")
    looks.clear()
    yield database
    await database.close()


async def test_the_same_question_is_asked_once_until_something_is_written_there(database: Database) -> None:
    recall = Recall(database)
    await database.write(Transaction.execute, "insert into notes values (1)")
    assert [await recall.read(notes, 0) for _ in range(3)] == [[1]] * 3
    assert looks == [0]
    await database.write(Transaction.execute, "insert into rest values (1)")
    assert await recall.read(notes, 0) == [1]
    assert looks == [0], "nothing was written there"
    await database.write(Transaction.execute, "insert into notes values (2)")
    assert await recall.read(notes, 0) == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        "insert into others values (7)",
        "update others set n = 8",
        "delete from others",
        "with gone as (select n from rest) delete from others where n not in (select n from gone)",
    ],
)
async def test_every_kind_of_change_to_any_table_of_the_question_counts(database: Database, change: str) -> None:
    recall = Recall(database)
    await database.write(Transaction.execute, "insert into others values (5)")
    await recall.read(joined)
    await database.write(Transaction.execute, change)
    expected = await database.read(joined)
    assert await recall.read(joined) == expected
    assert looks.count("joined") == 3


async def test_a_row_that_is_gathered_counts_as_well(database: Database) -> None:
    recall = Recall(database)
    assert await recall.read(notes, 0) == []
    await database.write(Transaction.insert, "notes (n)", 4)
    assert await recall.read(notes, 0) == [4]


async def test_what_is_rolled_back_changes_nothing(database: Database) -> None:
    recall = Recall(database)
    assert await recall.read(notes, 0) == []

    def failing(tx: Transaction) -> None:
        tx.execute("insert into notes values (9)")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(failing)
    assert await recall.read(notes, 0) == []
    assert looks == [0]


async def test_whoever_has_written_reads_it_whatever_others_do(database: Database) -> None:
    """Many write and read at once; nobody ever misses what was on disk before they asked."""
    recall = Recall(database)

    async def one(number: int) -> None:
        await database.write(Transaction.execute, "insert into notes values ($1)", number)
        assert number in await recall.read(notes, 0)

    await asyncio.gather(*(one(number) for number in range(200)))
    assert await recall.read(notes, 0) == list(range(200))


async def test_memory_is_bounded(database: Database) -> None:
    recall = Recall(database)
    for least in range(MOST + 10):
        await recall.read(notes, least)
    assert len(recall._kept) == MOST
    await database.write(Transaction.execute, "insert into notes select n from range($1) t(n)", HEAVIEST)
    await recall.read(notes, 0)
    looks.clear()
    await recall.read(notes, 0)
    assert looks == [0], "too heavy to be kept"
