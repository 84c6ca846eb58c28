"""Callbacks of a transaction run exactly when it has been committed."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Transaction


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(tmp_path / "file.duckdb")
    await database.write(lambda tx: tx.execute("things", "create table things (id integer primary key)"))
    yield database
    await database.close()


async def test_a_callback_runs_in_the_loop_after_the_commit_and_before_write_returns(
    database: EmbeddedDatabase,
) -> None:
    called: list[object] = []

    def add(tx: Transaction) -> None:
        tx.execute("things", "insert into things values (1)")
        tx.on_commit(
            lambda name: called.append((name, threading.current_thread() is threading.main_thread())), "written"
        )

    await database.write(add)
    assert called == [("written", True)]


async def test_a_callback_does_not_run_when_the_write_fails(database: EmbeddedDatabase) -> None:
    called: list[str] = []

    def fail(tx: Transaction) -> None:
        tx.on_commit(called.append, "failed")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.write(fail)
    assert called == []


async def test_a_callback_runs_once_even_when_another_write_fails_and_this_one_is_repeated(
    database: EmbeddedDatabase,
) -> None:
    called: list[int] = []

    def add(tx: Transaction, number: int) -> None:
        tx.on_commit(called.append, number)
        if number == 3:
            raise RuntimeError

    await asyncio.gather(*(database.write(add, number) for number in range(8)), return_exceptions=True)
    assert sorted(called) == [0, 1, 2, 4, 5, 6, 7]


async def test_a_callback_runs_although_the_caller_of_write_is_cancelled(database: EmbeddedDatabase) -> None:
    called: list[str] = []
    waiting = asyncio.create_task(database.write(lambda tx: tx.on_commit(called.append, "written")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await database.write(lambda tx: None)
    assert called == ["written"]
