"""Helpers for tests of the pages as HTTP sees them: a signed-in user with a browser, and readers of forms and cards."""

from urllib.parse import quote

import httpx

from tests.html import Element, parse_html
from tests.kit import TEXT_MODEL, Json, ended_job, generated_image, new_email, requested_video
from tests.studio import PASSWORD, Browser, Studio

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}  # headers that htmx sends to fetch a part of a page
INJECTION = "\"><script>alert(1)</script>'&lt;{{7*7}}"


class PageUser:
    """A user who is signed in twice: with the browser under test, and with an API client that shows what a page changed."""

    def __init__(self, address: str, browser: Browser, client: httpx.AsyncClient) -> None:
        self.address = address
        self.browser = browser
        self.client = client

    async def page(self, path: str) -> Element:
        answer = await self.browser.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.headers.get('location')}"
        assert answer.headers["content-type"].startswith("text/html")
        return parse_html(answer.text)

    async def submit_create_form(self, kind: str, htmx: bool = False, **form: str) -> httpx.Response:
        """Fill in the create form of `kind` and submit it, as a browser with or without htmx does."""
        query = "&".join(f"{key}={quote(form[key])}" for key in ("mode", "model") if key in form)
        page = await self.page(f"/generate/{kind}?{query}")
        filled = {**page.one("form", id="create").values(), **form}
        return await self.browser.send_form(f"/generate/{kind}", filled, headers=FRAGMENT if htmx else {})

    async def jobs(self) -> list[Json]:
        items: list[Json] = (await self.client.get("/api/v1/jobs")).json()["items"]
        return items

    async def assets(self) -> list[Json]:
        items: list[Json] = (await self.client.get("/api/v1/assets")).json()["items"]
        return items

    async def ended(self, job_id: str) -> Json:
        return await ended_job(self.client, job_id)


async def new_page_user(atelier: Studio, name: str = "page-user") -> PageUser:
    address = new_email(name)
    browser = await atelier.user_in_browser(address, direct=True)
    account = {"email": address, "password": PASSWORD}
    tokens = await atelier.direct().post("/api/v1/auth/login", json=account)
    key = await atelier.direct(tokens.json()["access_token"]).post("/api/v1/users/me/keys", json={"name": "tests"})
    return PageUser(address, browser, atelier.direct(key.json()["key"]))


async def new_viewer(atelier: Studio) -> PageUser:
    """A page user with one completed job of each kind."""
    user = await new_page_user(atelier, "viewer")
    await user.client.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": "a text"})
    await generated_image(user.client)
    video = await user.ended((await requested_video(user.client))["id"])
    assert video["status"] == "completed"
    return user


def job_card(html: str) -> Element:
    """The one root element of a fragment, which must be a job card."""
    articles = [root for root in parse_html(html).children if root.tag == "article"]
    assert len(articles) == 1, html[:500]
    assert articles[0]["id"].startswith("job-")
    return articles[0]


def field_error(page: Element, field: Element) -> str:
    """The error message beside an invalid field."""
    assert field["aria-invalid"] == "true"
    [message] = [page.one(id=place).text for place in field["aria-describedby"].split() if place.endswith("-error")]
    return message


def select_values(form: Element, name: str) -> list[str]:
    """The values that a select field offers, without an empty one."""
    options = form.one("select", name=name).all("option")
    return [value for option in options if (value := option.get("value", option.text))]
