"""Fixtures that every test may use, and how the files are spread over the workers."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from app.base import log
from tests.api.kit import person
from tests.studio import Studio, running

log.start(human=True)

# One worker runs a file from its first test to its last, so the files that take longest are begun first. A test that has
# an xdist_group of its own is run wherever a worker is free.
SLOW_FIRST = (
    "rules/test_style",
    "crash",
    "kills",
    "journeys",
    "gateway/sdk",
    "upkeep",
    "watch",
    "api/test_fuzz",
    "api/test_start",
    "providers/simulator",
)


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
        await studio.person("admin@studio.example")
        yield studio


@pytest.fixture
async def ann(atelier: Studio) -> httpx.AsyncClient:
    """An API client of a new user."""
    return await person(atelier, "ann")


@pytest.fixture
async def bob(atelier: Studio) -> httpx.AsyncClient:
    """An API client of another new user."""
    return await person(atelier, "bob")


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    """A program of its own for one test, empty: only for tests about the first admin, settings or a restart."""
    async with running(tmp_path) as studio:
        yield studio
