"""A real browser for the journeys: the system's Chromium through Playwright, one for each worker, a new context per test.

Everything that a journey waits for is a state of the page or an event, with a bound that only a broken product meets.
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, ViewportSize, async_playwright, expect

from app.providers.simulator.runtime import Runtime
from tests.chat.pace import Pace, paced
from tests.kit import new_email
from tests.studio import PASSWORD, Studio, session_cookie

BOUND: Final = 300_000  # milliseconds; only a broken product takes this long
AXE: Final = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
ULTRAWIDE: Final = ViewportSize(width=2560, height=1200)
WIDE: Final = ViewportSize(width=1440, height=900)
PHONE: Final = ViewportSize(width=360, height=780)

ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    # Fewer processes: a third less processor time for each page.
    "--in-process-gpu",
    "--renderer-process-limit=1",
    "--disable-site-isolation-trials",
    # Scripts run for milliseconds only: to optimise them costs more than it saves.
    "--js-flags=--no-opt",
)

# Keeps every notice: a page shows one for a few seconds only.
RECORD_NOTICES: Final = """addEventListener("DOMContentLoaded", () => {
  window.notices = [];
  const notice = document.getElementById("notice");
  if (!notice) return;
  const record = () => notice.querySelectorAll("p").forEach((line) => window.notices.push(line.textContent));
  record();
  new MutationObserver(record).observe(notice, { childList: true, subtree: true });
})"""

# What axe finds, once the colors have come to rest that change with the scheme. Without rules it checks all of them.
RUN_AXE: Final = """async (rules) => {
  // A window in the background may get no animation frame and never finish a transition by itself.
  await new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); setTimeout(done, 1000); });
  for (const it of document.getAnimations()) if (it instanceof CSSTransition) it.finish();
  const only = rules ? { runOnly: { type: "rule", values: rules } } : {};
  const { violations } = await axe.run({ resultTypes: ["violations"], ...only });
  return violations.map((it) => `${it.id} ${it.nodes.slice(0, 3).map((node) => node.target)}`);
}"""

# All that another scheme can change: it has other colors and nothing else (tests/templates).
COLOR_RULES: Final = ["color-contrast", "link-in-text-block"]

expect.set_options(timeout=BOUND)


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail("CI must have Chromium (Debian package chromium)")
    pytest.skip("no Chromium on this machine (Debian package chromium)")


@pytest_asyncio.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The worker's browser, shared by all journeys of the worker."""
    executable = _chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=ARGUMENTS, timeout=BOUND)
        yield browser
        await browser.close()


@pytest.fixture
async def pace(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pace]:
    """The simulator streams the answer to a prompt with [slow] in it at the pace the test sets."""
    async with paced(monkeypatch) as pace:
        yield pace


@pytest.fixture
def videos(monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Event]:
    """The simulator sends no video before this event is set, so that jobs stay in progress."""
    released = asyncio.Event()
    render_once = Runtime.render_once

    async def held(runtime: Runtime, *args: Any, **kwargs: Any) -> Any:
        await released.wait()
        return await render_once(runtime, *args, **kwargs)

    monkeypatch.setattr(Runtime, "render_once", held)
    yield released
    released.set()


class Window:
    """A browser window, and every problem that occurs in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))
        page.on("console", self._console)
        page.on("request", lambda request: self._request(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "the server responded with a status of 4" not in message.text:
            self.problems.append(f"console: {message.text}")

    def _request(self, url: str) -> None:
        if not url.startswith((self.url, "blob:", "data:")):
            self.problems.append(f"a request to another origin: {url}")

    async def go(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def register(self, email: str | None = None) -> None:
        """Create an account and be signed in, by the form."""
        await self.go("/register")
        await self.page.fill("input[name=name]", "Ann Kern")
        await self.page.fill("input[name=email]", email or new_email())
        await self.page.fill("input[name=password]", PASSWORD)
        await self.page.click("main button:not([type=button])")
        await self.page.wait_for_url(self.url + "/")

    async def sign_in(self, email: str, password: str = PASSWORD) -> None:
        """By the requests of the form, without its page, which would take ten times as long."""
        form = await (await self.page.request.get(f"{self.url}/login")).text()
        found = re.search(r'name="_csrf_token" value="([^"]+)"', form)
        assert found
        values = {"email": email, "password": password, "_csrf_token": found[1]}
        answer = await self.page.request.post(f"{self.url}/login", form=values)
        assert answer.url == f"{self.url}/", answer.status

    async def notified(self, text: str) -> None:
        """Wait until a notice with this text has been shown on the page."""
        await self.page.wait_for_function("text => window.notices?.some((it) => it.includes(text))", arg=text)

    async def overflow(self, label: str) -> list[str]:
        """The page is not wider than its window, or why it is."""
        viewport = self.page.viewport_size
        assert viewport
        width = await self.page.evaluate("document.documentElement.scrollWidth")
        return [f"{label} is {width} wide at {viewport['width']}"] if width > viewport["width"] else []

    async def axe(self, label: str) -> list[str]:
        """Every accessibility problem of the page as it stands, in the dark and in the light scheme."""
        found = []
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE)
        async with asyncio.timeout(BOUND / 1000):  # Playwright has no bound for what a page evaluates
            await self.page.emulate_media(color_scheme="dark")
            found += [f"{label}, dark: {it}" for it in await self.page.evaluate(RUN_AXE)]
            await self.page.emulate_media(color_scheme="light")
            found += [f"{label}, light: {it}" for it in await self.page.evaluate(RUN_AXE, COLOR_RULES)]
        return found

    async def examine(self, label: str, *viewports: ViewportSize) -> list[str]:
        """Overflow and accessibility problems at each of these sizes."""
        found = []
        for viewport in viewports:
            await self.page.set_viewport_size(viewport)
            found += await self.overflow(label)
            found += await self.axe(f"{label} at {viewport['width']}")
        return found


@asynccontextmanager
async def open_window(
    chromium: Browser, studio: Studio, user: httpx.AsyncClient | None = None, *, url: str = "", **options: Any
) -> AsyncIterator[Window]:
    """A window of a new browser context, which has the session of `user` if one is given. `url` is that of a proxy."""
    url = url or studio.url
    context = await chromium.new_context(viewport=options.pop("viewport", WIDE), **options)
    context.set_default_timeout(BOUND)
    try:
        if user is not None:
            name, value = session_cookie(user)
            await context.add_cookies([{"name": name, "value": value, "url": url, "httpOnly": True}])
        await context.add_init_script(RECORD_NOTICES)
        yield Window(await context.new_page(), url)
    finally:
        await context.close()


async def new_browser_user(studio: Studio, name: str = "ann", *, admin: bool = False) -> tuple[str, httpx.AsyncClient]:
    """The email of a new user and a client with a session cookie, for `open_window`."""
    email = new_email(name)
    client = await studio.user_in_browser(email, direct=True)
    if admin:
        await studio.program.accounts.users.promote(email)
    return email, client
