"""Fixtures that every test may use."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.base import log
from tests.studio import Studio, running

log.start(human=True)

# A file is run by one worker from its first test to its last. These take longest, most of it waiting for processes and
# browsers: begun first, they do not hold up the end alone.
LONG = ("kills", "journeys", "gateway/sdk", "upkeep", "watch", "api/test_fuzz", "api/test_start", "providers/simulator")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((turn for turn, part in enumerate(LONG) if f"/tests/{part}" in path), len(LONG))

    items.sort(key=turn)


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    """A fresh, empty Atelier with the simulator at full speed."""
    async with running(tmp_path) as studio:
        yield studio
