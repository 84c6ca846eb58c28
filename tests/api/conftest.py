"""One running Atelier for the whole folder; every test brings its own people."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from tests.api.kit import person
from tests.studio import Studio


@pytest_asyncio.fixture(scope="session")
async def maker(atelier: Studio) -> httpx.AsyncClient:
    """Somebody who makes things and is shared by all tests that do not look at lists."""
    return await person(atelier, "maker")


@pytest_asyncio.fixture(scope="session")
async def reader(atelier: Studio) -> httpx.AsyncClient:
    """Somebody who only asks and is shared by all tests: for refusals that leave nothing behind."""
    return await person(atelier, "reader")


@pytest_asyncio.fixture
async def own_listener() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on loopback that writes down whatever is said to it: nothing should ever be."""
    heard: list[bytes] = []

    async def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(b"connected")
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
