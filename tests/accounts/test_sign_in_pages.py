"""The sign-in and registration pages of the whole application: redirects, cookies, rejected forms."""

import re
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.html import parse_html
from tests.kit import UNKNOWN_ID, Cases, new_email
from tests.pages import FRAGMENT, INJECTION, PageUser, field_error
from tests.studio import PASSWORD, Studio, cookie

PRIVATE_PAGES = [
    "/generate",
    "/generate/text",
    "/generate/image",
    "/generate/video",
    "/generate/video?mode=image",
    "/library",
    "/library?kind=video&q=a%20b",
    "/jobs",
    f"/jobs/{UNKNOWN_ID}",
    f"/jobs/{UNKNOWN_ID}/card",
]


async def test_a_signed_out_browser_is_redirected_to_sign_in_and_back(atelier: Studio) -> None:
    with Cases() as cases:
        for path in PRIVATE_PAGES:
            with cases.case(path):
                answer = await atelier.direct_browser().get(path)
                assert answer.status_code == 303
                where = urlsplit(answer.headers["location"])
                assert (where.scheme, where.netloc, where.path) == ("", "", "/login")
                assert parse_qs(where.query)["next"] == [path]


async def test_signing_in_redirects_to_the_requested_page(atelier: Studio, viewer: PageUser) -> None:
    browser = atelier.direct_browser()
    redirect = await browser.get("/library", params={"kind": "video", "q": "a b"})
    page = parse_html((await browser.get(redirect.headers["location"])).text)
    form = page.one("form", action="/login")
    answer = await browser.post("/login", data={**form.values(), "email": viewer.address, "password": PASSWORD})
    assert answer.status_code == 303
    assert answer.headers["location"].replace("%20", " ").replace("+", " ") == "/library?kind=video&q=a b"
    assert (await browser.get(answer.headers["location"])).status_code == 200


async def test_registering_signs_in_and_redirects_to_the_requested_page(atelier: Studio) -> None:
    browser = atelier.direct_browser()
    page = parse_html((await browser.get("/register", params={"next": "/jobs?limit=5"})).text)
    form = page.one("form", action="/register")
    filled = {**form.values(), "email": new_email(), "password": PASSWORD, "name": "Ann"}
    answer = await browser.post("/register", data=filled)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?limit=5")
    assert (await browser.get("/jobs")).status_code == 200


FOREIGN_TARGETS = [
    "https://evil.example/",
    "http://evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/\n/evil.example",
    "https:evil.example",
    "https:/evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,x",
    "/%09/evil.example",
    "/%5cevil.example",
    "/..//evil.example",
    "/.//evil.example",
    "evil.example",
    "@evil.example",
    "/@evil.example/../..//evil.example",
    "/jobs\r\nSet-Cookie: a=b",
    "/jobs\r\n\r\n<script>",
    "http:///evil.example",
    "////evil.example",
    "/\u2028/evil.example",
    "/\x00/evil.example",
    "／／evil.example",
    "/login",
    "/logout",
    "x" * 10_000,
]


async def test_next_never_leads_to_another_site(atelier: Studio, viewer: PageUser) -> None:
    with Cases() as cases:
        for target in FOREIGN_TARGETS:
            with cases.case(repr(target)):
                browser = atelier.direct_browser()
                form = {"email": viewer.address, "password": PASSWORD, "next": target}
                answers = [await browser.get("/login", params={"next": target})]
                answers.append(await browser.get("/register", params={"next": target}))
                answers.append(await browser.send_form("/login", form))
                answers.append(await browser.get("/login", params={"next": target}))  # already signed in
                answers.append(await browser.get("/register", params={"next": target}))
                if target in FOREIGN_TARGETS[:4]:
                    new_account = {**form, "email": new_email()}
                    answers.append(await atelier.direct_browser().send_form("/register", new_account))
                for answer in answers:
                    assert answer.status_code in (200, 303)
                    assert "a=b" not in answer.headers.get("set-cookie", "")
                    if answer.status_code == 303:
                        where = answer.headers["location"]
                        assert re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", where), where
                        assert "evil.example" not in (urlsplit(str(answer.url.join(where))).netloc)
                        # A browser drops tabs and newlines and reads a backslash as a slash.
                        assert not re.sub(r"[\t\r\n]", "", where).replace("\\", "/").startswith("//")
                    else:
                        for link in parse_html(answer.text).all("a"):
                            assert link.get("href", "/").startswith(("/", "#", "?"))
                            assert not link.get("href", "/").startswith(("//", "/\\"))


async def test_signed_out_a_fragment_is_401_and_redirects_the_whole_page(atelier: Studio) -> None:
    headers = {**FRAGMENT, "HX-Current-URL": f"{atelier.url}/jobs"}
    for path in ("/jobs", f"/jobs/{UNKNOWN_ID}/card", "/generate/image/fields", "/library?cursor=x"):
        answer = await atelier.direct_browser().get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["hx-redirect"].startswith("/login")
        assert "location" not in answer.headers


async def test_signed_out_a_boosted_link_is_redirected_like_any_page(atelier: Studio) -> None:
    headers = {"HX-Request": "true", "HX-Request-Type": "full", "HX-Boosted": "true"}
    assert (await atelier.direct_browser().get("/jobs", headers=headers)).status_code == 303


async def test_signing_out_ends_the_session_at_once(page_user: PageUser, atelier: Studio) -> None:
    copy = atelier.direct_browser()
    copy.cookies = httpx.Cookies(page_user.browser.cookies)
    assert (await copy.get("/jobs")).status_code == 200
    answer = await page_user.browser.send_form("/logout")
    assert answer.status_code == 303
    assert (await page_user.browser.get("/jobs")).status_code == 303
    assert (await copy.get("/jobs")).status_code == 303


async def test_the_session_cookie_is_hidden_from_scripts_and_other_sites(atelier: Studio) -> None:
    browser = atelier.direct_browser()
    answer = await browser.send_form("/register", {"email": new_email(), "password": PASSWORD})
    [cookie] = [
        line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{atelier.cookie_prefix}session=")
    ]
    lowered = cookie.lower()
    assert "httponly" in lowered
    assert "samesite=lax" in lowered or "samesite=strict" in lowered
    assert "path=/" in lowered
    age = re.search(r"max-age=(\d+)", lowered)
    assert age
    assert int(age[1]) == 30 * 24 * 3600
    assert "secure" not in lowered  # the URL is http


async def test_a_garbled_session_cookie_is_no_session(atelier: Studio) -> None:
    browser = atelier.direct_browser()
    for value in ("x", "", "' or 1=1", "0" * 64, "a" * 5000):
        assert (
            await browser.get("/jobs", headers={"Cookie": f"{atelier.cookie_prefix}session={value}"})
        ).status_code == 303


async def test_a_refused_sign_in_keeps_the_address_and_never_the_password(atelier: Studio, viewer: PageUser) -> None:
    for address in (viewer.address, new_email("unknown")):
        browser = atelier.direct_browser()
        form = {"email": address, "password": "not the password", "next": "/jobs"}
        answer = await browser.send_form("/login", form)
        assert answer.status_code in (400, 401)
        page = parse_html(answer.text)
        assert page.one("input", name="email")["value"] == address
        assert page.one("input", name="next")["value"] == "/jobs"
        assert "value" not in page.one("input", name="password").attributes
        assert "not the password" not in answer.text
        assert page.all(role="alert")
        assert cookie(browser, "session") is None


async def test_a_refused_registration_keeps_the_input_and_names_the_field(atelier: Studio) -> None:
    forms = {
        "email": {"email": INJECTION, "name": INJECTION, "password": PASSWORD},
        "password": {"email": "x@studio.example", "name": INJECTION, "password": "tiny"},
        "name": {"email": "x@studio.example", "name": INJECTION * 100, "password": PASSWORD},
    }
    with Cases() as cases:
        for field, form in forms.items():
            with cases.case(field):
                answer = await atelier.direct_browser().send_form("/register", form)
                assert answer.status_code == 400
                assert "<script>alert" not in answer.text
                page = parse_html(answer.text)
                assert page.one("input", name="email")["value"] == form["email"]
                assert page.one("input", name="name")["value"] == form["name"]
                assert form["password"] not in answer.text
                message = field_error(page, page.one("input", name=field))
                assert message[0].isupper(), message


async def test_a_registered_address_is_reported_beside_its_field(atelier: Studio, viewer: PageUser) -> None:
    form = {"email": viewer.address.upper(), "name": "", "password": PASSWORD}
    answer = await atelier.direct_browser().send_form("/register", form)
    assert answer.status_code == 409
    page = parse_html(answer.text)
    assert page.one("input", name="email")["value"] == form["email"]
    assert page.all(class_="error") or page.all(role="alert")
