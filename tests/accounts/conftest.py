"""Fixtures: the accounts application; `start` builds one with other settings."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from app.db.duckdb.database import EmbeddedDatabase
from tests.studio import migrated_database

from .studio import Start, Studio, clear, studio_over


@pytest_asyncio.fixture(scope="session")
async def shared_database(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedDatabase]:
    """One database for all tests of the worker: opening one takes far longer than clearing it."""
    database = EmbeddedDatabase(migrated_database(tmp_path_factory.mktemp("accounts") / "atelier.duckdb"))
    yield database
    await database.close()


@pytest.fixture
async def database(shared_database: EmbeddedDatabase) -> EmbeddedDatabase:
    """The shared database without any row of accounts."""
    await shared_database.write(clear)
    return shared_database


@pytest.fixture
async def start(database: EmbeddedDatabase) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Studio:
            return await stack.enter_async_context(studio_over(database, **settings))

        yield start


@pytest.fixture
async def studio(start: Start) -> Studio:
    return await start()
