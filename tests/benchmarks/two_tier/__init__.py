"""The design that Atelier was first drawn with, as a baseline for its pages: a backend with the database, and a frontend that
asks it over HTTP and renders the pages.

It does the least that such a page needs: no sessions in the database, no validation, 24 cards of two lines. Both processes run
in an environment of their own, so `backend` and `frontend` may import only its packages.
"""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from tests.environments import environment
from tests.kit import eventually

PACKAGES: Final = (
    "flask==3.1.3",
    "gunicorn==23.0.0",
    "uvicorn==0.38.0",
    "duckdb==1.4.2",
    "joserfc==1.4.3",
    "requests==2.32.5",
)
_HERE: Final = Path(__file__).resolve().parent


class TwoTier(NamedTuple):
    """The frontend's URL, the session cookie of its only user, and the id of one of its jobs."""

    url: str
    cookie: str
    job: str


@asynccontextmanager
async def two_tier() -> AsyncIterator[TwoTier]:
    """Run both processes, the frontend with eight threads."""
    programs = await asyncio.to_thread(environment, "fastapi", "0.121.3", "", PACKAGES)
    backend, frontend = _free_port(), _free_port()
    quiet = ("--log-level", "error")
    started = [
        await _start(programs / "uvicorn", "backend:app", "--port", str(backend), "--no-access-log", *quiet),
        await _start(
            programs / "gunicorn", "-w", "1", "--threads", "8", "-b", f"127.0.0.1:{frontend}", "frontend:app", *quiet,
            BACKEND=f"http://127.0.0.1:{backend}",
        ),
    ]  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{frontend}", trust_env=False) as http:
            await eventually(lambda: _answers(http), bool, seconds=60)
            cookie = http.cookies["session"]
            job = (await http.get("/newest")).json()["id"]
        yield TwoTier(f"http://127.0.0.1:{frontend}", f"session={cookie}", job)
    finally:
        for process in started:
            os.kill(process.pid, signal.SIGTERM)
            await process.wait()


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.post("/login")).status_code == 204
    except httpx.TransportError:
        return False


async def _start(program: Path, *arguments: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        program,
        *arguments,
        cwd=_HERE,
        env={"PATH": os.environ["PATH"], **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
