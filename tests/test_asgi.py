"""The whole site as the server calls it."""

import re
from pathlib import Path

from tests.studio import PASSWORD, running


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
