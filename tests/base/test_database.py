"""The awaitable face on DuckDB."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.base.database import Database, DatabaseError, Duplicate, Transaction
from app.base.errors import Unready


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "test.duckdb")
    await database.write(lambda tx: tx.execute("create table notes (id integer primary key, text text)"))
    yield database
    await database.close()


def _add(tx: Transaction, id: int, text: str = "") -> None:
    tx.execute("insert into notes values ($1, $2)", id, text)


def _count(tx: Transaction) -> int:
    return int(tx.value("select count(*) from notes"))


async def test_what_a_write_returned_from_is_there_after_reopening(tmp_path: Path) -> None:
    first = Database(tmp_path / "a.duckdb")
    await first.write(lambda tx: tx.execute("create table notes (id integer primary key, text text)"))
    await first.write(_add, 1, "kept")
    await first.close()
    second = Database(tmp_path / "a.duckdb")
    assert await second.read(lambda tx: tx.rows("select * from notes")) == [{"id": 1, "text": "kept"}]
    await second.close()


async def test_a_verb_that_fails_leaves_nothing_behind(database: Database) -> None:
    def half(tx: Transaction) -> None:
        _add(tx, 1)
        raise ValueError("changed my mind")

    with pytest.raises(ValueError, match="changed my mind"):
        await database.write(half)
    assert await database.read(_count) == 0


async def test_a_failing_verb_does_not_take_the_ones_that_waited_beside_it_along(database: Database) -> None:
    def fail(tx: Transaction) -> None:
        _add(tx, 999)
        raise ValueError

    verbs = [database.write(fail) if n % 7 == 3 else database.write(_add, n) for n in range(40)]
    results = await asyncio.gather(*verbs, return_exceptions=True)
    failed = [n for n, result in enumerate(results) if isinstance(result, ValueError)]
    assert failed == [n for n in range(40) if n % 7 == 3]
    assert await database.read(_count) == 40 - len(failed)


async def test_a_taken_key_is_told_as_a_duplicate(database: Database) -> None:
    await database.write(_add, 1)
    with pytest.raises(Duplicate):
        await database.write(_add, 1)
    assert await database.read(_count) == 1


async def test_many_writers_of_one_row_never_collide(database: Database) -> None:
    await database.write(_add, 1, "0")
    increment = "update notes set text = cast(cast(text as integer) + 1 as text) where id = 1"
    await asyncio.gather(*(database.write(lambda tx: tx.execute(increment)) for _ in range(100)))
    assert await database.read(lambda tx: tx.value("select text from notes")) == "100"


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)read.only"):
        await database.read(_add, 1)
    assert await database.read(_count) == 0


async def test_the_event_loop_goes_on_while_the_database_works(database: Database) -> None:
    slow = "select count(*) from range(30000000) a where a.range % 7 = (select count(*) from range(10))"
    longest, working = 0.0, asyncio.create_task(database.read(lambda tx: tx.value(slow)))
    turns = 0
    while not working.done():
        began = time.perf_counter()
        await asyncio.sleep(0)
        longest, turns = max(longest, time.perf_counter() - began), turns + 1
    assert turns > 100, "the loop had no turn while the query ran"


async def test_whoever_stops_waiting_does_not_stop_the_write(database: Database) -> None:
    waiting = asyncio.create_task(database.write(_add, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    await database.write(_add, 2)
    assert await database.read(_count) == 2


async def test_after_closing_it_says_so(database: Database) -> None:
    await database.close()
    with pytest.raises(Unready, match="shutting down"):
        await database.read(_count)


@pytest.mark.parametrize("content", [b"this is not a database" * 1000, b"\0" * 20_000, b"DUCK" * 5000])
def test_a_broken_file_is_refused_with_one_clear_sentence_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "atelier.duckdb"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"atelier\.duckdb is damaged or not a database: put a backup"):
        Database(path)
    assert path.read_bytes() == content


async def test_a_second_process_is_kept_out(database: Database) -> None:
    code = (
        "import sys; from pathlib import Path; from app.base.database import Database, DatabaseError\n"
        "try: Database(Path(sys.argv[1]))\n"
        "except DatabaseError as problem: print(problem); sys.exit(3)"
    )
    outcome = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, str(database.path)], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 3, outcome.stderr
    assert "another process has the database test.duckdb open" in outcome.stdout
