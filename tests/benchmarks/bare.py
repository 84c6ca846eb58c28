"""The same with nothing around it, to compare with: a route that only answers, an insert that only inserts."""

import asyncio
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import uvicorn
from litestar import Litestar, post

INSERTS = 500


@post("/", status_code=202)
async def accept(data: dict[str, Any]) -> dict[str, Any]:
    return data


def inserts_a_second() -> float:
    """Durable one-row inserts, one transaction each, by one thread."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "bare.duckdb")) as connection:
        connection.execute("create table jobs (id text primary key, owner text, prompt text)")
        began = time.perf_counter()
        for number in range(INSERTS):
            connection.execute("insert into jobs values ($1, $2, $3)", [f"{number:032}", "ann", "a paper boat"])
        return INSERTS / (time.perf_counter() - began)


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        app = Litestar([accept], openapi_config=None)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await server.serve([listener])


if __name__ == "__main__":
    asyncio.run(main())
