"""One running Atelier for the whole folder, with an admin in it; every test brings its own people."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.api.kit import person
from tests.studio import Studio, running


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def atelier(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """The program at full speed; the first person in it is the admin."""
    async with running(tmp_path_factory.mktemp("security")) as studio:
        await studio.person("admin@studio.example")
        yield studio


@pytest_asyncio.fixture(loop_scope="package")
async def ann(atelier: Studio) -> httpx.AsyncClient:
    """Somebody new, signed in by token."""
    return await person(atelier, "ann")
