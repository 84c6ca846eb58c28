"""A database that may not grow any more. Runs in a separate process, whose limit on file sizes simulates a small disk."""

import asyncio
import os
import resource
import signal
from pathlib import Path

import msgspec

from app.base.errors import Unready
from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Transaction

LIMIT = 3_000_000  # bytes of the largest file that may be written
REJECTIONS = 40
BOUND = 300  # seconds; only a broken product needs them


class Report(msgspec.Struct):
    """How many rows were acknowledged, which of them were lost, and which came back that were rejected; the types of the
    rejections; how many reads saw all acknowledged rows, did not, and were rejected; and the state of the database."""

    acknowledged: int
    lost: list[int]
    came_back: list[int]
    rejections: list[str]
    right_reads: int
    wrong_reads: int
    rejected_reads: int
    healthy: bool
    generation: int


def _add(tx: Transaction, id: int, text: str) -> None:
    tx.execute("notes", "insert into notes values ($1, $2)", id, text)


def _ids(tx: Transaction) -> list[int]:
    return [row["id"] for row in tx.rows("notes", "select id from notes")]


def _may_grow(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def play(folder: Path, checkpoint_bytes: int) -> Report:
    """Write until the disk is full, then free space. A checkpoint starts at `checkpoint_bytes` of write-ahead log."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    return asyncio.run(_play(folder, checkpoint_bytes))


async def _play(folder: Path, checkpoint_bytes: int) -> Report:
    database = EmbeddedDatabase(folder / "atelier.duckdb", checkpoint_bytes=checkpoint_bytes, checkpoint_free_bytes=0)
    await database.write(lambda tx: tx.execute("notes", "create table notes (id integer primary key, text text)"))
    acknowledged: set[int] = set()
    rejected: dict[int, str] = {}
    reads = {"right": 0, "wrong": 0, "rejected": 0}

    async def write(id: int) -> None:
        try:
            await database.write(_add, id, os.urandom(10_000).hex())
            acknowledged.add(id)
        except Unready as exc:
            rejected[id] = type(exc).__name__

    async def read() -> None:
        before = set(acknowledged)
        try:
            reads["right" if before <= set(await database.read(_ids)) else "wrong"] += 1
        except Unready:
            reads["rejected"] += 1

    _may_grow(LIMIT)
    id = 0
    while len(rejected) < REJECTIONS:
        id += 1
        await asyncio.gather(write(id), write(-id), read())
    _may_grow(resource.RLIM_INFINITY)
    async with asyncio.timeout(BOUND):
        while id not in acknowledged:  # it recovers on its own
            id += 1
            await asyncio.gather(write(id), read())
            await asyncio.sleep(0.05)
    healthy, generation = database.healthy, database.generation
    await database.close()
    again = EmbeddedDatabase(folder / "atelier.duckdb")
    found = set(await again.read(_ids))
    await again.close()
    return Report(
        acknowledged=len(acknowledged),
        lost=sorted(acknowledged - found),
        came_back=sorted(found - acknowledged),
        rejections=sorted(set(rejected.values())),
        right_reads=reads["right"],
        wrong_reads=reads["wrong"],
        rejected_reads=reads["rejected"],
        healthy=healthy,
        generation=generation,
    )
