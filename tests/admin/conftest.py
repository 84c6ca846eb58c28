"""An application for the administration tests. Its first user, ann@studio.example, is the admin."""

import html
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.kit import VIDEO_MODEL, ended_job, eventually, new_email
from tests.studio import Browser, Studio, running

ADMIN = "ann@studio.example"
TINY_VIDEO = {"model": VIDEO_MODEL, "resolution": "360p", "aspect_ratio": "1:1", "duration": 1}


@pytest_asyncio.fixture(scope="session")
async def shared_admin_studio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    async with running(tmp_path_factory.mktemp("admin")) as studio:
        await studio.user(ADMIN)
        yield studio


@pytest.fixture
async def admin_studio(shared_admin_studio: Studio) -> Studio:
    """The application that all administration tests share. No job is unfinished when a test begins."""

    async def unfinished() -> int:
        return len(shared_admin_studio.program.jobs.live.snapshot().unfinished)

    await eventually(unfinished, lambda count: count == 0)
    return shared_admin_studio


@pytest.fixture
async def admin(admin_studio: Studio) -> httpx.AsyncClient:
    """An API client of the admin."""
    return await admin_studio.user(ADMIN, direct=True)


class AdminBrowser:
    """A browser of the admin, in the admin section."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    async def get(self, path: str) -> httpx.Response:
        return await self.browser.get(f"/admin{path}")

    async def text(self, path: str) -> str:
        """The text of an admin page."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return main_text(answer)

    async def send(self, path: str, **form: Any) -> httpx.Response:
        return await self.browser.send_form(f"/admin{path}", form)


@pytest.fixture
async def admin_browser(admin_studio: Studio) -> AdminBrowser:
    return AdminBrowser(await admin_studio.user_in_browser(ADMIN, direct=True))


class OrdinaryUser:
    """A user who is not an admin, with an API client."""

    def __init__(self, email: str, client: httpx.AsyncClient, id: str) -> None:
        self.email = email
        self.client = client
        self.id = id

    async def video(self, prompt: str = "[stamp] a boat") -> str:
        """Request a video and return its job id."""
        answer = await self.client.post("/api/v1/generate/video", json={**TINY_VIDEO, "prompt": prompt})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def ended_video(self, prompt: str = "[stamp] a boat") -> dict[str, Any]:
        return await ended_job(self.client, await self.video(prompt))


async def new_user_of(studio: Studio, email: str) -> OrdinaryUser:
    client = await studio.user(email, direct=True)
    return OrdinaryUser(email, client, (await client.get("/api/v1/users/me")).json()["id"])


@pytest.fixture
async def bob(admin_studio: Studio) -> OrdinaryUser:
    """A new user."""
    return await new_user_of(admin_studio, new_email("bob"))


def main_text(answer: httpx.Response) -> str:
    """The text of the `main` element of a page."""
    main = answer.text.partition("<main")[2].partition("</main>")[0]
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main)))
