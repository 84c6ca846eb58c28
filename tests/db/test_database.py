"""The awaitable interface to DuckDB."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from app.base.errors import Unready
from app.db.database import DatabaseError
from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Duplicate, Transaction
from tests.base.children import error_on_open, run_in_child
from tests.kit import Cases, eventually


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(tmp_path / "test.duckdb")
    await database.write(lambda tx: tx.execute("notes", "create table notes (id integer primary key, text text)"))
    yield database
    await database.close()


def _add(tx: Transaction, id: int, text: str = "") -> None:
    tx.execute("notes", "insert into notes values ($1, $2)", id, text)


def _count(tx: Transaction) -> int:
    return int(tx.value("notes", "select count(*) from notes"))


async def test_a_write_that_has_returned_is_there_after_reopening(tmp_path: Path) -> None:
    first = EmbeddedDatabase(tmp_path / "a.duckdb")
    await first.write(lambda tx: tx.execute("notes", "create table notes (id integer primary key, text text)"))
    await first.write(_add, 1, "kept")
    await first.close()
    second = EmbeddedDatabase(tmp_path / "a.duckdb")
    assert await second.read(lambda tx: tx.rows("notes", "select * from notes")) == [{"id": 1, "text": "kept"}]
    await second.close()


async def test_a_transaction_that_fails_leaves_nothing_behind(database: EmbeddedDatabase) -> None:
    def half(tx: Transaction) -> None:
        _add(tx, 1)
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        await database.write(half)
    assert await database.read(_count) == 0


async def test_a_transaction_that_fails_does_not_affect_those_that_waited_with_it(database: EmbeddedDatabase) -> None:
    def fail(tx: Transaction) -> None:
        _add(tx, 999)
        raise ValueError

    writes = [database.write(fail) if n % 7 == 3 else database.write(_add, n) for n in range(40)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    failed = [n for n, result in enumerate(results) if isinstance(result, ValueError)]
    assert failed == [n for n in range(40) if n % 7 == 3]
    assert await database.read(_count) == 40 - len(failed)


async def test_a_key_that_exists_is_reported_as_a_duplicate(database: EmbeddedDatabase) -> None:
    await database.write(_add, 1)
    with pytest.raises(Duplicate):
        await database.write(_add, 1)
    assert await database.read(_count) == 1


async def test_many_writers_of_one_row_never_conflict(database: EmbeddedDatabase) -> None:
    await database.write(_add, 1, "0")
    increment = "update notes set text = cast(cast(text as integer) + 1 as text) where id = 1"
    await asyncio.gather(*(database.write(lambda tx: tx.execute("notes", increment)) for _ in range(100)))
    assert await database.read(lambda tx: tx.value("notes", "select text from notes")) == "100"


async def test_a_reader_cannot_write(database: EmbeddedDatabase) -> None:
    with pytest.raises(Exception, match=r"(?i)read.only"):
        await database.read(_add, 1)
    assert await database.read(_count) == 0


async def test_the_event_loop_continues_while_the_database_works(database: EmbeddedDatabase, tmp_path: Path) -> None:
    """The query reads a pipe, and so ends only when the event loop has written to it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    query = f"select sum(n) from read_csv('{pipe}', header = false, auto_detect = false, columns = {{n: 'integer'}})"  # noqa: S608
    reading = asyncio.create_task(database.read(lambda tx: tx.value((), query)))
    end = await eventually(partial(_writing_end, pipe), lambda end: end is not None)
    assert end is not None
    with end:
        for _ in range(200):
            await asyncio.sleep(0)
        assert not reading.done()
        end.write(b"1\n2\n")
    assert await reading == 3


async def _writing_end(pipe: Path) -> BinaryIO | None:
    """None until the other end has been opened."""
    try:
        return cast(BinaryIO, os.fdopen(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK), "wb", buffering=0))
    except OSError:
        return None


async def test_cancelling_the_caller_does_not_cancel_the_write(database: EmbeddedDatabase) -> None:
    waiting = asyncio.create_task(database.write(_add, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    await database.write(_add, 2)
    assert await database.read(_count) == 2


async def test_a_closed_database_refuses_to_read(database: EmbeddedDatabase) -> None:
    await database.close()
    with pytest.raises(Unready, match="shutting down"):
        await database.read(_count)


def test_a_file_that_is_no_database_is_refused_with_one_sentence_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "atelier.duckdb"
    with Cases() as cases:
        for content in (b"this is not a database" * 1000, b"\0" * 20_000, b"DUCK" * 5000):
            path.write_bytes(content)
            message = ""
            try:
                EmbeddedDatabase(path)
            except DatabaseError as exc:
                message = str(exc)
            with cases.case(content):
                assert "atelier.duckdb is damaged or not a database: restore a backup" in message
                assert path.read_bytes() == content


@pytest.mark.xdist_group("base-children")
async def test_a_second_process_cannot_open_the_database(database: EmbeddedDatabase) -> None:
    code, message = await run_in_child(error_on_open, database.path)
    assert code == 0
    assert "another process has the database test.duckdb open" in message
