"""No redirect ever leads to another site, however its target was given."""

import re
from urllib.parse import quote, urljoin, urlsplit

import httpx
import pytest_asyncio

from tests.html import parse_html
from tests.kit import Cases, new_email
from tests.security.routes import routes
from tests.studio import PASSWORD, Browser, Studio

EMAIL = "redirected@studio.example"
TARGETS = [
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
    """Every address in the headers leads to this site as a browser reads it: without tabs and newlines, with backslashes
    as slashes."""
    for name in ("location", "hx-redirect", "hx-location", "hx-push-url", "refresh", "content-location"):
        target = answer.headers.get(name)
        if target is None:
            continue
        assert re.fullmatch(r"/[\x21-\x7e]*", target), target
        seen = re.sub(r"[\t\r\n]", "", target).replace("\\", "/")
        assert urlsplit(urljoin(studio.url + "/a/b", seen)).netloc == urlsplit(studio.url).netloc, target
        assert not seen.startswith("//"), target
    assert "a=b" not in str(answer.headers.get_list("set-cookie"))


@pytest_asyncio.fixture(scope="module")
async def visitor(atelier: Studio) -> Browser:
    return await atelier.user_in_browser(EMAIL, direct=True)


async def test_the_table_of_targets_is_long() -> None:
    assert len(set(TARGETS)) >= 90


async def submit_form(studio: Studio, path: str, target: str) -> list[httpx.Response]:
    """Follow a link to the form at `path` from another site, and submit the form: the page and the redirect."""
    browser = studio.direct_browser()
    page = await browser.get(path, params={"next": target})
    values = parse_html(page.text).one("form", action=path).values()
    account = {"email": EMAIL} if path == "/login" else {"email": new_email("new"), "name": "New"}
    return [page, await browser.post(path, data={**values, **account, "password": PASSWORD})]


async def test_signing_in_leads_to_this_site_whatever_the_link_contained(atelier: Studio, visitor: Browser) -> None:
    with Cases() as cases:
        for target in TARGETS:
            with cases.case(repr(target)):
                page, sent = await submit_form(atelier, "/login", target)
                assert page.status_code == 200
                for link in parse_html(page.text).all("a"):
                    assert re.match(r"/(?![/\\])|[#?]", link.get("href", "/"))
                assert sent.status_code == 303, sent.text
                check_own(atelier, sent)
                signed_in_already = await visitor.get("/login", params={"next": target})
                assert signed_in_already.status_code == 303
                check_own(atelier, signed_in_already)


async def test_a_form_that_was_sent_by_hand_leads_to_this_site(atelier: Studio, visitor: Browser) -> None:
    token = await visitor.form_token("/jobs")
    with Cases() as cases:
        for target in TARGETS:
            with cases.case(repr(target)):
                form = {"next": target, "theme": "dark", "_csrf_token": token}
                answer = await visitor.post("/theme", data=form)
                assert answer.status_code == 303
                check_own(atelier, answer)


async def test_registering_leads_to_this_site_whatever_the_link_contained(atelier: Studio) -> None:
    with Cases() as cases:
        for target in TARGETS[::12]:
            with cases.case(repr(target)):
                page, sent = await submit_form(atelier, "/register", target)
                assert (page.status_code, sent.status_code) == (200, 303)
                check_own(atelier, sent)


async def test_the_address_that_htmx_sends_cannot_lead_to_another_site_after_signing_in(
    atelier: Studio, visitor: Browser
) -> None:
    """`HX-Current-URL` is whatever a caller writes into it."""
    anonymous = atelier.direct()
    with Cases() as cases:
        for target in TARGETS:
            with cases.case(repr(target)):
                headers = {
                    b"HX-Request-Type": b"partial",
                    b"HX-Current-URL": re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", target).strip().encode("utf-8"),
                }
                answer = await anonymous.get("/jobs", headers=headers)
                assert answer.status_code == 401
                check_own(atelier, answer)
                redirected = await visitor.get(answer.headers["hx-redirect"])
                assert redirected.status_code == 303
                check_own(atelier, redirected)


async def test_a_path_that_looks_like_a_host_leads_to_this_site(atelier: Studio) -> None:
    """Over a real connection, because the server's parser reads the path first."""
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


async def test_no_response_repeats_the_host_header(atelier: Studio) -> None:
    """Otherwise a link in a page, or a cache in front, could be made to lead to another site."""
    headers = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Original-URL": "/admin",
        "X-Rewrite-URL": "/admin",
    }
    client = atelier.direct()
    with Cases() as cases:
        for route in routes():
            if route.method == "GET":
                with cases.case(route):
                    answer = await client.get(route.at(), headers=headers)
                    assert "evil.example" not in answer.text + str(answer.headers)


async def test_a_path_of_this_site_survives_signing_in(atelier: Studio) -> None:
    """So that the redirects above are known to be about their targets."""
    for path in (
        "/jobs",
        "/library?kind=video&q=a%20b",
        "/generate/image?model=x%2Fy",
        "/jobs/abc#end",
        "/help/providers",
    ):
        _, sent = await submit_form(atelier, "/login", path)
        assert sent.headers["location"] == path
        away = await atelier.direct_browser().get(path.partition("#")[0])
        assert away.headers["location"] == "/login?next=" + quote(path.partition("#")[0], safe="")
