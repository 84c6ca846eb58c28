"""What all pages have in common: form tokens, error pages, no inline code, valid links, compression and caching."""

import re

import httpx

from tests.html import parse_html
from tests.kit import TEXT_MODEL, UNKNOWN_ID, Cases, generated_image, key_client, new_email
from tests.pages import FRAGMENT, PageUser
from tests.studio import PASSWORD, Studio

POST_PATHS = [
    "/login",
    "/register",
    "/logout",
    "/theme",
    "/generate/text",
    "/generate/image",
    "/generate/video",
    "/library",
    "/library/{asset}/delete",
    "/library/{asset}/restore",
    "/jobs/{job}/cancel",
    "/jobs/{job}/retry",
    "/jobs/{job}/delete",
    "/jobs/{job}/restore",
]

Pages = list[tuple[str, httpx.Response]]


async def every_page(atelier: Studio, viewer: PageUser) -> Pages:
    job, asset = (await viewer.jobs())[0], (await viewer.assets())[0]
    private = [
        "/",
        "/generate/text",
        "/generate/image",
        "/generate/video",
        "/generate/video?mode=image",
        "/library",
        f"/library/{asset['id']}",
        "/jobs",
        f"/jobs/{job['id']}",
        "/no/such/page",
    ]
    public = ["/login", "/register", "/api/docs", "/nowhere"]
    return [(path, await viewer.browser.get(path)) for path in private] + [
        (path, await atelier.direct_browser().get(path)) for path in public
    ]


# Forms


async def test_a_form_without_a_valid_token_is_403_and_changes_nothing(atelier: Studio, viewer: PageUser) -> None:
    before = (await viewer.jobs(), await viewer.assets())
    job, asset = before[0][0], before[1][0]
    form = {
        "email": new_email(),
        "password": PASSWORD,
        "model": TEXT_MODEL,
        "prompt": "x",
        "mode": "text",
        "theme": "dark",
    }
    of_another_browser = await atelier.direct_browser().form_token("/login")
    with Cases() as cases:
        for token in ({}, {"_csrf_token": "0" * 64}, {"_csrf_token": of_another_browser}):
            for template in POST_PATHS:
                path = template.format(job=job["id"], asset=asset["id"])
                for browser in (viewer.browser, atelier.direct_browser()):
                    with cases.case(path, token):
                        answer = await browser.post(path, data={**form, **token})
                        assert answer.status_code == 403
                        assert answer.headers["content-type"].startswith("text/html")
                        fragment = await browser.post(path, data={**form, **token}, headers=FRAGMENT)
                        assert fragment.status_code == 403
    assert before == (await viewer.jobs(), await viewer.assets())
    assert (await viewer.browser.get("/jobs")).status_code == 200


async def test_every_form_carries_a_token(atelier: Studio, viewer: PageUser) -> None:
    with Cases() as cases:
        for path, answer in await every_page(atelier, viewer):
            if answer.status_code != 200 or path == "/api/docs":
                continue
            with cases.case(path):
                forms = [form for form in parse_html(answer.text).all("form") if form.get("method").lower() == "post"]
                assert forms
                for form in forms:
                    token = [field for field in form.all() if field.get("name") == "_csrf_token" and field.get("value")]
                    assert token, form["action"]


async def test_a_token_in_a_header_is_accepted(page_user: PageUser) -> None:
    token = await page_user.browser.form_token("/jobs")
    answer = await page_user.browser.post(
        "/theme", data={"theme": "dark", "next": "/jobs"}, headers={"X-CSRFToken": token}
    )
    assert answer.status_code in (200, 204, 303)


async def test_a_body_that_is_no_form_is_refused(page_user: PageUser) -> None:
    token = await page_user.browser.form_token("/jobs")
    for kind in ("application/json", "text/plain"):
        headers = {"X-CSRFToken": token, "Content-Type": kind}
        answer = await page_user.browser.post("/generate/text", content=b'{"model": "x"}', headers=headers)
        assert answer.status_code in (400, 415)


# Error pages


async def test_an_error_page_of_a_signed_in_user_has_the_navigation_and_the_account(
    atelier: Studio, viewer: PageUser
) -> None:
    errors = [
        ("GET", "/nothing-here", 404),
        ("GET", "/media/x/y/z", 404),
        ("GET", f"/jobs/{UNKNOWN_ID}", 404),
        ("DELETE", "/library", 405),
        ("GET", "/logout", 405),
    ]
    with Cases() as cases:
        for method, path, status in errors:
            with cases.case(method, path):
                answer = await viewer.browser.request(method, path)
                assert answer.status_code == status
                page = parse_html(answer.text)
                links = page.one("ul", **{"class": "nav-list"}).all("a")
                assert [link["href"] for link in links][:2] == ["/generate", "/chat"]
                assert page.one(id="account-menu").all("form", action="/logout")
                assert viewer.address in page.one(id="account-menu").text
                signed_out = await atelier.direct_browser().request(method, path)
                assert "nav-list" not in signed_out.text
                assert signed_out.status_code in (status, 303)


async def test_an_unknown_path_of_the_api_shows_nothing_about_the_user(viewer: PageUser) -> None:
    answer = await viewer.browser.get("/api/v1/nothing-here")
    assert answer.json() == {
        "error": {"code": "RESOURCE_NOT_FOUND", "message": "There is nothing at this address.", "details": {}}
    }


async def test_an_unknown_page_is_404_with_a_link_to_the_start_page(atelier: Studio, viewer: PageUser) -> None:
    """Over a real connection, as the HTTP parser passes the path on."""
    signed_in = atelier.browser()
    signed_in.cookies = httpx.Cookies(viewer.browser.cookies)
    paths = ["/no/such/page", "/generate/nothing", "/jobs/a/b/c", "/%00", "/%ff", "/é", "/index.php", "/.env"]
    with Cases() as cases:
        for browser in (signed_in, atelier.browser()):
            for path in paths:
                with cases.case(path):
                    answer = await browser.get(path)
                    if browser is not signed_in and answer.status_code == 303:
                        assert answer.headers["location"].startswith("/login")
                        continue
                    assert answer.status_code == 404
                    assert answer.headers["content-type"].startswith("text/html")
                    page = parse_html(answer.text)
                    assert "404" in page.text
                    assert answer.headers["x-request-id"]
                    assert [link for link in page.all("a") if link.get("href") == "/"]


async def test_a_wrong_method_on_a_page_is_405_with_allow(viewer: PageUser) -> None:
    answer = await viewer.browser.get("/logout")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert answer.headers["content-type"].startswith("text/html")


async def test_pages_answer_head_without_a_body(viewer: PageUser, atelier: Studio) -> None:
    signed_in = atelier.browser()
    signed_in.cookies = httpx.Cookies(viewer.browser.cookies)
    for browser, path in ((atelier.browser(), "/login"), (signed_in, "/jobs"), (atelier.browser(), "/health")):
        answer = await browser.head(path)
        assert answer.status_code in (200, 405), path
        assert answer.content == b""


# Every page


async def test_no_page_has_inline_code_or_content_of_another_origin(atelier: Studio, viewer: PageUser) -> None:
    for path, answer in await every_page(atelier, viewer):
        for element in parse_html(answer.text).all():
            assert "style" not in element.attributes, path
            assert element.tag != "style", path
            assert not [name for name in element.attributes if name.startswith(("on", "hx-on"))], path
            assert element.tag != "script" or (element.get("src").startswith("/static/") and not element.text), path
            for name in ("src", "href", "action", "formaction", "poster", "srcset", "hx-get", "hx-post"):
                value = element.get(name)
                assert not re.match(r"(?i)\s*(https?:)?//|javascript:|data:", value), f"{path} {value}"


async def test_every_page_has_a_language_a_title_one_heading_and_unique_ids(atelier: Studio, viewer: PageUser) -> None:
    for path, answer in await every_page(atelier, viewer):
        page = parse_html(answer.text)
        assert page.one("html").get("lang") == "en", path
        assert page.one("title").text, path
        assert len(page.all("h1")) == 1, path
        assert page.all("meta", name="viewport"), path
        ids = [element["id"] for element in page.all() if "id" in element.attributes]
        assert len(ids) == len(set(ids)), f"{path}: {[one for one in ids if ids.count(one) > 1]}"
        for label in page.all("label"):
            assert not label.get("for") or label["for"] in ids, f"{path} {label['for']}"


async def test_every_link_of_every_page_is_valid(atelier: Studio, viewer: PageUser) -> None:
    statuses: dict[str, int] = {}
    for path, answer in await every_page(atelier, viewer):
        for element in parse_html(answer.text).all():
            for name in ("href", "src", "poster", "hx-get"):
                target = element.get(name).split("#")[0]
                if not target.startswith("/") or target in statuses:
                    continue
                status = (await viewer.browser.get(target)).status_code
                statuses[target] = status
                assert status in (200, 303, 301, 302, 307), f"{path} links to {target}: {status}"
    assert len(statuses) > 20


async def test_every_page_says_that_results_are_simulated(atelier: Studio, viewer: PageUser) -> None:
    without = [
        path
        for path, answer in await every_page(atelier, viewer)
        if answer.status_code == 200 and "No provider is configured: results are simulated" not in answer.text
    ]
    assert without == []


async def test_a_user_sees_nothing_of_another(atelier: Studio, page_user: PageUser) -> None:
    other = await key_client(atelier, "other")
    job = await generated_image(other, "[stamp] a secret garden of another user")
    for path in ("/", "/library", "/jobs", "/generate/image", "/generate/video?mode=image"):
        text = (await page_user.browser.get(path)).text
        assert "secret garden" not in text
        assert job["id"] not in text
        assert job["assets"][0]["id"] not in text


# Compression and static files


async def test_pages_and_static_files_are_compressed(atelier: Studio, viewer: PageUser) -> None:
    anonymous = atelier.direct_browser()
    for browser, path in [
        (viewer.browser, "/generate/image"),
        (viewer.browser, "/library"),
        *[(anonymous, path) for path in ("/static/htmx.min.js", "/static/css/base.css", "/static/icons.svg")],
    ]:
        answer = await browser.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200, path
        assert answer.headers["content-encoding"] == "gzip", path
        assert "accept-encoding" in answer.headers["vary"].lower(), path
        plain = await browser.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers, path
        if path.startswith("/static"):
            assert plain.content == answer.content


async def test_static_files_are_cached_and_their_address_changes_with_their_content(viewer: PageUser) -> None:
    page = await viewer.page("/generate/image")
    addresses = {it.get("src") or it.get("href") for it in page.all()}
    files = {address.split("#")[0] for address in addresses if address.startswith("/static/")}
    assert len(files) > 5
    for name in files:
        assert name.endswith(".woff2") or re.search(r"\?v=\w{8,}$", name), name
        answer = await viewer.browser.get(name)
        assert answer.status_code == 200
        assert re.search(r"max-age=(\d+)", answer.headers["cache-control"])
        assert answer.headers.get("etag") or "immutable" in answer.headers["cache-control"]
        assert "session" not in answer.headers.get("set-cookie", "")


async def test_a_page_with_its_files_is_below_100_kb_compressed(viewer: PageUser) -> None:
    page = await viewer.browser.get("/generate/image")
    names = {it.get("src") or it.get("href") for it in parse_html(page.text).all() if it.tag in ("script", "link")}
    total = int(page.headers["content-length"])
    for name in names:
        if name.startswith("/static/"):
            async with viewer.browser.stream("GET", name) as answer:
                total += len(b"".join([part async for part in answer.aiter_raw()]))
    assert total < 100_000
