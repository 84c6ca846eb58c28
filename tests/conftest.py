"""Fixtures that every test may use, and how the files are spread over the workers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from app.base import logging
from app.providers.contract import ErrorCode, Failed
from tests.kit import key_client, new_user
from tests.pages import PageUser, new_page_user, new_viewer
from tests.portable_sql import watch_statements
from tests.studio import Studio, running
from tests.timing import (  # noqa: F401 (hooks)
    pytest_runtest_protocol,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)

logging.start(human=True)
watch_statements()

# One worker runs a file from its first test to its last, so the files that take longest are begun first. A test that has
# an xdist_group of its own is run wherever a worker is free. requirements.lock keeps pytest below 9.2, in which pytest-xdist
# 3.8 finds no groups.
SLOW_FIRST = (
    "rules/test_style",
    "crash",
    "journeys",
    "gateway/sdk",
    "maintenance",
    "test_stopping",
    "api/test_fuzz",
    "generation/test_failures",
    "test_command_line",
    "providers/simulator",
)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((rank for rank, part in enumerate(SLOW_FIRST) if f"/tests/{part}" in path), len(SLOW_FIRST))

    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.as_posix()))
    items.sort(key=rank)


@pytest_asyncio.fixture(scope="session")
async def atelier(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """The worker's own program, shared by all tests of the worker: simulator at full speed, no throttles, everything else at
    its default. The first user, admin@studio.example, is the admin. Tests bring users of their own and look at nothing else."""
    async with running(tmp_path_factory.mktemp("atelier")) as studio:
        await studio.user("admin@studio.example")
        _shared.append(studio)
        yield studio
        _shared.remove(studio)


_shared: list[Studio] = []  # the worker's own program, while it runs


@pytest_asyncio.fixture(scope="module", autouse=True)
async def no_job_stays_stuck() -> AsyncIterator[None]:
    """At the end of each file, the jobs that would never end by themselves do: each is polled many times a second until then."""
    yield
    for studio in _shared:
        jobs = studio.program.jobs
        snapshot = jobs.live.snapshot()
        for job in [*snapshot.unfinished.values(), *snapshot.awaiting_late_result.values()]:
            if "[stuck]" in job.prompt:
                await jobs.execution.fail(job, Failed(code=ErrorCode.TIMED_OUT, message="The test is over."))


@pytest.fixture
async def ann(atelier: Studio) -> httpx.AsyncClient:
    """An API client of a new user."""
    return await new_user(atelier, "ann")


@pytest.fixture
async def bob(atelier: Studio) -> httpx.AsyncClient:
    """An API client of another new user."""
    return await new_user(atelier, "bob")


@pytest_asyncio.fixture(scope="session")
async def creator(atelier: Studio) -> httpx.AsyncClient:
    """A user shared by all tests of the worker that generate something and read no list. Called in process."""
    return await key_client(atelier, "creator")


@pytest_asyncio.fixture(scope="session")
async def reader(atelier: Studio) -> httpx.AsyncClient:
    """A user shared by all tests of the worker whose requests are refused or only read: it never owns anything. Called in
    process."""
    return await key_client(atelier, "reader")


@pytest.fixture
async def page_user(atelier: Studio) -> PageUser:
    """A new user with a browser."""
    return await new_page_user(atelier)


@pytest_asyncio.fixture(scope="session")
async def viewer(atelier: Studio) -> PageUser:
    """A user with a browser and one completed job of each kind, shared by all tests of the worker that change nothing."""
    return await new_viewer(atelier)


@pytest.fixture
async def own_listener() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on loopback that records every connection, for tests that expect none: its URL and the record."""
    connections: list[bytes] = []

    async def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(b"connected")
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    """A program of its own for one test, empty: only for tests about the first admin, settings or a restart."""
    async with running(tmp_path) as studio:
        yield studio
