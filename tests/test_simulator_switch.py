"""The simulator that stands in for the providers runs only while it is needed."""

import asyncio
import threading
from pathlib import Path

from tests.studio import running


async def test_the_simulator_stops_with_the_program(tmp_path: Path) -> None:
    def parts() -> set[object]:
        """The simulator's server, and the threads in which it works."""
        tasks = {task for task in asyncio.all_tasks() if task.get_name() == "simulator"}
        return tasks | {thread for thread in threading.enumerate() if thread.name.startswith("simulator")}

    others = parts()  # of the shared application of this test process
    async with running(tmp_path) as studio:
        ann = await studio.user(direct=True)
        assert (await ann.get("/api/v1/ai/models")).json()["items"]
        assert parts() > others
    assert parts() <= others
