"""What is to happen once something is written happens exactly then."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.base.database import Database, Transaction


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "file.duckdb")
    await database.write(lambda tx: tx.execute("create table things (id integer primary key)"))
    yield database
    await database.close()


async def test_it_is_called_in_the_loop_after_the_commit_and_before_the_caller_goes_on(database: Database) -> None:
    seen: list[object] = []

    def add(tx: Transaction) -> None:
        tx.execute("insert into things values (1)")
        tx.then(lambda name: seen.append((name, threading.current_thread() is threading.main_thread())), "written")

    await database.write(add)
    assert seen == [("written", True)]


async def test_it_is_not_called_when_the_write_fails(database: Database) -> None:
    seen: list[str] = []

    def fail(tx: Transaction) -> None:
        tx.then(seen.append, "failed")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.write(fail)
    assert seen == []


async def test_it_is_called_once_even_when_a_neighbour_fails_and_the_write_runs_again(database: Database) -> None:
    seen: list[int] = []

    def add(tx: Transaction, number: int) -> None:
        tx.then(seen.append, number)
        if number == 3:
            raise RuntimeError

    await asyncio.gather(*(database.write(add, number) for number in range(8)), return_exceptions=True)
    assert sorted(seen) == [0, 1, 2, 4, 5, 6, 7]


async def test_it_is_called_although_nobody_waits_any_more(database: Database) -> None:
    seen: list[str] = []
    waiting = asyncio.create_task(database.write(lambda tx: tx.then(seen.append, "written")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await database.write(lambda tx: None)
    assert seen == ["written"]
