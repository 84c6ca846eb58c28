"""A small studio with accounts and nothing else: the real database, the real routes, a clock that tests move."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
from litestar import Litestar, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from app.accounts import api, pages
from app.accounts.guards import AnyRequest, Identify, SignedIn, admin, person, signed_in
from app.accounts.passwords import Passwords
from app.accounts.service import Accounts
from app.base import config
from app.base.database import Database
from app.web.errors import HANDLERS
from app.web.headers import Headers
from app.web.openapi import COMPONENTS
from tests.studio import migrated_database

MIGRATIONS = Path(__file__).parent.parent.parent / "migrations"
PASSWORD = "correct horse"
Answer = httpx.Response


class Clock:
    """UTC without a zone, standing still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 9, 30)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **duration: float) -> None:
        self.now += timedelta(**duration)


class Studio:
    """What a test has at hand. `client` answers as the whole program would."""

    def __init__(self, database: Database, accounts: Accounts, app: Litestar, clock: Clock, https: bool) -> None:
        self.database = database
        self.accounts = accounts
        self.app = app
        self.clock = clock
        self._https = https
        self.client = self.browser()

    def browser(self) -> httpx.AsyncClient:
        """Another client, with cookies of its own."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(cast(Any, Headers(self.app, https=self._https))),
            base_url="https://studio.test" if self._https else "http://studio.test",
        )

    async def call(self, method: str, path: str, body: Any = None, *, bearer: str | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return await self.client.request(method, f"/api/v1{path}", json=body, headers=headers)

    async def register(self, email: str = "ada@example.org", password: str = PASSWORD, **more: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/auth/register", {"email": email, "password": password, **more})
        assert answer.status_code == 201, answer.text
        user: dict[str, Any] = answer.json()
        return user

    async def login(self, email: str = "ada@example.org", password: str = PASSWORD) -> dict[str, Any]:
        answer = await self.call("POST", "/auth/login", {"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def bearer(self, email: str = "ada@example.org", password: str = PASSWORD) -> str:
        return str((await self.login(email, password))["access_token"])

    async def key(self, bearer: str, name: str = "laptop", **more: Any) -> str:
        answer = await self.call("POST", "/users/me/keys", {"name": name, **more}, bearer=bearer)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    async def status(self, bearer: str) -> int:
        """How the API answers this bearer: 200 while it holds, 401 when it does not."""
        return (await self.call("GET", "/users/me", bearer=bearer)).status_code

    async def sign_in_browser(self, email: str = "ada@example.org", password: str = PASSWORD) -> httpx.AsyncClient:
        """A browser with a page session."""
        browser = self.browser()
        token = await self.accounts.sign_in_page(email, password, "Firefox")
        browser.cookies.set("__Host-session" if self._https else "session", token)
        return browser


Start = Callable[..., Awaitable[Studio]]


def why(answer: Answer) -> str:
    """The code of an error."""
    return str(answer.json()["error"]["code"])


def fields(answer: Answer) -> dict[str, str]:
    """What is wrong with which field."""
    found: dict[str, str] = answer.json()["error"]["details"]["fields"]
    return found


@get("/who", include_in_schema=False)
async def who(request: AnyRequest) -> dict[str, str | None]:
    user = person(request)
    return {"email": user.email if user else None, "how": request.auth.how if request.auth else None}


@get("/desk", guards=[signed_in], include_in_schema=False)
async def desk(request: SignedIn) -> str:
    return request.user.email


@get(["/media/picture", "/v1/models"], guards=[signed_in], include_in_schema=False)
async def picture(request: SignedIn) -> str:
    return request.user.email


@get("/metrics", guards=[admin], include_in_schema=False)
async def metrics(request: SignedIn) -> str:
    return request.user.email


async def accounts_over(folder: Path, clock: Clock, passwords: Passwords | None = None, **settings: str) -> Accounts:
    """The service over a new database."""
    database = Database(migrated_database(folder / "atelier.duckdb"))
    environment = {"ATELIER_RATE_LIMITS": "off", "ATELIER_DATA_DIR": str(folder), **settings}
    return Accounts(
        database,
        config.load(environment),
        "a secret that is long enough for anybody",
        clock=clock,
        passwords=passwords or Passwords(memory_kib=64, passes=1),
    )


@functools.cache
def program() -> Litestar:
    """Built once, because that takes longer than most tests; `state.accounts` is the studio's of the running test."""
    return Litestar(
        [*api.routes, *pages.routes, who, desk, picture, metrics],
        middleware=[Identify()],
        exception_handlers=HANDLERS,
        dependencies={"accounts": Provide(lambda: program().state.accounts, sync_to_thread=False)},
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
async def studio_in(folder: Path, *, passwords: Passwords | None = None, **settings: str) -> AsyncIterator[Studio]:
    clock = Clock()
    accounts = await accounts_over(folder, clock, passwords, **settings)
    app = program()
    app.state.accounts = accounts
    studio = Studio(accounts._database, accounts, app, clock, accounts.settings.https)
    try:
        yield studio
    finally:
        await studio.client.aclose()
        accounts.close()
        await accounts._database.close()
