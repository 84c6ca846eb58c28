"""Fixtures that every test may use, and the list of promises that are known not to be kept yet."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.base import log
from tests.studio import Studio, running

log.start(human=True)

# Tests of promises that the product does not keep yet, each with what is open. Whoever mends one takes its line out.
OPEN = {
    "tests/api/test_full_disk.py": "half-written pictures keep the room that the database needs; uploads answer 500",
    "tests/api/test_start.py::test_a_broken_database_file": "a database cut in the middle is opened all the same",
    "tests/api/test_fuzz.py": "what schemathesis finds is not settled",
    "tests/api/test_pages.py": "wording of registration, bounds of numbers, the banner on signed-out pages",
    "tests/accounts/test_family_model.py": "runs over its own time on a busy machine",
    "tests/jobs/test_state_machine.py": "the model of cancels that come late is not finished",
    "tests/jobs/test_webhooks.py": "runs over its own time on a busy machine",
    "tests/watch/": "runs over its own time on a busy machine",
    "tests/journeys/test_restart.py": "a cost that comes after a cancel and a kill",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for prefix, reason in OPEN.items():
            if item.nodeid.startswith(prefix):
                leaks = prefix == "tests/api/test_full_disk.py"  # and fails its neighbours
                mark = pytest.mark.skip(reason=reason) if leaks else pytest.mark.xfail(reason=reason, strict=False)
                item.add_marker(mark)


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    """A fresh, empty Atelier with the simulator at full speed."""
    async with running(tmp_path) as studio:
        yield studio
