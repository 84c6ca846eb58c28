"""A database that another process has open: each command reports it in one line."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.maintenance.conftest import Command

pytestmark = pytest.mark.xdist_group("maintenance")  # one worker creates the shared fixtures


@asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """The database, open in another process until the end of the block."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(database), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    assert await process.stdout.readline() == b"open\n"
    try:
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def test_a_database_that_another_process_has_open_is_reported_in_one_line(data: Path, command: Command) -> None:
    message = "another process has the database atelier.duckdb open: stop it first"
    async with locked(data / "atelier.duckdb"):
        for name in ("serve", "doctor", "migrate"):
            outcome = await command(data.parent, name)
            assert outcome.code != 0, name
            [line] = outcome.out + outcome.err
            assert message in line
    assert (await command(data.parent, "doctor")).code == 0, "once it is closed everything is as it was"
