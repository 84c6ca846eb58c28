"""Nobody is ever sent to another site by this one, whichever way the wish is put."""

import re
from urllib.parse import quote, urljoin, urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.api.html import read
from tests.api.kit import email
from tests.security.doors import doors
from tests.studio import PASSWORD, Browser, Studio

TRICKS = [
    "https://evil.example",
    "http://evil.example/",
    "HTTPS://EVIL.EXAMPLE",
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "//\\evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "http:\\\\evil.example",
    "://evil.example",
    "evil.example",
    "evil.example/jobs",
    "@evil.example",
    "/@evil.example",
    ".evil.example",
    "/.evil.example",
    "%2f%2fevil.example",
    "%2F%2Fevil.example",
    "/%2fevil.example",
    "/%2f%2fevil.example",
    "/%5cevil.example",
    "/%5c%5cevil.example",
    "%5c%5cevil.example",
    "/%09/evil.example",
    "/%0a/evil.example",
    "/%0d%0aLocation:%20https://evil.example",
    "/%00/evil.example",
    "/%20/evil.example",
    "/%252f%252fevil.example",
    "/%255cevil.example",
    "/\t/evil.example",
    "\t//evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "\x00//evil.example",
    "\x08//evil.example",
    " //evil.example",
    "\u00a0//evil.example",
    "\ufeff//evil.example",
    "\u200b//evil.example",
    "／／evil.example",
    "/／evil.example",
    "//evil。example",
    "//evil%E3%80%82example",
    "/..//evil.example",
    "/.//evil.example",
    "/jobs/..//evil.example",
    "/jobs/../..//evil.example",
    "/./../evil.example//x",
    "/;//evil.example",
    "/?//evil.example",
    "/#//evil.example",
    "/jobs?next=//evil.example",
    "/jobs\r\nSet-Cookie: a=b",
    "/jobs\r\n\r\n<script>alert(1)</script>",
    "/jobs%0d%0aSet-Cookie:%20a=b",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "\x01javascript:alert(1)",
    "javascript://evil.example/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "mailto:a@evil.example",
    "tel:1",
    "blob:https://evil.example/x",
    "file:///etc/passwd",
    "http://127.0.0.1@evil.example",
    "//127.0.0.1@evil.example",
    "//evil.example#@127.0.0.1",
    "//evil.example?127.0.0.1",
    "//[::1]",
    "//[evil",
    "http://[",
    "//evil.example:443",
    "/日本",
    "/\u2028/evil.example",
    "/\ud7ff",
    "/\U0001f600//evil.example",
    "/login?next=//evil.example",
    "/logout",
    "/register",
    "x" * 5000,
    "/" + "a" * 5000,
    "",
    "?",
    "#",
    "..",
    "../..",
]


def check_own(studio: Studio, answer: httpx.Response) -> None:
    """Every address in this answer stays here, as a browser reads it: without tabs and newlines, backslashes as slashes."""
    for name in ("location", "hx-redirect", "hx-location", "hx-push-url", "refresh", "content-location"):
        where = answer.headers.get(name)
        if where is None:
            continue
        assert re.fullmatch(r"/[\x21-\x7e]*", where), where
        seen = re.sub(r"[\t\r\n]", "", where).replace("\\", "/")
        assert urlsplit(urljoin(studio.url + "/a/b", seen)).netloc == urlsplit(studio.url).netloc, where
        assert not seen.startswith("//"), where
    assert "a=b" not in str(answer.headers.get_list("set-cookie"))


@pytest_asyncio.fixture(scope="module")
async def visitor(atelier: Studio) -> Browser:
    return await atelier.person_in_browser("redirected@studio.example")


@pytest_asyncio.fixture(scope="module")
async def nobody(atelier: Studio) -> httpx.AsyncClient:
    return atelier.client()


async def test_the_table_is_long() -> None:
    assert len(set(TRICKS)) >= 90


async def through_sign_in(studio: Studio, door: str, trick: str) -> list[httpx.Response]:
    """The whole way of somebody who follows a link from elsewhere: the form, what it holds, and where it sends them."""
    browser = studio.browser()
    page = await browser.get(door, params={"next": trick})
    form = read(page.text).one("form", action=door)
    values = form.values()
    who = {"email": "redirected@studio.example"} if door == "/login" else {"email": email("new"), "name": "New"}
    return [page, await browser.post(door, data={**values, **who, "password": PASSWORD})]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda value: repr(value)[:30])
async def test_signing_in_ends_here_whatever_the_link_said(atelier: Studio, visitor: Browser, trick: str) -> None:
    page, sent = await through_sign_in(atelier, "/login", trick)
    assert page.status_code == 200
    for link in read(page.text).all("a"):
        assert re.match(r"/(?![/\\])|[#?]", link.get("href", "/"))
    assert sent.status_code == 303, sent.text
    check_own(atelier, sent)
    by_hand = {"next": trick, "theme": "dark", "_csrf_token": await visitor.form_token("/jobs")}
    themed = await visitor.post("/theme", data=by_hand)
    assert themed.status_code == 303
    check_own(atelier, themed)
    signed_in_already = await visitor.get("/login", params={"next": trick})
    assert signed_in_already.status_code == 303
    check_own(atelier, signed_in_already)


@pytest.mark.parametrize("trick", TRICKS[::12], ids=lambda value: repr(value)[:30])
async def test_registering_ends_here_too(atelier: Studio, trick: str) -> None:
    page, sent = await through_sign_in(atelier, "/register", trick)
    assert (page.status_code, sent.status_code) == (200, 303)
    check_own(atelier, sent)


@pytest.mark.parametrize("trick", TRICKS, ids=lambda value: repr(value)[:30])
async def test_a_page_that_asks_for_a_fragment_cannot_say_where_signing_in_ends(
    atelier: Studio, visitor: Browser, nobody: httpx.AsyncClient, trick: str
) -> None:
    """`HX-Current-URL` is whatever a caller writes into it."""
    headers = {
        b"HX-Request-Type": b"partial",
        b"HX-Current-URL": re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", trick).strip().encode("utf-8"),
    }
    answer = await nobody.get("/jobs", headers=headers)
    assert answer.status_code == 401
    check_own(atelier, answer)
    sent_on = await visitor.get(answer.headers["hx-redirect"])
    assert sent_on.status_code == 303
    check_own(atelier, sent_on)


async def test_a_path_that_looks_like_a_host_leads_back_to_itself_at_most(atelier: Studio) -> None:
    for path in (
        "//evil.example/jobs",
        "//jobs",
        "/jobs//evil.example",
        "/%2f%2fevil.example",
        "/jobs%2f..%2f%2fevil.example",
    ):
        answer = await atelier.client().get(path)
        assert answer.status_code in (303, 404)
        check_own(atelier, answer)


async def test_whatever_a_host_header_says_no_answer_repeats_it(atelier: Studio) -> None:
    """Else a link in a page, or a cache in front, could be made to lead elsewhere."""
    headers = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Original-URL": "/admin",
        "X-Rewrite-URL": "/admin",
    }
    client = atelier.client()
    for door in doors(atelier):
        if door.method == "GET":
            answer = await client.get(door.at(), headers=headers)
            assert "evil.example" not in answer.text + str(answer.headers), door


async def test_a_place_of_our_own_is_kept_through_signing_in(atelier: Studio, visitor: Browser) -> None:
    """So that what is refused above is refused for where it leads."""
    for place in (
        "/jobs",
        "/library?kind=video&q=a%20b",
        "/generate/image?model=x%2Fy",
        "/jobs/abc#end",
        "/help/providers",
    ):
        _, sent = await through_sign_in(atelier, "/login", place)
        assert sent.headers["location"] == place
        away = await atelier.browser().get(place.partition("#")[0])
        assert away.headers["location"] == "/login?next=" + quote(place.partition("#")[0], safe="")
