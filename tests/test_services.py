"""The services under settings that leave some of them without work, and the simulator that stands in for the providers."""

import asyncio
import threading
from pathlib import Path

from tests.kit import IMAGE_MODEL, error_of
from tests.studio import running


async def test_without_key_and_simulator_no_model_is_offered_and_everything_else_works(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR="off") as studio:
        ann = await studio.user(direct=True)
        assert (await ann.get("/api/v1/ai/models")).json()["items"] == []
        answer = await ann.post("/api/v1/generate/image", json={"model": IMAGE_MODEL, "prompt": "a"})
        assert answer.status_code in (400, 503)
        error_of(answer, answer.status_code)
        browser = await studio.user_in_browser(direct=True)
        for path in ("/", "/generate/text", "/generate/image", "/generate/video", "/library", "/jobs"):
            page = await browser.get(path)
            assert page.status_code == 200, path
            assert "results are simulated" not in page.text
        assert (await studio.direct().get("/health")).status_code == 200


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
