"""A whole Atelier for a test: the real program over real HTTP on loopback, its simulator, and clients that know the way."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from app.base import config
from app.main import Program, build, opened
from app.web.server import Server, configured, listening, serving
from tests.trust import trust

PASSWORD = "correct horse battery"


def settings(folder: Path, **environ: str) -> config.Settings:
    """Settings for tests: as fast as possible, no throttles; `environ` changes any of them."""
    return config.load(
        {
            "ATELIER_DATA_DIR": str(folder / "data"),
            "ATELIER_SIMULATOR_SPEED": "0",
            "ATELIER_WORKER_SECONDS": "0.05",
            "ATELIER_RATE_LIMITS": "off",
            "ATELIER_PORT": "0",
            **environ,
        }
    )


class Browser(httpx.AsyncClient):
    """A person's browser as far as HTTP goes: cookies, and the form token out of the page that was last read."""

    async def form_token(self, path: str = "/login") -> str:
        page = await self.get(path)
        found = re.search(r'name="_csrf_token" value="([^"]+)"', page.text)
        assert found, f"{path} has no form token: {page.status_code} {page.text[:300]}"
        return found[1]

    async def send_form(
        self, path: str, form: dict[str, Any] | None = None, *, token_from: str | None = None, **more: Any
    ) -> httpx.Response:
        token = await self.form_token(token_from or ("/login" if "session" not in self.cookies else "/jobs"))
        return await self.post(path, data={**(form or {}), "_csrf_token": token}, **more)


class Studio:
    """The running program and ways to talk to it."""

    def __init__(self, program: Program, url: str) -> None:
        self.program = program
        self.url = url
        self._clients: list[httpx.AsyncClient] = []

    def client(self, token: str | None = None, **options: Any) -> httpx.AsyncClient:
        """A program: JSON, and a bearer token when it has one."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=30, trust_env=False, verify=trust(), **options
        )
        self._clients.append(client)
        return client

    def browser(self) -> Browser:
        browser = Browser(base_url=self.url, timeout=30, trust_env=False, verify=trust())
        self._clients.append(browser)
        return browser

    async def person(self, email: str = "ann@studio.example") -> httpx.AsyncClient:
        """A registered person's program, signed in by token."""
        anonymous = self.client()
        await anonymous.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
        tokens = await anonymous.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
        assert tokens.status_code == 200, tokens.text
        return self.client(tokens.json()["access_token"])

    async def person_in_browser(self, email: str = "ann@studio.example") -> Browser:
        """A registered person, signed in by cookie."""
        browser = self.browser()
        await browser.send_form("/register", {"email": email, "password": PASSWORD, "name": "Ann Kern"})
        if "session" not in browser.cookies:
            answer = await browser.send_form("/login", {"email": email, "password": PASSWORD})
            assert "session" in browser.cookies, answer.text
        return browser

    async def finished(self, client: httpx.AsyncClient, job_id: str, seconds: float = 30) -> dict[str, Any]:
        """The job once it has ended."""
        async with asyncio.timeout(seconds):
            while True:
                job: dict[str, Any] = (await client.get(f"/api/v1/jobs/{job_id}")).json()
                if job["status"] in ("completed", "failed", "cancelled"):
                    return job
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


@asynccontextmanager
async def running(folder: Path, **environ: str) -> AsyncIterator[Studio]:
    """Start the program in this loop, stop it at the end."""
    async with opened(settings(folder, **environ)) as program:
        listener = listening("127.0.0.1", 0)
        server = Server(
            configured(build(program), program.settings),
            program.chat.close,
        )
        task = asyncio.create_task(server.serve([listener]))
        assert await serving(server, task), "the server did not start"
        studio = Studio(program, f"http://127.0.0.1:{listener.getsockname()[1]}")
        try:
            yield studio
        finally:
            await studio.close()
            server.should_exit = True
            await task
