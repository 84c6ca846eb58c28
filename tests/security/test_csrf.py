"""A change that a cookie authenticates is made only when one of our own pages requested it, with JavaScript and without."""

import functools
import gc
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest_asyncio

from app.web.csrf import CROSS_SITE, OUTDATED, Csrf
from app.web.limits import BODY
from tests.html import parse_html
from tests.kit import UNKNOWN_ID, Cases, generated_image, new_email, png
from tests.pages import new_page_user
from tests.security.raw import Answer, exchange, head
from tests.security.routes import Route, changing_page_routes, routes
from tests.studio import PASSWORD, Browser, Studio, session_cookie

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"


class Visitor:
    """A user with a completed image job, a browser, the token of its forms, and an API client."""

    def __init__(self, browser: Browser, client: httpx.AsyncClient, token: str) -> None:
        self.browser, self.client, self.token = browser, client, token


@pytest_asyncio.fixture(scope="module")
async def visitor(atelier: Studio) -> Visitor:
    user = await new_page_user(atelier, "csrf")
    await generated_image(user.client)
    return Visitor(user.browser, user.client, await user.browser.form_token("/jobs"))


async def state(visitor: Visitor) -> list[Any]:
    """Everything of the user that a page could change."""
    user, jobs, assets, keys, sessions = [
        (await visitor.client.get(f"/api/v1/{path}")).json()
        for path in ("users/me", "jobs", "assets", "users/me/keys", "users/me/sessions")
    ]
    return [user, jobs, assets, [key["id"] for key in keys["items"]], sessions["total"]]


async def send_everywhere(
    atelier: Studio, visitor: Visitor, form: dict[str, str], headers: dict[str, str] | None = None
) -> dict[str, httpx.Response]:
    """Send the same form from the same browser to every route that changes something."""
    return {
        str(route): await visitor.browser.request(route.method, route.at(), data=form, headers=headers)
        for route in changing_page_routes()
    }


def not_refused(responses: dict[str, httpx.Response], reason: str) -> list[str]:
    """The routes that did not refuse for this reason."""
    return [
        f"{route}: {response.status_code}"
        for route, response in responses.items()
        if response.status_code != 403 or reason not in response.text
    ]


async def test_the_routes_that_change_something_are_found(atelier: Studio) -> None:
    names = {str(route) for route in changing_page_routes()}
    assert {"POST /login", "POST /logout", "POST /library", "POST /generate/{kind}", "POST /admin/jobs/purge"} <= names


async def test_without_a_token_no_route_changes_anything(atelier: Studio, visitor: Visitor) -> None:
    before = await state(visitor)
    for headers in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert not_refused(await send_everywhere(atelier, visitor, {"theme": "dark"}, headers), OUTDATED) == []
    assert await state(visitor) == before
    assert (await visitor.browser.get("/jobs")).status_code == 200  # still signed in


WRONG_TOKENS = {
    "empty": "",
    "a word": "wrong",
    "of the right length": "0" * 108,
    "of the right form": "A" * 43 + "." + "0" * 64,
    "not ASCII": "é" * 108,
    "signed with another secret": Csrf("another secret").new_token(),
    "a list": "x,y",
}


async def test_every_route_refuses_a_wrong_token(atelier: Studio, visitor: Visitor) -> None:
    with Cases() as cases:
        for name, token in WRONG_TOKENS.items():
            with cases.case(name):
                assert not_refused(await send_everywhere(atelier, visitor, {"_csrf_token": token}), OUTDATED) == []


async def test_every_route_refuses_the_valid_token_of_another_browser(atelier: Studio, visitor: Visitor) -> None:
    other = await (await atelier.user_in_browser(new_email("other"), direct=True)).form_token("/jobs")
    assert other != visitor.token
    assert not_refused(await send_everywhere(atelier, visitor, {"_csrf_token": other}), OUTDATED) == []


async def test_every_route_refuses_a_token_without_its_cookie(atelier: Studio, visitor: Visitor) -> None:
    session = {"Cookie": "=".join(session_cookie(visitor.browser))}
    form = {"_csrf_token": visitor.token}
    with Cases() as cases:
        for route in changing_page_routes():
            with cases.case(route):
                answer = await atelier.direct().request(route.method, route.at(), data=form, headers=session)
                assert answer.status_code == 403


async def test_a_request_from_another_site_is_refused_even_with_the_right_token(
    atelier: Studio, visitor: Visitor
) -> None:
    """The second protection, should the token ever leak."""
    before = await state(visitor)
    form = {"_csrf_token": visitor.token, "theme": "dark"}
    with Cases() as cases:
        for site in ("cross-site", "same-site", "something new"):
            for more in ({}, {"X-CSRFToken": visitor.token}):
                with cases.case(site, more):
                    headers = {"Sec-Fetch-Site": site, **more}
                    assert not_refused(await send_everywhere(atelier, visitor, form, headers), CROSS_SITE) == []
    assert await state(visitor) == before


async def test_another_site_may_link_to_a_page(visitor: Visitor) -> None:
    answer = await visitor.browser.get("/jobs", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})
    assert answer.status_code == 200


async def test_every_route_accepts_the_right_token(atelier: Studio) -> None:
    """So that the refusals above are known to be about the token. One route signs out, so the browser signs in again."""
    browser = await atelier.user_in_browser("admin@studio.example", direct=True)
    with Cases() as cases:
        for route in changing_page_routes():
            with cases.case(route):
                if (await browser.get("/users/profile")).status_code != 200:
                    browser = await atelier.user_in_browser("admin@studio.example", direct=True)
                token = await browser.form_token("/jobs")
                answer = await browser.request(route.method, route.at(), data={"_csrf_token": token})
                assert OUTDATED not in answer.text
                assert answer.status_code < 500


async def test_a_guarded_route_refuses_visitors_without_a_session_even_with_the_right_token(atelier: Studio) -> None:
    browser = atelier.direct_browser()
    token = await browser.form_token("/login")
    public = {"POST /login", "POST /register", "POST /logout", "POST /theme"}
    with Cases() as cases:
        for route in changing_page_routes():
            answer = await browser.request(route.method, route.at(), data={"_csrf_token": token})
            if str(route) not in public:
                with cases.case(route):
                    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


async def test_plain_forms_work_from_registration_to_signing_in_again(atelier: Studio) -> None:
    """Only with what a browser sends by itself: no headers of our own, and every value comes from the page's form."""
    browser, address = atelier.browser(), new_email("plain")

    async def submit(page: str, action: str, **typed: str) -> httpx.Response:
        forms = parse_html((await browser.get(page)).text).all("form")
        form = next(form for form in forms if form.get("action") == action)
        token = [field["value"] for field in form.all() if field.get("name") == "_csrf_token"]
        return await browser.post(action, data={**form.values(), "_csrf_token": token[0], **typed})

    registered = await submit("/register", "/register", email=address, password=PASSWORD, name="Ann")
    assert (registered.status_code, registered.headers["location"]) == (303, "/")
    assert (await submit("/jobs", "/theme", theme="dark")).status_code == 303
    assert (await submit("/jobs", "/logout")).status_code == 303
    assert (await browser.get("/jobs")).status_code == 303
    signed_in = await submit("/login", "/login", email=address, password=PASSWORD)
    assert signed_in.status_code == 303
    assert (await browser.get("/jobs")).status_code == 200


async def test_an_upload_is_accepted_with_its_token_only(visitor: Visitor) -> None:
    files = {"file": ("a.png", png(), "image/png")}
    before = (await visitor.client.get("/api/v1/assets")).json()["total"]
    assert (await visitor.browser.post("/library", files=files)).status_code == 403
    assert (await visitor.client.get("/api/v1/assets")).json()["total"] == before
    sent = await visitor.browser.post("/library", files=files, data={"_csrf_token": visitor.token})
    assert sent.status_code == 303
    assert (await visitor.client.get("/api/v1/assets")).json()["total"] == before + 1


async def test_a_token_is_accepted_only_where_another_site_could_not_put_it(visitor: Visitor) -> None:
    token = visitor.token
    requests: dict[str, dict[str, Any]] = {
        "in the address": {"params": {"_csrf_token": token}, "data": {"theme": "dark"}},
        "as a file": {"files": {"_csrf_token": ("a", token.encode()), "theme": (None, b"dark")}},
        "in JSON": {"json": {"_csrf_token": token, "theme": "dark"}},
        "in the cookie alone": {"data": {"theme": "dark"}},
    }
    with Cases() as cases:
        for name, request in requests.items():
            with cases.case(name):
                answer = await visitor.browser.post("/theme", **request)
                assert (answer.status_code, OUTDATED in answer.text) == (403, True)


async def test_a_token_stays_the_same_after_signing_in_and_on_every_page(visitor: Visitor) -> None:
    again = await visitor.browser.form_token("/library")
    assert again == visitor.token == await visitor.browser.form_token("/generate/text")


async def test_an_invalid_cookie_is_replaced_by_the_next_page(atelier: Studio) -> None:
    """Otherwise a browser with a cookie of an earlier installation could never sign in again."""
    name = f"{atelier.cookie_prefix}csrf"
    with Cases() as cases:
        for stale in ("", "x", "0" * 128, "%ff%fe", Csrf("the secret before").new_token()):
            with cases.case(stale):
                page = await atelier.direct().get("/login", headers={"Cookie": f"{name}={stale}"})
                (set_cookie,) = [line for line in page.headers.get_list("set-cookie") if line.startswith(f"{name}=")]
                token = re.findall(r'name="_csrf_token" value="([^"]+)"', page.text)[0]
                assert stale not in page.text or len(stale) < 2
                form, cookie = {"_csrf_token": token, "theme": "dark"}, {"Cookie": set_cookie.split(";")[0]}
                assert (await atelier.direct().post("/theme", data=form, headers=cookie)).status_code == 303


async def test_only_pages_set_the_cookie_of_the_token(atelier: Studio) -> None:
    for path in ("/static/css/base.css", "/static/icons.svg", "/health", "/api/v1/openapi.json", "/api/v1/jobs"):
        assert "set-cookie" not in (await atelier.direct().get(path)).headers, path


async def test_the_api_ignores_cookies_whatever_else_is_sent(atelier: Studio, visitor: Visitor) -> None:
    headers = {"X-CSRFToken": visitor.token, "Sec-Fetch-Site": "same-origin"}
    guarded = [route for route in routes() if route.path.startswith("/api/v1/") and route.guarded]
    assert len(guarded) > 40
    with Cases() as cases:
        for route in guarded:
            with cases.case(route):
                answer = await visitor.browser.request(route.method, route.at(), headers=headers, json={})
                assert answer.status_code == 401


# How much of a body is read before it is known who sends it

MB = 1024 * 1024
UPLOADS = {
    "POST /chat",
    "POST /chat/{id}",
    "POST /edit/{id}",
    "POST /library",
    "POST /generate/{kind}",
    "POST /generate/{kind}/draft",
    "POST /generate/restore",
    "POST /prompts/import",
}


def headers_of(browser: httpx.AsyncClient, **more: str) -> dict[str, str]:
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return {"Cookie": cookies, "Content-Type": MULTIPART, **more}


async def announced(atelier: Studio, browser: httpx.AsyncClient, path: str, size: int) -> Answer:
    """The answer to a body whose size is announced and of which not a byte follows."""
    return await exchange(atelier.url, head("POST", path, headers_of(browser, **{"Content-Length": str(size)})))


def takes_files(route: Route) -> bool:
    return str(route) in UPLOADS


async def test_only_uploads_accept_more_than_a_megabyte(atelier: Studio, visitor: Visitor) -> None:
    """A larger body is refused when its size is announced, before anything is read."""
    largest = atelier.program.library.max_upload_bytes
    with Cases() as cases:
        for route in changing_page_routes():
            with cases.case(route):
                size = largest + 2 * MB if takes_files(route) else 2 * MB
                answer = await announced(atelier, visitor.browser, route.at(), size)
                assert answer.status == 413
                assert answer.headers["content-type"].startswith("text/html")


async def test_a_body_of_unknown_size_is_cut_off_at_the_limit(atelier: Studio, visitor: Visitor) -> None:
    """The answer comes with the first byte too many, before the body ends."""
    start = head("POST", f"/jobs/{UNKNOWN_ID}/restore", headers_of(visitor.browser, **{"Transfer-Encoding": "chunked"}))
    begun = b'--x\r\nContent-Disposition: form-data; name="theme"\r\n\r\n'
    body = begun + bytes(BODY - len(begun) + 1)
    answer = await exchange(atelier.url, start + b"%x\r\n%s" % (len(body), body))
    assert answer.status == 413


async def test_no_large_body_is_read_without_a_session(atelier: Studio) -> None:
    """Such a request is redirected to sign in before the first byte of its body, also when its size is not announced."""
    browser = atelier.browser()
    await browser.form_token("/login")
    guarded = [route for route in changing_page_routes() if route.guarded]
    assert len(guarded) > 10
    with Cases() as cases:
        for route in guarded:
            with cases.case(route):
                answer = await announced(atelier, browser, route.at(), 900_000)
                assert (answer.status, answer.headers["location"]) == (303, "/login")
    unannounced = head("POST", "/library", headers_of(browser, **{"Transfer-Encoding": "chunked"}))
    assert (await exchange(atelier.url, unannounced)).status == 303


BROKEN_FORMS = [
    (b"\xff\xfe=\xff", FORM),
    (b"a=%ff%fe&_csrf_token=%ff", FORM),
    (b"&" * 50_000, FORM),
    (b"a=1&" * 2_000, FORM),
    (b"--x\r\n", MULTIPART),
    (b"rubbish", MULTIPART),
    (b"rubbish", "multipart/form-data"),
    (b"rubbish", 'multipart/form-data; boundary=""'),
    (b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n", MULTIPART),
    (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\xfe\r\n--x--\r\n', MULTIPART),
    (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=none\r\n\r\nx\r\n--x--\r\n',
        MULTIPART,
    ),
    (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 9 + b"\r\n--x--\r\n",
        "multipart/form-data; boundary=\u00e9",
    ),
    (b"--x\r\n" * 3_000, MULTIPART),
    (b"x" * 1000, "text/plain"),
    (b"", "application/json"),
    (b"{}", "application/msgpack"),
]


async def test_a_malformed_form_is_refused(visitor: Visitor) -> None:
    with Cases() as cases:
        for content, kind in BROKEN_FORMS:
            for token in ({}, {b"X-CSRFToken": visitor.token.encode()}):
                with cases.case(content[:40], kind, token):
                    headers = {b"Content-Type": kind.encode("latin-1"), **token}
                    answer = await visitor.browser.post("/theme", content=content, headers=headers)
                    assert answer.status_code in (400, 403)


CONTAINERS = (dict, tuple, list, set, frozenset)


def cached_values() -> Iterator[object]:
    """Every key and value in any `lru_cache` of this process, and what is in them as far as they are containers."""
    cache_type = type(functools.lru_cache(len))
    for cache in gc.get_objects():
        if isinstance(cache, cache_type):
            pending: list[object] = [cache]
            seen: set[int] = set()
            while pending:
                value = pending.pop()
                if id(value) not in seen:
                    seen.add(id(value))
                    yield value
                    if value is cache or isinstance(value, CONTAINERS) or type(value).__name__ == "_lru_list_elem":
                        pending += gc.get_referents(value)


def is_cached(text: str) -> bool:
    return any(
        (isinstance(value, str) and text in value) or (isinstance(value, bytes) and text.encode() in value)
        for value in cached_values()
    )


async def test_no_form_stays_in_a_cache_with_its_password(atelier: Studio) -> None:
    """The web framework parses forms through a cache; the program must not."""
    password, email = "swordfish-in-a-cache", new_email("forgotten")
    browser = atelier.direct_browser()
    answer = await browser.send_form("/register", {"email": email, "password": password, "name": "Ann"})
    assert answer.status_code == 303
    assert not is_cached(password)
    parsed = functools.lru_cache(lambda form: form.split(b"&"))
    parsed(f"email={email}&password={password}".encode())
    assert is_cached(password), "a cached form is not found"
