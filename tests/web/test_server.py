"""The server stops when asked to, and does nothing in between that no one asked for."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from litestar.types import Receive, Scope, Send

from app.web.server import HttpServer, listening, serving
from tests.kit import eventually


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok", "more_body": False})


class CountingServer(HttpServer):
    """Counts how often uvicorn looks what there is to do."""

    ticks = 0

    async def on_tick(self, counter: int) -> bool:
        self.ticks += 1
        return await super().on_tick(counter)


@asynccontextmanager
async def served(listener: socket.socket, **options: Any) -> AsyncIterator[tuple[CountingServer, httpx.AsyncClient]]:
    config = uvicorn.Config(application, log_config=None, access_log=False, lifespan="off", **options)
    server = CountingServer(config)
    task = asyncio.create_task(server.serve([listener]))
    assert await serving(server, task)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield server, client
    server.should_exit = True
    await task


async def test_without_a_date_the_server_never_wakes_up_by_itself() -> None:
    async with served(listening("127.0.0.1", 0), date_header=False) as (server, client):
        await asyncio.sleep(0.3)  # uvicorn's own loop looks ten times a second
        answer = await client.get("/")
        assert answer.text == "ok"
        assert "date" not in answer.headers
        assert server.ticks == 1
    assert server.ticks == 2, "on_tick decides whether to exit: see HttpServer.main_loop"


async def test_the_date_follows_the_clock() -> None:
    async with served(listening("127.0.0.1", 0)) as (_, client):
        first = (await client.get("/")).headers["date"]

        async def date() -> str:
            return str((await client.get("/")).headers["date"])

        await eventually(date, lambda later: later != first)
