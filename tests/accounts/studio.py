"""An application that only has the accounts feature: real database, real routes, and a clock that tests control."""

import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast

import httpx
from litestar import Litestar, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from app.accounts import api, pages
from app.accounts.guards import AnyRequest, Identify, SignedIn, admin, current_user, signed_in
from app.accounts.passwords import Passwords
from app.accounts.service import Accounts
from app.base import clock as clocks
from app.base import config
from app.base.metrics import Metrics
from app.db.database import Database
from app.db.transaction import Transaction
from app.web.access_log import AccessLog
from app.web.cookie_names import CookieNames, cookie_prefix
from app.web.errors import HANDLERS
from app.web.openapi import COMPONENTS
from app.web.security_headers import SecurityHeaders

PASSWORD = "correct horse"
SECRET = "the secret that signs access tokens in these tests"
TABLES = ("audit", "api_keys", "refresh_tokens", "sessions", "users")
Response = httpx.Response


class Clock:
    """Naive UTC time that only changes when a test advances it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 9, 30)

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        """The current time in seconds, for rate limiting."""
        return clocks.unix(self.now)

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


class RecordingPasswords(Passwords):
    """Passwords with weak parameters that records the password length and the thread of each comparison."""

    def __init__(self, *, memory_kib: int = 64, passes: int = 1) -> None:
        super().__init__(memory_kib=memory_kib, passes=passes)
        self.compared: list[int] = []
        self.threads: set[str] = set()

    def matches(self, password_hash: str, password: str) -> bool:
        self.compared.append(len(password))
        self.threads.add(threading.current_thread().name)
        return super().matches(password_hash, password)


def clear(tx: Transaction) -> None:
    """Delete all rows of accounts, so that the next account is the first one."""
    for table in TABLES:
        tx.execute(table, f"delete from {table}")  # noqa: S608 (constant names)


def accounts_over(database: Database, clock: Clock, passwords: Passwords | None = None, **settings: str) -> Accounts:
    """The service over a migrated database, with cheap password hashes."""
    return Accounts(
        database,
        config.load({"ATELIER_RATE_LIMITS": "off", **settings}),
        SECRET,
        clock=clock,
        timer=clock.seconds,
        passwords=passwords or RecordingPasswords(),
    )


class Studio:
    """The application under test, with helpers. `client` is an HTTP client for it."""

    def __init__(self, database: Database, **settings: str) -> None:
        self.database = database
        self.clock = Clock()
        self.app = application()
        self._settings = settings
        self.start()
        self.https = self.accounts.settings.https
        self.cookie_prefix = cookie_prefix(SECRET, https=self.https)
        named = CookieNames(self.app, self.cookie_prefix, https=self.https)
        site = SecurityHeaders(named, https=self.https)
        self._site = AccessLog(site, Metrics())
        self._clients: list[httpx.AsyncClient] = []
        self.client = self.browser()

    def start(self, passwords: RecordingPasswords | None = None) -> None:
        """Start the service with empty caches, as after a restart."""
        self.passwords = passwords or RecordingPasswords()
        self.accounts = accounts_over(self.database, self.clock, self.passwords, **self._settings)
        self.app.state.accounts = self.accounts

    def restart(self, passwords: RecordingPasswords | None = None) -> None:
        self.accounts.close()
        self.start(passwords)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()
        self.accounts.close()

    def browser(self) -> httpx.AsyncClient:
        """Another client, with its own cookies."""
        browser = httpx.AsyncClient(
            transport=httpx.ASGITransport(cast(Any, self._site)),
            base_url="https://studio.test" if self.https else "http://studio.test",
        )
        self._clients.append(browser)
        return browser

    async def call(self, method: str, path: str, body: Any = None, *, bearer: str | None = None) -> Response:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return await self.client.request(method, f"/api/v1{path}", json=body, headers=headers)

    async def register(self, email: str = "ada@example.org", password: str = PASSWORD, **more: Any) -> dict[str, Any]:
        response = await self.call("POST", "/auth/register", {"email": email, "password": password, **more})
        assert response.status_code == 201, response.text
        user: dict[str, Any] = response.json()
        return user

    async def login(self, email: str = "ada@example.org", password: str = PASSWORD) -> dict[str, Any]:
        response = await self.call("POST", "/auth/login", {"email": email, "password": password})
        assert response.status_code == 200, response.text
        tokens: dict[str, Any] = response.json()
        return tokens

    async def bearer(self, email: str = "ada@example.org", password: str = PASSWORD) -> str:
        return str((await self.login(email, password))["access_token"])

    async def key(self, bearer: str, name: str = "laptop", **more: Any) -> str:
        response = await self.call("POST", "/users/me/keys", {"name": name, **more}, bearer=bearer)
        assert response.status_code == 201, response.text
        return str(response.json()["key"])

    async def status(self, bearer: str) -> int:
        """The status of a request with this bearer token: 200 if it is valid, else 401."""
        return (await self.call("GET", "/users/me", bearer=bearer)).status_code

    async def sign_in_browser(self, email: str = "ada@example.org", password: str = PASSWORD) -> httpx.AsyncClient:
        """A browser with a page session."""
        browser = self.browser()
        token = await self.accounts.sign_in.start_page_session(email, password, "Firefox")
        browser.cookies.set(f"{self.cookie_prefix}session", token)
        return browser


Start = Callable[..., Awaitable[Studio]]


def error_code(response: Response) -> str:
    return str(response.json()["error"]["code"])


def field_errors(response: Response) -> dict[str, str]:
    """The error of each field that has one."""
    found: dict[str, str] = response.json()["error"]["details"]["fields"]
    return found


@get("/who", include_in_schema=False)
async def who(request: AnyRequest) -> dict[str, str | None]:
    user = current_user(request)
    return {"email": user.email if user else None, "method": request.auth.method if request.auth else None}


@get("/private", guards=[signed_in], include_in_schema=False)
async def private(request: SignedIn) -> str:
    return request.user.email


@get(["/media/image", "/v1/models"], guards=[signed_in], include_in_schema=False)
async def image(request: SignedIn) -> str:
    return request.user.email


@get("/metrics", guards=[admin], include_in_schema=False)
async def metrics(request: SignedIn) -> str:
    return request.user.email


@functools.cache
def application() -> Litestar:
    """Built once, because building is slow; `state.accounts` is the service of the current test."""
    return Litestar(
        [*api.routes, *pages.routes, who, private, image, metrics],
        middleware=[Identify()],
        exception_handlers=HANDLERS,
        dependencies={"accounts": Provide(lambda: application().state.accounts, sync_to_thread=False)},
        state=State({"accounts": None}),
        openapi_config=OpenAPIConfig(
            "Atelier",
            "1",
            path="/openapi",
            components=COMPONENTS,
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
    )


@asynccontextmanager
async def studio_over(database: Database, **settings: str) -> AsyncIterator[Studio]:
    studio = Studio(database, **settings)
    try:
        yield studio
    finally:
        await studio.close()
