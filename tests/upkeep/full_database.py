"""What a database does when it may not grow any more, played out in the folder given. It is run as a program of its own,
under a limit instead of on a small disk:

    python -m tests.upkeep.full_database FOLDER FOLD

FOLD is the number of bytes of write-ahead log after which it is folded into the file. The answer is a JSON object.
"""

import asyncio
import json
import os
import resource
import sys
from pathlib import Path

from app.base.database import Database, Transaction
from app.base.errors import Unready

LIMIT = 3_000_000  # bytes of the largest file that may be written
REFUSALS = 40


def _add(tx: Transaction, id: int, text: str) -> None:
    tx.execute("insert into notes values ($1, $2)", id, text)


def _ids(tx: Transaction) -> list[int]:
    return [row["id"] for row in tx.rows("select id from notes")]


def _may_grow(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


async def play(folder: Path, fold: int) -> dict[str, object]:
    database = Database(folder / "atelier.duckdb", fold=fold, room=0)
    await database.write(lambda tx: tx.execute("create table notes (id integer primary key, text text)"))
    kept: set[int] = set()
    refused: dict[int, str] = {}
    reads = {"right": 0, "wrong": 0, "refused": 0}

    async def write(id: int) -> None:
        try:
            await database.write(_add, id, os.urandom(10_000).hex())
            kept.add(id)
        except Unready as problem:
            refused[id] = type(problem).__name__

    async def read() -> None:
        before = set(kept)
        try:
            reads["right" if before <= set(await database.read(_ids)) else "wrong"] += 1
        except Unready:
            reads["refused"] += 1

    _may_grow(LIMIT)
    id = 0
    while len(refused) < REFUSALS:
        id += 1
        await asyncio.gather(write(id), write(-id), read())
    _may_grow(resource.RLIM_INFINITY)
    async with asyncio.timeout(30):
        while id not in kept:  # it comes back by itself, within a moment
            id += 1
            await asyncio.gather(write(id), read())
            await asyncio.sleep(0.05)
    healthy, eras = database.healthy, database._era
    await database.close()
    again = Database(folder / "atelier.duckdb")
    found = set(await again.read(_ids))
    await again.close()
    return {
        "kept": len(kept),
        "refused as": sorted(set(refused.values())),
        "lost": sorted(kept - found),
        "came back": sorted(found - kept),
        "reads": reads,
        "healthy": healthy,
        "opened anew": eras,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(Path(sys.argv[1]), int(sys.argv[2])))))
