"""What every answer carries, whichever route, person or failure it comes from."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from app.base.errors import Exhausted
from app.web.limits import Throttle
from tests.api.kit import email, pictured
from tests.api.processes import atelier as process
from tests.security.doors import SAFE, doors
from tests.studio import Browser, Studio, running
from tests.trust import trust

FIXED = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
PAGE_POLICY = {
    "default-src": {"'none'"},
    "script-src": {"'self'"},
    "style-src": {"'self'"},
    "connect-src": {"'self'"},
    "form-action": {"'self'"},
    "base-uri": {"'none'"},
    "frame-ancestors": {"'none'"},
}
# What a policy must not allow anywhere: code and styles in the page, or anything from elsewhere.
TOO_MUCH = re.compile(r"unsafe|\*|https?:|data:|strict-dynamic")
BANNERS = ("x-powered-by", "via", "access-control-allow-origin", "access-control-allow-credentials")


def policy(answer: httpx.Response) -> dict[str, set[str]]:
    parts = [part.split() for part in answer.headers["content-security-policy"].split(";") if part.strip()]
    return {name: set(values) for name, *values in parts}


def wrong(answer: httpx.Response, *, https: bool = False) -> Iterator[str]:
    """What an answer lacks or has too much, each in a word."""
    headers = answer.headers
    for name, value in FIXED.items():
        if headers.get(name) != value:
            yield f"{name}: {headers.get(name)}"
    for name in BANNERS:
        if name in headers:
            yield f"{name}: {headers[name]}"
    if not re.fullmatch(r"[0-9A-Za-z-]{16,64}", headers.get("x-request-id", "")):
        yield "no number of the request"
    if not {"camera=()", "microphone=()", "geolocation=()"} <= set(headers.get("permissions-policy", "").split(", ")):
        yield "permissions"
    if ("strict-transport-security" in headers) is not https:
        yield "strict transport security"
    yield from _wrong_policy(answer)
    yield from _wrong_caching(answer)
    for cookie in headers.get_list("set-cookie"):
        yield from _wrong_cookie(cookie, https)


def _wrong_policy(answer: httpx.Response) -> Iterator[str]:
    given = answer.headers.get("content-security-policy", "")
    if not given or TOO_MUCH.search(given):
        yield f"policy {given!r}"
    elif answer.url.path.startswith("/media/") and answer.status_code in (200, 206, 304):
        if policy(answer).get("sandbox") != set() or policy(answer)["default-src"] != {"'none'"}:
            yield f"media without a sandbox: {given!r}"
    elif not PAGE_POLICY.items() <= policy(answer).items():
        yield f"policy {given!r}"


def _wrong_caching(answer: httpx.Response) -> Iterator[str]:
    how, path = answer.headers.get("cache-control", ""), answer.url.path
    if answer.status_code in (200, 206, 304) and path.startswith("/static/"):
        if "set-cookie" in answer.headers:
            yield "a cookie in an answer that anybody's cache may keep"
    elif answer.status_code in (200, 206, 304) and path.startswith("/media/"):
        if "private" not in how:
            yield f"media that a shared cache may keep: {how!r}"
    elif how != "no-store":
        yield f"cache-control {how!r}"


def _wrong_cookie(cookie: str, https: bool) -> Iterator[str]:
    name, _, rest = cookie.partition("=")
    flags = {flag.strip().lower() for flag in rest.split(";")[1:]}
    if not {"httponly", "samesite=lax", "path=/"} <= flags or any(flag.startswith("domain") for flag in flags):
        yield f"cookie {name}: {sorted(flags)}"
    if https != ("secure" in flags) or https != name.startswith("__Host-"):
        yield f"cookie {name}: {sorted(flags)}"


class People:
    """Everybody a route may meet, and something of the person's for the ids in its path."""

    def __init__(self, browser: Browser, client: httpx.AsyncClient, admin: httpx.AsyncClient, boss: Browser) -> None:
        self.browser, self.client, self.admin, self.boss = browser, client, admin, boss
        self.job = ""
        self.asset = ""

    def id_in(self, path: str) -> str:
        return self.asset if re.search(r"/(media|library|assets)/", path) else self.job


@pytest_asyncio.fixture(scope="module")
async def people(atelier: Studio) -> People:
    address = email("looker")
    found = People(
        await atelier.person_in_browser(address),
        await atelier.person(address),
        await atelier.person("admin@studio.example"),
        await atelier.person_in_browser("admin@studio.example"),
    )
    made = await pictured(found.client)
    found.job, found.asset = made["id"], made["assets"][0]["id"]
    return found


async def test_every_route_answers_everybody_with_the_headers(atelier: Studio, people: People) -> None:
    """Nobody at every door; the person and the admin, by cookie and by bearer, at every door that only shows."""
    nobody, problems, statuses = atelier.client(), [], set()
    for door in doors(atelier):
        path = door.at(id=people.id_in(door.path))
        askers = [nobody, people.browser, people.client, people.boss, people.admin] if door.method in SAFE else [nobody]
        for asker in askers:
            answer = await asker.request(door.method, path)
            statuses.add(answer.status_code)
            problems += [f"{door} ({answer.status_code}): {problem}" for problem in wrong(answer)]
    assert problems == []
    assert {200, 303, 401, 403, 404} <= statuses  # they were all met


FAILURES = [
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


@pytest.mark.parametrize(("method", "path", "more", "status"), FAILURES)
async def test_every_failure_carries_the_headers(
    atelier: Studio, method: str, path: str, more: dict[str, bytes], status: int
) -> None:
    answer = await atelier.client().request(method, path, **more)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert list(wrong(answer)) == []


async def test_a_bug_carries_the_headers_too(atelier: Studio, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(atelier.program.jobs, "newest", broken)
    for asker, path in ((people.client, "/api/v1/jobs"), (people.browser, "/jobs")):
        answer = await asker.get(path)
        assert answer.status_code == 500
        assert list(wrong(answer)) == []


async def test_where_nothing_is_a_bug_changes_nothing(
    atelier: Studio, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(atelier.program.accounts, "by_session", broken)
    answer = await people.browser.get("/nothing-here")
    assert answer.status_code == 404
    assert "There is nothing at this address." in answer.text
    assert list(wrong(answer)) == []


async def test_a_throttled_page_and_call_carry_the_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def spent(*_: object) -> None:
        raise Exhausted("Too many tries. Wait 7 seconds.", retry_after=7)

    monkeypatch.setattr(Throttle, "_count", spent)
    async with running(tmp_path, ATELIER_RATE_LIMITS="on") as studio:
        for path in ("/login", "/api/v1/jobs"):
            answer = await studio.client().get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
            assert list(wrong(answer)) == []


async def test_media_are_served_in_a_sandbox_whole_in_parts_and_not_at_all(people: People) -> None:
    for headers, status in (({}, 200), ({"Range": "bytes=0-9"}, 206), ({"Range": "bytes=99999999-"}, 416)):
        for path in (f"/media/{people.asset}", f"/media/{people.asset}/thumbnail"):
            answer = await people.browser.get(path, headers=headers)
            assert answer.status_code == status
            assert "sandbox" in policy(answer)
            assert [problem for problem in wrong(answer) if status != 416] == []


# Behind https


@pytest_asyncio.fixture(scope="module")
async def secure(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    async with running(tmp_path_factory.mktemp("https"), ATELIER_PUBLIC_URL="https://studio.example") as studio:
        await studio.person("ann@studio.example")
        yield studio


async def send(client: httpx.AsyncClient, path: str, cookies: dict[str, str], form: dict[str, str]) -> httpx.Response:
    """A form over https, as far as cookies go: httpx would not send Secure ones to a test's http address."""
    jar = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return await client.post(path, data=form, headers={"Cookie": jar})


def kept(answer: httpx.Response) -> dict[str, str]:
    pairs = [line.split(";")[0].partition("=") for line in answer.headers.get_list("set-cookie")]
    return {name: value for name, _, value in pairs}


async def test_over_https_every_answer_asks_for_https_and_every_cookie_is_bound_to_the_host(secure: Studio) -> None:
    client, problems = secure.client(), []
    for door in doors(secure):
        answer = await client.request(door.method, door.at())
        problems += [f"{door}: {problem}" for problem in wrong(answer, https=True)]
    page = await client.get("/login")
    token = re.findall(r'name="_csrf_token" value="([^"]+)"', page.text)[0]
    cookies = kept(page)
    assert set(cookies) == {"__Host-csrf"}
    form = {"_csrf_token": token, "email": "new@studio.example", "password": "correct horse battery"}
    signed_in = await send(client, "/register", cookies, form)
    assert set(kept(signed_in)) >= {"__Host-session", "__Host-notice"}
    themed = await send(client, "/theme", cookies, {"_csrf_token": token, "theme": "dark"})
    assert set(kept(themed)) == {"__Host-theme"}
    for answer in (page, signed_in, themed):
        problems += list(wrong(answer, https=True))
    assert problems == []
    jar = "; ".join(f"{name}={value}" for name, value in {**cookies, **kept(signed_in)}.items())
    assert (await client.get("/jobs", headers={"Cookie": jar})).status_code == 200


async def test_over_https_a_cookie_without_the_prefix_is_nobodys(secure: Studio) -> None:
    """A neighbouring host, or a page over http, can set such a cookie; one with the prefix it cannot."""
    session = await secure.program.accounts.sign_in_page("ann@studio.example", "correct horse battery")
    client = secure.client()
    assert (await client.get("/jobs", headers={"Cookie": f"__Host-session={session}"})).status_code == 200
    assert (await client.get("/jobs", headers={"Cookie": f"session={session}"})).status_code == 303
    page = await client.get("/login")
    token = re.findall(r'name="_csrf_token" value="([^"]+)"', page.text)[0]
    planted = await send(client, "/theme", {"csrf": token}, {"_csrf_token": token, "theme": "dark"})
    assert planted.status_code == 403


# The real command


async def test_the_real_server_names_neither_itself_nor_its_version(tmp_path: Path) -> None:
    async with process(tmp_path) as started:
        await started.ready()
        async with httpx.AsyncClient(base_url=started.url, trust_env=False, verify=trust()) as client:
            for path in ("/login", "/api/v1/jobs", "/nothing", "/static/css/base.css", "/health"):
                answer = await client.get(path)
                assert "server" not in answer.headers
                assert list(wrong(answer)) == []
                for name in ("uvicorn", "litestar", "duckdb", "python"):
                    assert name not in str(answer.headers).lower()
