"""A whole Atelier for a test: the real program over real HTTP on loopback, its simulator, and clients for it."""

import asyncio
import atexit
import re
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Any, TypeVar, cast

import httpx
import msgspec
import uvicorn
from litestar import Litestar
from litestar.types import ASGIApp

from app.asgi import build, litestar_app
from app.base import clock, config
from app.db.duckdb.database import EmbeddedDatabase
from app.db.migrate import MIGRATIONS, migrate
from app.main import open_app
from app.providers.addresses import Resolver, resolve
from app.providers.simulator import app as simulator_app
from app.providers.simulator.runtime import SimulatorClock
from app.services import Application
from app.web.cookie_names import cookie_prefix
from app.web.server import HttpServer, configured, listening, serving
from tests.trust import trust

PASSWORD = "correct horse battery"
Client = TypeVar("Client", bound=httpx.AsyncClient)

_stopped: list[Litestar] = []  # the routes of programs that have stopped, which the next ones use again
_simulators: list[Litestar] = []
_new_simulator = simulator_app.litestar_app


def _simulator() -> Litestar:
    """The routes of a simulator that has stopped, or new ones."""
    stopped = next((each for each in _simulators if each.state.runtime.closed), None)
    if stopped is None:
        _simulators.append(stopped := _new_simulator())
    return stopped


simulator_app.litestar_app = _simulator


def cookie(client: httpx.AsyncClient, name: str) -> tuple[str, str] | None:
    """The full name, with the prefix of the instance, and the value of a client's cookie."""
    found = [(full, value) for full, value in client.cookies.items() if full.endswith(f"-{name}")]
    return found[0] if found else None


def session_cookie(client: httpx.AsyncClient) -> tuple[str, str]:
    """The session cookie of a client that is signed in."""
    found = cookie(client, "session")
    assert found, "not signed in"
    return found


def settings(folder: Path, **environ: str) -> config.Settings:
    """Settings for tests: as fast as possible, cheap password hashes, no throttles; `environ` changes any variable."""
    loaded = config.load(
        {
            "ATELIER_DATA_DIR": str(folder / "data"),
            "ATELIER_SIMULATOR_SPEED": "0",
            "ATELIER_WORKER_SECONDS": "0.05",
            "ATELIER_RATE_LIMITS": "off",
            "ATELIER_PORT": "0",
            **environ,
        }
    )
    return msgspec.structs.replace(loaded, password_memory_kib=64, password_passes=1)


# While a program runs in this process, temporary files stand in its data folder.
SCRATCH = gettempdir()


@cache
def _empty_database() -> Path:
    """A migrated database without rows: copying it takes a tenth of the time that migrating takes."""
    path = Path(mkdtemp(prefix="atelier-test-", dir=SCRATCH)) / "atelier.duckdb"

    async def make() -> None:
        database = EmbeddedDatabase(path)
        await migrate(database, MIGRATIONS)
        await database.close()

    with ThreadPoolExecutor(1) as thread:  # a loop of its own, whether or not the caller runs in one
        thread.submit(asyncio.run, make()).result()
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    return path


def migrated_database(path: Path) -> Path:
    """Put a migrated, empty database at `path`, where there is none yet. Blocks for a millisecond."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_empty_database(), path)
    return path


class Browser(httpx.AsyncClient):
    """A user's browser as far as HTTP goes: cookies, and the form token out of the page that was last read."""

    async def form_token(self, path: str = "/login") -> str:
        page = await self.get(path)
        found = re.search(r'name="_csrf_token" value="([^"]+)"', page.text)
        assert found, f"{path} has no form token: {page.status_code} {page.text[:300]}"
        return found[1]

    async def send_form(
        self, path: str, form: dict[str, Any] | None = None, *, token_from: str | None = None, **more: Any
    ) -> httpx.Response:
        token = await self.form_token(token_from or ("/login" if cookie(self, "session") is None else "/jobs"))
        return await self.post(path, data={**(form or {}), "_csrf_token": token}, **more)


class Studio:
    """The running program and ways to talk to it."""

    def __init__(self, program: Application, url: str, app: ASGIApp) -> None:
        self.program = program
        self.url = url
        self.app = app
        self.cookie_prefix = cookie_prefix(program.key, https=program.settings.https)
        self._clients: list[httpx.AsyncClient] = []

    def client(self, token: str | None = None, **options: Any) -> httpx.AsyncClient:
        """An API client, with a bearer token if one is given."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._opened(httpx.AsyncClient(headers=headers, **self._wire(options)))

    def direct(self, token: str | None = None, *, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """Like `client`, but calls the application in this process: no socket and no HTTP parser, a third of the time.
        For tests about answers; not for timeouts, aborted requests, or streams that are read while they are written.
        `address` is the client's."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._opened(httpx.AsyncClient(headers=headers, **self._in_process(address)))

    def browser(self) -> Browser:
        return self._opened(Browser(**self._wire({})))

    def direct_browser(self, *, address: str = "127.0.0.1") -> Browser:
        """Like `browser`, but calls the application in this process; see `direct`."""
        return self._opened(Browser(**self._in_process(address)))

    def _wire(self, options: dict[str, Any]) -> dict[str, Any]:
        # The server closes a connection that was idle for five seconds; a client must not use such a one again.
        limits = httpx.Limits(keepalive_expiry=1)
        return {
            "base_url": self.url,
            "timeout": 300,
            "trust_env": False,
            "verify": trust(),
            "limits": limits,
            **options,
        }

    def _in_process(self, address: str) -> dict[str, Any]:
        transport = httpx.ASGITransport(cast(Any, self.app), raise_app_exceptions=False, client=(address, 50_000))
        return {"base_url": self.url, "transport": transport}

    def _opened(self, client: Client) -> Client:
        self._clients.append(client)
        return client

    async def user(self, email: str = "ann@studio.example", *, direct: bool = False) -> httpx.AsyncClient:
        """An API client with the access token of a registered user."""
        anonymous = self.direct()
        await anonymous.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
        tokens = await anonymous.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
        assert tokens.status_code == 200, tokens.text
        return (self.direct if direct else self.client)(tokens.json()["access_token"])

    async def user_in_browser(self, email: str = "ann@studio.example", *, direct: bool = False) -> Browser:
        """The browser of a registered user who is signed in."""
        browser = self.direct_browser() if direct else self.browser()
        await browser.send_form("/register", {"email": email, "password": PASSWORD, "name": "Ann Kern"})
        if cookie(browser, "session") is None:
            answer = await browser.send_form("/login", {"email": email, "password": PASSWORD})
            assert cookie(browser, "session"), answer.text
        return browser

    async def finished(self, client: httpx.AsyncClient, job_id: str, seconds: float = 300) -> dict[str, Any]:
        """Wait until the job has ended and return it."""
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
async def served_simulator(folder: Path, clock: SimulatorClock | None = None) -> AsyncIterator[str]:
    """A simulator of its own in this event loop, at full speed, or at the usual speed by a clock of its own: its origin. For
    tests in which the provider's data must not lie in the data folder."""
    simulator = simulator_app.build(folder, 0.0 if clock is None else 1.0, None, clock=clock)
    listener = listening("127.0.0.1", 0)
    config = uvicorn.Config(simulator, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=1)
    server = HttpServer(config)
    task = asyncio.create_task(server.serve([listener]))
    assert await serving(server, task), "the simulator did not start"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        simulator.state.runtime.abort_requests()
        server.should_exit = True
        await task


@asynccontextmanager
async def running(
    folder: Path, *, timer: Callable[[], float] = clock.steady, resolver: Resolver = resolve, **environ: str
) -> AsyncIterator[Studio]:
    """Start a program of its own in this event loop, stop it at the end. Takes a tenth of a second of processor time: use the
    fixture `atelier` unless the test needs its own settings, the first admin, or a restart."""
    wanted = settings(folder, **environ)
    migrated_database(wanted.data_dir / "atelier.duckdb")
    async with open_app(wanted, timer=timer, resolver=resolver) as program:
        listener = listening("127.0.0.1", wanted.port)
        routes = _stopped.pop() if _stopped else litestar_app()
        app = build(program, routes)
        server = HttpServer(
            configured(app, program.settings),
            program.chat.close,
        )
        task = asyncio.create_task(server.serve([listener]))
        assert await serving(server, task), "the server did not start"
        if program.provider_accounts.simulated:  # the program itself waits for its models for two seconds at most
            async with asyncio.timeout(300):
                await program.catalog.filled.wait()
        studio = Studio(program, f"http://127.0.0.1:{listener.getsockname()[1]}", app)
        try:
            yield studio
        finally:
            await studio.close()
            server.should_exit = True
            await task
            _stopped.append(routes)
