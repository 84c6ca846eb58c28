"""Rows that are written together: cheaper, and to everybody who asks as if each had been written by itself."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.base.database import Database, Duplicate, Transaction

INSERT = "insert into notes select unnest($1::text[]), unnest($2::integer[])"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "test.duckdb")
    for name in ("notes", "others"):
        await database.write(Transaction.execute, f"create table {name} (id text primary key, n integer)")
    yield database
    await database.close()


def _note(tx: Transaction, id: str, n: int | None = 0) -> None:
    tx.gather("notes", INSERT, id, n)


def _count(tx: Transaction) -> int:
    return int(tx.value("select count(*) from notes"))


async def test_it_is_on_disk_when_the_verb_is(database: Database) -> None:
    await database.write(_note, "a", None)
    assert await database.read(lambda tx: tx.rows("select * from notes")) == [{"id": "a", "n": None}]


async def test_whoever_asks_later_in_the_same_commit_finds_it(database: Database) -> None:
    """Also another verb: they are committed together, but one after the other."""

    async def both() -> tuple[int, int]:
        first = asyncio.create_task(database.write(_note, "a"))
        second = asyncio.create_task(database.write(_count))
        await first
        return 1, await second

    def verb(tx: Transaction) -> tuple[int, int]:
        before = _count(tx)
        _note(tx, "mine")
        return before, _count(tx)

    assert await both() == (1, 1)
    assert await database.write(verb) == (1, 2)


async def test_many_at_once_are_all_there(database: Database) -> None:
    await asyncio.gather(*(database.write(_note, f"{number:03}", number) for number in range(200)))
    rows = await database.read(lambda tx: tx.rows("select * from notes order by id"))
    assert rows == [{"id": f"{number:03}", "n": number} for number in range(200)]


async def test_one_statement_serves_all_that_are_committed_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    run = Transaction._run

    def counted(tx: Transaction, sql: str, parameters: list[object]) -> object:
        if sql == INSERT:
            ran.append(len(parameters[0]))  # type: ignore[arg-type]
        return run(tx, sql, parameters)

    monkeypatch.setattr(Transaction, "_run", counted)
    await asyncio.gather(*(database.write(_note, str(number)) for number in range(64)))
    assert sum(ran) == 64
    assert len(ran) < 32


async def test_a_failure_strikes_only_whoever_caused_it(database: Database) -> None:
    await database.write(_note, "taken")
    results = await asyncio.gather(
        *(database.write(_note, id) for id in ("a", "taken", "b")),
        database.write(lambda tx: tx.execute("insert into others values ('x', 1)")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), Duplicate, type(None), type(None)]
    found = await database.read(lambda tx: tx.rows("select id from notes order by id"))
    assert [row["id"] for row in found] == ["a", "b", "taken"]


async def test_a_verb_that_fails_leaves_nothing_of_what_it_gathered(database: Database) -> None:
    def verb(tx: Transaction) -> None:
        _note(tx, "never")
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(verb)
    assert await database.read(_count) == 0


async def test_how_many_rows_were_changed(database: Database) -> None:
    await asyncio.gather(*(database.write(_note, str(number), number) for number in range(5)))
    assert await database.write(lambda tx: tx.count("update notes set n = n + 1 where n >= $1", 3)) == 2
    assert await database.write(lambda tx: tx.count("delete from notes where id = $1", "nobody")) == 0


async def test_a_row_is_inserted_although_what_was_asked_before_was_not_read_to_its_end(database: Database) -> None:
    def verb(tx: Transaction, id: str) -> tuple[int, int]:
        first = tx.value("select * from range(5000)")
        tx.insert("notes (id, n)", id, 7)
        return first, tx.value("select n from notes where id = $1", id)

    assert await asyncio.gather(*(database.write(verb, f"{number}") for number in range(10))) == [(0, 7)] * 10


async def test_a_row_that_cannot_be_inserted_leaves_the_others_and_the_next_as_they_are(database: Database) -> None:
    def verb(tx: Transaction, id: str, n: object = 0) -> None:
        tx.insert("notes (id, n)", id, n)

    asked = [("a", 1), ("b", 2), ("b", 3), ("c", "no number"), ("d", 4)]
    told = await asyncio.gather(*(database.write(verb, *row) for row in asked), return_exceptions=True)
    assert [type(it).__name__ for it in told] == [
        "NoneType",
        "NoneType",
        "Duplicate",
        "ConversionException",
        "NoneType",
    ]
    await database.write(verb, "e", 5)
    found = await database.read(lambda tx: tx.rows("select * from notes order by id"))
    assert [(row["id"], row["n"]) for row in found] == [("a", 1), ("b", 2), ("d", 4), ("e", 5)]
