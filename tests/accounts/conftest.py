"""The studio as a fixture; `start` makes one with other settings."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from .studio import Start, Studio, studio_in


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Studio:
            return await stack.enter_async_context(studio_in(tmp_path, **settings))

        yield start


@pytest.fixture
async def studio(start: Start) -> Studio:
    return await start()
