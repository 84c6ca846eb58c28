"""Minimal versions of the same work, to compare with: an empty route, a plain insert, the two commits of a chat call."""

import asyncio
import socket
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import duckdb
import uvicorn
from litestar import Litestar, post

INSERTS = 500


@post("/", status_code=202)
async def accept(data: dict[str, Any]) -> dict[str, Any]:
    return data


def inserts_per_second() -> float:
    """Durable one-row inserts, one transaction each, by one thread."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "baseline.duckdb")) as connection:
        connection.execute("create table jobs (id text primary key, owner text, prompt text)")
        began = time.perf_counter()
        for number in range(INSERTS):
            connection.execute("insert into jobs values ($1, $2, $3)", [f"{number:032}", "ann", "a paper boat"])
        return INSERTS / (time.perf_counter() - began)


def ledger_commits(database: Path, calls: int, rate: float) -> list[float]:
    """Seconds that the two commits of a chat call take in Atelier's database without the application: the hold, then the
    answer with its settlement. `rate` is in calls per second."""
    ledger = "insert into ledger values ($1, 'ann', 'answer', $2, $3, 0, $4, now(), 'key')"
    message = (
        "insert into messages (id, owner_id, role, text, size, status, model, created_at, ended_at, cost_nano)"
        " values ($1, 'ann', 'assistant', 'a short answer', 16, 'complete', 'instant/text', now(), now(), 16000)"
    )
    seconds = []
    with duckdb.connect(str(database)) as connection:
        began = time.perf_counter()
        for number in range(calls):
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            id, at = uuid.uuid4().hex, time.perf_counter()
            connection.execute(ledger, [f"{id}-h", id, "hold", None])
            connection.begin()
            connection.execute(message, [id])
            connection.execute(ledger, [f"{id}-s", id, "settlement", 16_000])
            connection.commit()
            seconds.append(time.perf_counter() - at)
    return seconds


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        app = Litestar([accept], openapi_config=None)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await server.serve([listener])


if __name__ == "__main__":
    asyncio.run(main())
