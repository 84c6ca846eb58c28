"""A change that a cookie signs is made only when one of our own pages asked for it, with JavaScript and without."""

import re
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.web.csrf import ELSEWHERE, OUTDATED, Csrf
from app.web.limits import BODY
from tests.api.html import read
from tests.api.kit import INVENTED, email, pictured, png
from tests.security.doors import Door, changing_pages, doors
from tests.security.raw import Answer, head, talk
from tests.studio import Browser, Studio

FORM = {"content-type": "application/x-www-form-urlencoded"}


class Visitor:
    """Somebody signed in by cookie, with a finished picture, and the token of their forms."""

    def __init__(self, browser: Browser, client: httpx.AsyncClient) -> None:
        self.browser, self.client = browser, client
        self.token = ""


@pytest_asyncio.fixture(scope="module")
async def visitor(atelier: Studio) -> Visitor:
    address = email("visitor")
    found = Visitor(await atelier.person_in_browser(address), await atelier.person(address))
    await pictured(found.client)
    found.token = await found.browser.form_token("/jobs")
    return found


async def state(visitor: Visitor) -> list[Any]:
    """Everything of the person's that a page could change."""
    paths = ("users/me", "jobs", "assets", "users/me/keys")
    sessions = (await visitor.client.get("/api/v1/users/me/sessions")).json()["total"]
    return [(await visitor.client.get(f"/api/v1/{path}")).json() for path in paths] + [sessions]


async def through_all(
    atelier: Studio, visitor: Visitor, form: dict[str, str], headers: dict[str, str] | None = None
) -> dict[str, httpx.Response]:
    """The same form sent by the same browser through every door that changes something."""
    answers = {}
    for door in changing_pages(atelier):
        answer = await visitor.browser.request(door.method, door.at(), data=form, headers=headers)
        answers[str(door)] = answer
    return answers


def refused(answers: dict[str, httpx.Response], why: str) -> list[str]:
    """The doors that did not refuse for this reason."""
    return [f"{door}: {it.status_code}" for door, it in answers.items() if it.status_code != 403 or why not in it.text]


async def test_there_are_doors_to_test(atelier: Studio) -> None:
    names = {str(door) for door in changing_pages(atelier)}
    assert {"POST /login", "POST /logout", "POST /library", "POST /generate/{kind}", "POST /admin/jobs/purge"} <= names


async def test_without_a_token_nothing_is_changed_through_any_door(atelier: Studio, visitor: Visitor) -> None:
    before = await state(visitor)
    for headers in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert refused(await through_all(atelier, visitor, {"theme": "dark"}, headers), OUTDATED) == []
    assert await state(visitor) == before
    assert (await visitor.browser.get("/jobs")).status_code == 200  # and nobody was signed out


WRONG = {
    "empty": "",
    "a word": "wrong",
    "of the right length": "0" * 108,
    "of the right shape": "A" * 43 + "." + "0" * 64,
    "not ASCII": "é" * 108,
    "signed with another secret": Csrf("another secret")._new(),
    "a list": "x,y",
}


@pytest.mark.parametrize("what", list(WRONG))
async def test_a_wrong_token_opens_no_door(atelier: Studio, visitor: Visitor, what: str) -> None:
    assert refused(await through_all(atelier, visitor, {"_csrf_token": WRONG[what]}), OUTDATED) == []


async def test_the_right_token_of_another_browser_opens_no_door(atelier: Studio, visitor: Visitor) -> None:
    anothers = await (await atelier.person_in_browser(email("other"))).form_token("/jobs")
    assert anothers != visitor.token
    assert refused(await through_all(atelier, visitor, {"_csrf_token": anothers}), OUTDATED) == []


async def test_a_token_without_its_cookie_opens_no_door(atelier: Studio, visitor: Visitor) -> None:
    session = {"Cookie": f"session={visitor.browser.cookies['session']}"}
    for door in changing_pages(atelier):
        answer = await atelier.client().request(
            door.method, door.at(), data={"_csrf_token": visitor.token}, headers=session
        )
        assert answer.status_code == 403, door


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something new"])
async def test_what_another_site_sends_is_refused_even_with_the_right_token(
    atelier: Studio, visitor: Visitor, site: str
) -> None:
    """The second wall, should the first one ever be climbed."""
    before = await state(visitor)
    form = {"_csrf_token": visitor.token, "theme": "dark"}
    for more in ({}, {"X-CSRFToken": visitor.token}):
        headers = {"Sec-Fetch-Site": site, **more}
        assert refused(await through_all(atelier, visitor, form, headers), ELSEWHERE) == []
    assert await state(visitor) == before


async def test_another_site_may_still_link_to_us(atelier: Studio, visitor: Visitor) -> None:
    answer = await visitor.browser.get("/jobs", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})
    assert answer.status_code == 200


async def test_the_right_token_opens_every_door(atelier: Studio) -> None:
    """So that what is refused above is refused for its token. Everybody comes fresh, because one door signs them out."""
    for door in changing_pages(atelier):
        browser = await atelier.person_in_browser("admin@studio.example")
        token = await browser.form_token("/jobs")
        answer = await browser.request(door.method, door.at(), data={"_csrf_token": token})
        assert OUTDATED not in answer.text, door
        assert answer.status_code < 500, door


async def test_nobody_signed_out_gets_through_a_closed_door_even_with_the_right_token(atelier: Studio) -> None:
    browser = atelier.browser()
    token = await browser.form_token("/login")
    opened = {"POST /login", "POST /register", "POST /logout", "POST /theme"}
    for door in changing_pages(atelier):
        answer = await browser.request(door.method, door.at(), data={"_csrf_token": token})
        if str(door) not in opened:
            assert (answer.status_code, answer.headers["location"]) == (303, "/login"), door


async def test_a_plain_form_works_from_the_first_page_to_the_last(atelier: Studio) -> None:
    """Only what a browser does by itself: no header of ours, every value out of the page's own form."""
    browser, address = atelier.browser(), email("plain")

    async def send(page: str, action: str, **typed: str) -> httpx.Response:
        form = next(it for it in read((await browser.get(page)).text).all("form") if it.get("action") == action)
        token = [it["value"] for it in form.all() if it.get("name") == "_csrf_token"]
        return await browser.post(action, data={**form.values(), "_csrf_token": token[0], **typed})

    registered = await send("/register", "/register", email=address, password="correct horse battery", name="Ann")
    assert (registered.status_code, registered.headers["location"]) == (303, "/")
    assert (await send("/jobs", "/theme", theme="dark")).status_code == 303
    assert (await send("/jobs", "/logout")).status_code == 303
    assert (await browser.get("/jobs")).status_code == 303
    signed_in = await send("/login", "/login", email=address, password="correct horse battery")
    assert signed_in.status_code == 303
    assert (await browser.get("/jobs")).status_code == 200


async def test_a_file_goes_with_its_token_and_not_without(visitor: Visitor) -> None:
    files = {"file": ("a.png", png(), "image/png")}
    before = (await visitor.client.get("/api/v1/assets")).json()["total"]
    assert (await visitor.browser.post("/library", files=files)).status_code == 403
    assert (await visitor.client.get("/api/v1/assets")).json()["total"] == before
    sent = await visitor.browser.post("/library", files=files, data={"_csrf_token": visitor.token})
    assert sent.status_code == 303
    assert (await visitor.client.get("/api/v1/assets")).json()["total"] == before + 1


@pytest.mark.parametrize("how", ["in the address", "as a file", "in the cookie alone", "in JSON"])
async def test_a_token_counts_only_where_another_site_could_not_put_it(visitor: Visitor, how: str) -> None:
    browser, token = visitor.browser, visitor.token
    if how == "in the address":
        answer = await browser.post("/theme", params={"_csrf_token": token}, data={"theme": "dark"})
    elif how == "as a file":
        answer = await browser.post("/theme", files={"_csrf_token": ("a", token.encode()), "theme": (None, b"dark")})
    elif how == "in JSON":
        answer = await browser.post("/theme", json={"_csrf_token": token, "theme": "dark"})
    else:
        answer = await browser.post("/theme", data={"theme": "dark"})
    assert (answer.status_code, OUTDATED in answer.text) == (403, True)


async def test_a_token_outlives_signing_in_and_several_pages(visitor: Visitor) -> None:
    again = await visitor.browser.form_token("/library")
    assert again == visitor.token == await visitor.browser.form_token("/generate/text")


@pytest.mark.parametrize("stale", ["", "x", "0" * 128, "%ff%fe", Csrf("the secret before")._new()])
async def test_a_cookie_that_is_not_ours_any_more_is_replaced_by_the_next_page(atelier: Studio, stale: str) -> None:
    """Else whoever has one, from an Atelier that was set up anew, could never sign in again."""
    page = await atelier.client().get("/login", headers={"Cookie": f"csrf={stale}"})
    (fresh,) = [line for line in page.headers.get_list("set-cookie") if line.startswith("csrf=")]
    cookie = fresh.split(";")[0]
    token = re.findall(r'name="_csrf_token" value="([^"]+)"', page.text)[0]
    assert stale not in page.text or len(stale) < 2
    sent = await atelier.client().post(
        "/theme", data={"_csrf_token": token, "theme": "dark"}, headers={"Cookie": cookie}
    )
    assert sent.status_code == 303


async def test_the_cookie_of_the_token_comes_with_pages_only(atelier: Studio) -> None:
    for path in ("/static/css/base.css", "/static/icons.svg", "/health", "/api/v1/openapi.json", "/api/v1/jobs"):
        assert "set-cookie" not in (await atelier.client().get(path)).headers, path


async def test_the_api_knows_no_cookies_whatever_else_comes_with_them(atelier: Studio, visitor: Visitor) -> None:
    headers = {"X-CSRFToken": visitor.token, "Sec-Fetch-Site": "same-origin"}
    closed = [door for door in doors(atelier) if door.path.startswith("/api/v1/") and door.handler.resolve_guards()]
    assert len(closed) > 40
    for door in closed:
        answer = await visitor.browser.request(door.method, door.at(), headers=headers, json={})
        assert answer.status_code == 401, door


# How much is read before it is known who asks

MB = 1024 * 1024
FILED = {"POST /library", "POST /generate/{kind}"}


def headers_of(browser: httpx.AsyncClient, **more: str) -> dict[str, str]:
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return {"Cookie": cookies, "Content-Type": "multipart/form-data; boundary=x", **more}


async def announced(atelier: Studio, browser: httpx.AsyncClient, path: str, size: int) -> Answer:
    """A body that says how large it will be, and of which not a byte follows."""
    return await talk(atelier.url, head("POST", path, headers_of(browser, **{"Content-Length": str(size)})))


def takes_files(door: Door) -> bool:
    return str(door) in FILED


async def test_only_what_takes_files_takes_more_than_a_megabyte(atelier: Studio, visitor: Visitor) -> None:
    """Refused at its announcement: nothing is read, in no door whatever."""
    largest = atelier.program.library.largest
    for door in changing_pages(atelier):
        size = largest + 2 * MB if takes_files(door) else 2 * MB
        answer = await announced(atelier, visitor.browser, door.at(), size)
        assert answer.status == 413, door
        assert answer.headers["content-type"].startswith("text/html")


async def test_a_body_that_does_not_say_its_size_is_cut_off_at_the_cap(atelier: Studio, visitor: Visitor) -> None:
    """The answer comes with the first byte too many, while the body goes on."""
    asked = head("POST", f"/jobs/{INVENTED}/restore", headers_of(visitor.browser, **{"Transfer-Encoding": "chunked"}))
    begun = b'--x\r\nContent-Disposition: form-data; name="theme"\r\n\r\n'
    body = begun + bytes(BODY - len(begun) + 1)
    answer = await talk(atelier.url, asked + b"%x\r\n%s" % (len(body), body))
    assert answer.status == 413


async def test_for_a_stranger_no_large_body_is_read_at_all(atelier: Studio) -> None:
    """Signed out, a file ends before its first byte, at the way to sign in; also when it does not say how large it is."""
    browser = atelier.browser()
    await browser.form_token("/login")
    closed = [door for door in changing_pages(atelier) if door.handler.resolve_guards()]
    assert len(closed) > 10
    for door in closed:
        answer = await announced(atelier, browser, door.at(), 900_000)
        assert (answer.status, answer.headers["location"]) == (303, "/login"), door
    unsaid = head("POST", "/library", headers_of(browser, **{"Transfer-Encoding": "chunked"}))
    assert (await talk(atelier.url, unsaid)).status == 303


BROKEN = [
    (b"\xff\xfe=\xff", FORM["content-type"]),
    (b"a=%ff%fe&_csrf_token=%ff", FORM["content-type"]),
    (b"&" * 50_000, FORM["content-type"]),
    (b"a=1&" * 2_000, FORM["content-type"]),
    (b"--x\r\n", "multipart/form-data; boundary=x"),
    (b"rubbish", "multipart/form-data; boundary=x"),
    (b"rubbish", "multipart/form-data"),
    (b"rubbish", 'multipart/form-data; boundary=""'),
    (b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n", "multipart/form-data; boundary=x"),
    (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\xfe\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
    ),
    (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=none\r\n\r\nx\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
    ),
    (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 9 + b"\r\n--x--\r\n",
        "multipart/form-data; boundary=\u00e9",
    ),
    (b"--x\r\n" * 3_000, "multipart/form-data; boundary=x"),
    (b"x" * 1000, "text/plain"),
    (b"", "application/json"),
    (b"{}", "application/msgpack"),
]


@pytest.mark.parametrize(("content", "kind"), BROKEN, ids=lambda value: repr(value)[:40])
async def test_a_form_that_cannot_be_read_is_refused_and_no_bug(visitor: Visitor, content: bytes, kind: str) -> None:
    for token in ({}, {"X-CSRFToken": visitor.token}):
        answer = await visitor.browser.post(
            "/theme", content=content, headers={b"Content-Type": kind.encode("latin-1"), **_raw(token)}
        )
        assert answer.status_code in (400, 403), answer.status_code


def _raw(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


async def test_no_form_stays_in_a_cache_with_the_passwords_in_it(atelier: Studio) -> None:
    from litestar._parsers import parse_url_encoded_form_data

    before = parse_url_encoded_form_data.cache_info().currsize
    await atelier.person_in_browser(email("forgotten"))
    assert parse_url_encoded_form_data.cache_info().currsize == before
