"""The services under settings that leave some of them without work."""

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
