"""The whole site as the server calls it."""

import re
from pathlib import Path

from tests.studio import PASSWORD, running, session_cookie


async def test_with_an_https_address_cookies_are_secure_and_browsers_stay_on_https(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_PUBLIC_URL="https://studio.example") as studio:
        browser = studio.direct()
        page = await browser.get("/login")
        assert "max-age=" in page.headers["strict-transport-security"]
        [token] = re.findall(r'name="_csrf_token" value="([^"]+)"', page.text)
        cookie = page.headers["set-cookie"].split(";")[0]
        form = {"email": "ann@studio.example", "password": PASSWORD, "_csrf_token": token}
        answer = await browser.post("/register", data=form, headers={"Cookie": cookie})
        assert answer.status_code == 303
        for line in page.headers.get_list("set-cookie") + answer.headers.get_list("set-cookie"):
            assert line.startswith("__Host-"), line
            assert "secure" in line.lower()
            assert "path=/" in line.lower()
            assert "domain=" not in line.lower()
        for path in ("/api/v1/nothing", "/static/css/base.css", "/health"):
            assert "max-age=" in (await browser.get(path)).headers["strict-transport-security"]


async def test_two_instances_on_one_host_keep_their_users_signed_in(tmp_path: Path) -> None:
    """A browser sends the cookies of a host to all of its ports."""
    async with running(tmp_path / "one") as one, running(tmp_path / "two") as two:
        first = await one.user_in_browser(direct=True)
        second = two.direct_browser()
        second.cookies = first.cookies
        await second.send_form("/register", {"email": "bob@studio.example", "password": PASSWORD}, token_from="/login")
        for browser in (first, second):
            await browser.send_form("/theme", {"theme": "dark"}, token_from="/jobs")
            assert (await browser.get("/jobs")).status_code == 200
        assert {name.partition("-")[2].partition("-")[2] for name in first.cookies} >= {"session", "csrf", "theme"}


async def test_a_session_survives_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        name, value = session_cookie(await studio.user_in_browser(direct=True))
    async with running(tmp_path) as studio:
        answer = await studio.direct().get("/jobs", headers={"Cookie": f"{name}={value}"})
        assert answer.status_code == 200
