"""Fixtures that every test may use."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.base import log
from tests.studio import Studio, running

log.start(human=True)


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    """A fresh, empty Atelier with the simulator at full speed."""
    async with running(tmp_path) as studio:
        yield studio
