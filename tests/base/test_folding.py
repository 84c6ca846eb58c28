"""The write-ahead log is folded into the file by ourselves, and a file that lost its end is not opened."""

import asyncio
import contextlib
import itertools
import os
from pathlib import Path

import pytest

from app.base.database import FOLD, ROOM, Database, DatabaseError, Transaction


def _add(tx: Transaction, id: int) -> None:
    tx.execute("insert into notes values ($1, $2)", id, "x" * 2000)


def _count(tx: Transaction) -> int:
    return int(tx.value("select count(*) from notes where text like 'x%'"))


async def _filled(path: Path, count: int, *, fold: int = FOLD, room: int = ROOM) -> Database:
    database = Database(path, fold=fold, room=room)
    await database.write(lambda tx: tx.execute("create table notes (id integer primary key, text text)"))
    for number in range(0, count, 10):
        await asyncio.gather(*(database.write(_add, number + one) for one in range(10)))
    return database


async def test_the_log_does_not_grow_without_end_also_while_others_read(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    database = await _filled(path, 0, fold=200_000, room=0)

    async def read() -> None:
        while True:
            await database.read(_count)

    readers = [asyncio.create_task(read()) for _ in range(4)]
    log, sizes = tmp_path / "a.duckdb.wal", []
    for number in range(0, 1000, 10):
        await asyncio.gather(*(database.write(_add, number + one) for one in range(10)))
        with contextlib.suppress(FileNotFoundError):
            sizes.append(log.stat().st_size)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert any(later < earlier for earlier, later in itertools.pairwise(sizes)), "it was never folded in"
    assert max(sizes) < 1_500_000
    assert await database.read(_count) == 1000
    await database.close()
    assert not log.exists()


async def test_without_room_for_it_the_log_grows_on(tmp_path: Path) -> None:
    database = await _filled(tmp_path / "a.duckdb", 300, fold=100_000, room=10**18)
    assert (tmp_path / "a.duckdb.wal").stat().st_size > 300_000
    assert await database.read(_count) == 300
    await database.close()


@pytest.mark.parametrize("lost", [1, 100_000, 262_144])
async def test_a_file_that_lost_its_end_is_refused_and_left_as_it_is(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "a.duckdb"
    await (await _filled(path, 500)).close()
    os.truncate(path, path.stat().st_size - lost)
    before = path.read_bytes()
    with pytest.raises(DatabaseError, match=r"a\.duckdb is damaged or not a database"):
        Database(path)
    assert path.read_bytes() == before
