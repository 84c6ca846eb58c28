"""Generated requests to every operation of the API document, right and wrong alike.

No request may break anything, and every answer is one that the document declares. The cases are the same each time, and few
enough for every run of the suite. More of them: `FUZZ=200 .venv/bin/pytest tests/api/test_fuzz.py`.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.security.document import document
from tests.studio import Studio, running

CASES = int(os.environ.get("FUZZ", "5"))  # of each kind, for each operation
CHUNKS = 3  # of the operations, each for a worker
# A provider that fails is a 502 by contract, and the simulator fails when a prompt asks for it; no generated prompt does.
UPSTREAM = 502


@pytest_asyncio.fixture(scope="module")
async def studio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """A program of its own: the admin's operations concern all users."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    async with running(folder) as studio:
        yield studio


@pytest.mark.parametrize(
    "chunk", [pytest.param(number, marks=pytest.mark.xdist_group(f"fuzz-{number}")) for number in range(CHUNKS)]
)
async def test_no_generated_request_breaks_anything(studio: Studio, chunk: int) -> None:
    from tests.api.fuzzing import Fuzz

    admin = await studio.user("admin@studio.example")
    key = (await admin.post("/api/v1/users/me/keys", json={"name": "fuzz"})).json()["key"]
    described = await document(studio)
    names = sorted(described.operations)[chunk::CHUNKS]
    fuzz = Fuzz(studio.url, key, described, cases=CASES)
    await asyncio.to_thread(fuzz.run, names)
    assert fuzz.problems == []
    assert set(fuzz.statuses) == set(names), "an operation was left out"
    broken = {name: statuses for name, statuses in fuzz.statuses.items() if max(statuses - {UPSTREAM}) >= 500}
    assert broken == {}
    successful = [name for name, statuses in fuzz.statuses.items() if min(statuses) < 300]
    assert len(successful) > len(names) / 4, "too few requests were accepted"
    user = (await studio.client(key).get("/api/v1/users/me")).json()
    assert user["role"] == "admin", "all of this was requested by an admin until the end"
