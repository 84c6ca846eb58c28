"""A real browser for the journeys: the system's Chromium through Playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.studio import PASSWORD, Studio, running

expect.set_options(timeout=20_000)

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 360, "height": 780}


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail("CI must have Chromium (Debian package chromium)")
    pytest.skip("no Chromium on this machine (Debian package chromium)")


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    executable = _chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        await browser.close()


@pytest.fixture
async def slow_studio(tmp_path: Path) -> AsyncIterator[Studio]:
    """An Atelier whose simulator takes its time, so that unfinished states can be seen."""
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="0.25", ATELIER_WORKER_SECONDS="0.2") as studio:
        yield studio


class Visit:
    """A browser window and everything that went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.troubles: list[str] = []
        page.on("pageerror", lambda error: self.troubles.append(f"script error: {error}"))
        page.on("console", self._console)
        page.on("requestfinished", lambda request: self._origin(request.url))

    def _console(self, message: Any) -> None:
        if message.type == "error" and "the server responded with a status of 4" not in message.text:
            self.troubles.append(f"console: {message.text}")

    def _origin(self, url: str) -> None:
        if not url.startswith((self.url, "blob:", "data:")):
            self.troubles.append(f"another origin was asked: {url}")

    async def go(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def register(self, email: str = "ann@studio.example") -> None:
        await self.go("/register")
        await self.page.fill("input[name=name]", "Ann Kern")
        await self.page.fill("input[name=email]", email)
        await self.page.fill("input[name=password]", PASSWORD)
        await self.page.click("main button:not([type=button])")
        await self.page.wait_for_url(self.url + "/")


@asynccontextmanager
async def visit(chromium: Browser, studio: Studio, **options: Any) -> AsyncIterator[Visit]:
    context: BrowserContext = await chromium.new_context(viewport=options.pop("viewport", WIDE), **options)
    context.set_default_timeout(20_000)
    try:
        yield Visit(await context.new_page(), studio.url)
    finally:
        await context.close()
