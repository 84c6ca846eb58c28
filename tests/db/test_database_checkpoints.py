"""Checkpoints bound the write-ahead log, and a truncated database file is not opened."""

import asyncio
import contextlib
import itertools
import os
import shutil
from pathlib import Path

from app.db.database import DatabaseError
from app.db.duckdb.checkpoint import CHECKPOINT_BYTES, CHECKPOINT_FREE_BYTES
from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Transaction
from tests.kit import Cases


def _add(tx: Transaction, id: int) -> None:
    tx.execute("notes", "insert into notes values ($1, $2)", id, "x" * 2000)


def _count(tx: Transaction) -> int:
    return int(tx.value("notes", "select count(*) from notes where text like 'x%'"))


async def _database_with_rows(
    path: Path, count: int, *, log: int = CHECKPOINT_BYTES, free: int = CHECKPOINT_FREE_BYTES
) -> EmbeddedDatabase:
    database = EmbeddedDatabase(path, checkpoint_bytes=log, checkpoint_free_bytes=free)
    await database.write(lambda tx: tx.execute("notes", "create table notes (id integer primary key, text text)"))
    for number in range(0, count, 10):
        await asyncio.gather(*(database.write(_add, number + one) for one in range(10)))
    return database


async def test_the_log_is_bounded_also_during_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    database = await _database_with_rows(path, 0, log=100_000, free=0)

    async def read() -> None:
        while True:
            await database.read(_count)

    readers = [asyncio.create_task(read()) for _ in range(2)]
    log, sizes = tmp_path / "a.duckdb.wal", []
    for number in range(0, 500, 10):
        await asyncio.gather(*(database.write(_add, number + one) for one in range(10)))
        with contextlib.suppress(FileNotFoundError):
            sizes.append(log.stat().st_size)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert any(later < earlier for earlier, later in itertools.pairwise(sizes)), "there was no checkpoint"
    assert max(sizes) < 750_000
    assert await database.read(_count) == 500
    await database.close()
    assert not log.exists()


async def test_without_free_space_for_a_checkpoint_the_log_keeps_growing(tmp_path: Path) -> None:
    database = await _database_with_rows(tmp_path / "a.duckdb", 300, log=100_000, free=10**18)
    assert (tmp_path / "a.duckdb.wal").stat().st_size > 300_000
    assert await database.read(_count) == 300
    await database.close()


async def test_a_truncated_file_is_refused_and_not_changed(tmp_path: Path) -> None:
    whole = tmp_path / "whole.duckdb"
    await (await _database_with_rows(whole, 500)).close()
    with Cases() as cases:
        for missing in (1, 100_000, 262_144):
            path = tmp_path / "a.duckdb"
            shutil.copyfile(whole, path)
            os.truncate(path, path.stat().st_size - missing)
            before = path.read_bytes()
            message = ""
            try:
                EmbeddedDatabase(path)
            except DatabaseError as exc:
                message = str(exc)
            with cases.case(missing):
                assert "a.duckdb is damaged or not a database" in message
                assert path.read_bytes() == before


def _grow_and_shrink(tx: Transaction, first: int) -> None:
    sql = "insert into notes select range, repeat('x' || uuid()::text, 60) from range($1, $2)"
    tx.execute("notes", sql, first, first + 400)
    tx.execute("notes", "delete from notes where id % 3 = 0")


async def test_a_database_that_grows_and_shrinks_is_opened_after_every_stop(tmp_path: Path) -> None:
    """The engine truncates free blocks at the end of the file."""
    path = tmp_path / "a.duckdb"
    await (await _database_with_rows(path, 0)).close()
    rows = 0
    for start in range(12):
        database = EmbeddedDatabase(path)
        assert await database.read(_count) == rows
        await database.write(_grow_and_shrink, start * 500)
        rows = await database.read(_count)
        await database.close()
