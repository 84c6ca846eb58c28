"""The headers of every response, whatever the route, the user or the failure."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.kit import Cases, generated_image
from tests.pages import new_page_user
from tests.security.headers import header_problems, policy
from tests.security.routes import SAFE_METHODS, routes
from tests.studio import PASSWORD, Browser, Studio, running


class Visitors:
    """A user and an admin, each with a browser and an API client, and a job and an asset of the user."""

    def __init__(self, browser: Browser, client: httpx.AsyncClient, admin_browser: Browser, admin: httpx.AsyncClient):
        self.browser, self.client = browser, client
        self.admin_browser, self.admin = admin_browser, admin
        self.job = ""
        self.asset = ""

    def id_for(self, path: str) -> str:
        return self.asset if re.search(r"/(media|library|assets)/", path) else self.job


@pytest_asyncio.fixture(scope="module")
async def visitors(atelier: Studio) -> Visitors:
    user = await new_page_user(atelier, "headers")
    admin_browser = await atelier.user_in_browser("admin@studio.example", direct=True)
    token = (await atelier.program.accounts.sign_in.start_token_session("admin@studio.example", PASSWORD)).access_token
    key = await atelier.direct(token).post("/api/v1/users/me/keys", json={"name": "headers"})
    found = Visitors(user.browser, user.client, admin_browser, atelier.direct(key.json()["key"]))
    job = await generated_image(found.client)
    found.job, found.asset = job["id"], job["assets"][0]["id"]
    return found


async def test_every_route_sends_the_headers_to_every_visitor(atelier: Studio, visitors: Visitors) -> None:
    """Without a session on every route; as user and as admin, by cookie and by key, on every route that only shows."""
    anonymous, problems, statuses = atelier.direct(), [], set()
    everyone = [anonymous, visitors.browser, visitors.client, visitors.admin_browser, visitors.admin]
    for route in routes():
        path = route.at(id=visitors.id_for(route.path))
        for visitor in everyone if route.method in SAFE_METHODS else [anonymous]:
            response = await visitor.request(route.method, path)
            statuses.add(response.status_code)
            problems += [f"{route} ({response.status_code}): {problem}" for problem in header_problems(response)]
    assert problems == []
    assert {200, 303, 401, 403, 404} <= statuses


FAILURES: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/no/such/page", {}, 404),
    ("GET", "/api/v1/nothing", {}, 404),
    ("GET", "/static/css/none.css", {}, 404),
    ("GET", "/static/%00", {}, 404),
    ("DELETE", "/login", {}, 405),
    ("PATCH", "/api/v1/jobs", {}, 405),
    ("POST", "/static/css/base.css", {}, 405),
    ("TRACE", "/login", {}, 405),
    ("OPTIONS", "/login", {}, 204),
    ("HEAD", "/login", {}, 200),
    ("POST", "/login", {"content": b"x=1"}, 403),
    ("POST", "/login", {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
    ("POST", "/api/v1/auth/login", {"content": b"{"}, 400),
    ("POST", "/api/v1/auth/login", {"content": b'"' + b"x" * 100_000 + b'"'}, 413),
    ("GET", "/jobs", {"headers": {"HX-Request-Type": "partial"}}, 401),
]


async def test_every_failure_carries_the_headers(atelier: Studio) -> None:
    """Over real connections: the server itself is part of what could add or lose a header."""
    client = atelier.client()
    with Cases() as cases:
        for method, path, more, status in FAILURES:
            with cases.case(method, path, status):
                response = await client.request(method, path, **more)
                assert response.status_code == status
                assert list(header_problems(response)) == []


async def test_the_server_names_neither_itself_nor_its_version(atelier: Studio) -> None:
    client = atelier.client()
    for path in ("/login", "/api/v1/jobs", "/nothing", "/static/css/base.css", "/health"):
        response = await client.get(path)
        assert list(header_problems(response)) == []
        for name in ("uvicorn", "litestar", "duckdb", "python"):
            assert name not in str(response.headers).lower()


async def fail(*_: object, **__: object) -> None:
    raise RuntimeError


async def test_a_bug_carries_the_headers(atelier: Studio, visitors: Visitors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atelier.program.jobs, "newest", fail)
    for visitor, path in ((visitors.client, "/api/v1/jobs"), (visitors.browser, "/jobs")):
        response = await visitor.get(path)
        assert response.status_code == 500
        assert list(header_problems(response)) == []


async def test_a_bug_in_authentication_does_not_change_the_page_for_an_unknown_address(
    atelier: Studio, visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atelier.program.accounts.authentication, "by_session", fail)
    response = await visitors.browser.get("/nothing-here")
    assert response.status_code == 404
    assert "There is nothing at this address." in response.text
    assert list(header_problems(response)) == []


async def test_media_are_served_in_a_sandbox(visitors: Visitors) -> None:
    """Whole, in part, and when the requested part does not exist."""
    for headers, status in (({}, 200), ({"Range": "bytes=0-9"}, 206), ({"Range": "bytes=99999999-"}, 416)):
        for path in (f"/media/{visitors.asset}", f"/media/{visitors.asset}/thumbnail"):
            response = await visitors.browser.get(path, headers=headers)
            assert response.status_code == status
            assert "sandbox" in policy(response)
            assert status == 416 or list(header_problems(response)) == []


# Behind https


@pytest_asyncio.fixture(scope="module")
async def secure(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    async with running(tmp_path_factory.mktemp("https"), ATELIER_PUBLIC_URL="https://studio.example") as studio:
        await studio.user("ann@studio.example")
        yield studio


async def send(client: httpx.AsyncClient, path: str, cookies: dict[str, str], form: dict[str, str]) -> httpx.Response:
    """A form with cookies: httpx does not send Secure ones to an http address by itself."""
    jar = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return await client.post(path, data=form, headers={"Cookie": jar})


def set_cookies(response: httpx.Response) -> dict[str, str]:
    pairs = [line.split(";")[0].partition("=") for line in response.headers.get_list("set-cookie")]
    return {name: value for name, _, value in pairs}


async def test_over_https_every_response_demands_https_and_every_cookie_is_bound_to_the_host(secure: Studio) -> None:
    client, problems = secure.direct(), []
    for route in routes():
        response = await client.request(route.method, route.at())
        problems += [f"{route}: {problem}" for problem in header_problems(response, https=True)]
    page = await client.get("/login")
    token = re.findall(r'name="_csrf_token" value="([^"]+)"', page.text)[0]
    cookies = set_cookies(page)
    prefix = secure.cookie_prefix
    assert prefix.startswith("__Host-")
    assert set(cookies) == {f"{prefix}csrf"}
    form = {"_csrf_token": token, "email": "new@studio.example", "password": PASSWORD}
    signed_in = await send(client, "/register", cookies, form)
    assert set(set_cookies(signed_in)) >= {f"{prefix}session", f"{prefix}notice"}
    themed = await send(client, "/theme", cookies, {"_csrf_token": token, "theme": "dark"})
    assert set(set_cookies(themed)) == {f"{prefix}theme"}
    for response in (page, signed_in, themed):
        problems += list(header_problems(response, https=True))
    assert problems == []
    jar = "; ".join(f"{name}={value}" for name, value in {**cookies, **set_cookies(signed_in)}.items())
    assert (await client.get("/jobs", headers={"Cookie": jar})).status_code == 200


async def test_over_https_a_cookie_without_the_prefix_is_ignored(secure: Studio) -> None:
    """A neighbouring host, or a page over http, can set such a cookie, but none with the prefix."""
    session = await secure.program.accounts.sign_in.start_page_session("ann@studio.example", PASSWORD)
    client = secure.direct()
    name = f"{secure.cookie_prefix}session"
    assert (await client.get("/jobs", headers={"Cookie": f"{name}={session}"})).status_code == 200
    without = name.removeprefix("__Host-")
    assert (await client.get("/jobs", headers={"Cookie": f"{without}={session}"})).status_code == 303
    page = await client.get("/login")
    token = re.findall(r'name="_csrf_token" value="([^"]+)"', page.text)[0]
    planted = await send(
        client, "/theme", {without.replace("session", "csrf"): token}, {"_csrf_token": token, "theme": "dark"}
    )
    assert planted.status_code == 403
