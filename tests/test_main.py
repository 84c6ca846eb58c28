"""The whole program under settings that change what it serves: https, registration, no simulator, no provider in reach."""

import re
import socket
from pathlib import Path

import pytest

from tests.kit import IMAGE_MODEL, UNKNOWN_ID, Cases, error_of
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


REGISTRATIONS = {
    "closed": {"bob@studio.example": 403},
    "domain:studio.example": {
        "bob@studio.example": 201,
        "joe@STUDIO.example": 201,
        "bob@other.example": 403,
        "bob@evil.studio.example": 403,
        "bob@evilstudio.example": 403,
        "bob@studio.example.evil.example": 403,
    },
    "open": {"bob@other.example": 201},
}


async def test_registration_is_open_closed_or_for_one_domain(tmp_path: Path) -> None:
    with Cases() as cases:
        for number, (registration, addresses) in enumerate(REGISTRATIONS.items()):
            async with running(tmp_path / str(number), ATELIER_REGISTRATION=registration) as studio:
                anonymous = studio.direct()
                body = {"email": "ann@studio.example", "password": PASSWORD}
                first = await anonymous.post("/api/v1/auth/register", json=body)
                with cases.case(registration, "the first user"):  # also when registration is closed
                    assert (first.status_code, first.json().get("role")) == (201, "admin")
                for address, status in addresses.items():
                    with cases.case(registration, address):
                        body = {"email": address, "password": PASSWORD}
                        answer = await anonymous.post("/api/v1/auth/register", json=body)
                        if status == 403:
                            error_of(answer, 403, "FORBIDDEN")
                            page = await studio.direct_browser().send_form("/register", body)
                            assert page.status_code == 403
                        else:
                            assert (answer.status_code, answer.json()["role"]) == (201, "user")


async def test_without_key_and_simulator_no_model_is_offered_and_everything_else_works(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR="off") as studio:
        ann = await studio.person(direct=True)
        assert (await ann.get("/api/v1/ai/models")).json()["items"] == []
        answer = await ann.post("/api/v1/generate/image", json={"model": IMAGE_MODEL, "prompt": "a"})
        assert answer.status_code in (400, 503)
        error_of(answer, answer.status_code)
        browser = await studio.person_in_browser(direct=True)
        for path in ("/", "/generate/text", "/generate/image", "/generate/video", "/library", "/jobs"):
            page = await browser.get(path)
            assert page.status_code == 200, path
            assert "results are simulated" not in page.text
        assert (await studio.direct().get("/health")).status_code == 200


async def test_the_program_starts_without_reaching_its_provider_and_logs_no_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    key, url = "sk-or-very-secret-key", f"http://127.0.0.1:{port}/api/v1"
    async with running(tmp_path, OPENROUTER_API_KEY=key, OPENROUTER_BASE_URL=url) as studio:
        ann = await studio.person(direct=True)
        assert (await studio.direct().get("/health")).status_code == 200
        assert (await ann.get("/api/v1/ai/models")).json()["items"] == []
        error_of(await ann.get(f"/api/v1/jobs/{UNKNOWN_ID}"), 404)
    captured = capfd.readouterr()
    assert "/api/v1/jobs/" in captured.err + captured.out, "the log was not captured"
    assert key not in captured.err + captured.out
