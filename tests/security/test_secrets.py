"""No secret appears in a log, an error, a page, the API document or the database. The real command runs through a busy day
with all kinds of requests, and these tests look for the secrets in everything that it wrote and returned."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.base import config
from app.base.logging import masked
from tests.kit import (
    IMAGE_MODEL,
    IMAGE_TO_VIDEO_MODEL,
    MULTI_IMAGE_MODEL,
    SHORT_IMAGE_TO_VIDEO,
    SHORT_VIDEO,
    TEXT_MODEL,
    VIDEO_MODEL,
    Cases,
    eventually,
    new_email,
    png,
)
from tests.processes import atelier_process
from tests.security.headers import header_problems
from tests.studio import Studio, cookie, served_simulator, session_cookie
from tests.trust import trust

EMAIL = "ann@studio.example"
PASSWORD = "correct-horse-battery-7"
WRONG = "wrong-horse-battery-7"
NEW = "another-horse-battery-7"
PROVIDER_KEY = "sk-or-v1-swordfishswordfishswordfish"
SIGNATURE = "X-Amz-Signature=marzipanmarzipan"
SECRET_KEY = "the-key-that-signs-" + "k" * 30
UNKNOWN_KEY = "atl_" + "swordfish" * 5


class Day:
    """The requests of one user on a busy day: every answer, and every secret that was sent or received."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.secrets: dict[str, str] = {
            "password": PASSWORD,
            "wrong password": WRONG,
            "new password": NEW,
            "provider key": PROVIDER_KEY,
            "signature of an address": SIGNATURE,
            "secret key": SECRET_KEY,
            "unknown API key": UNKNOWN_KEY,
        }
        self.answers: list[httpx.Response] = []
        self.exit_code: int | None = None
        self.log = ""
        self.data = Path()

    async def send(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})} if token else more.pop("headers", {})
        answer = await self.client.request(method, path, headers=headers, **more)
        self.answers.append(answer)
        return answer

    async def submit(self, path: str, values: dict[str, str]) -> httpx.Response:
        page = await self.send("GET", "/login" if cookie(self.client, "session") is None else "/jobs")
        token = re.findall(r'name="_csrf_token" value="([^"]+)"', page.text)[0]
        return await self.send("POST", path, data={**values, "_csrf_token": token})

    async def run(self) -> None:
        account = {"email": EMAIL, "password": PASSWORD}
        await self.send("POST", "/api/v1/auth/register", json=account)
        await self.send("POST", "/api/v1/auth/login", json={**account, "password": WRONG})
        tokens = (await self.send("POST", "/api/v1/auth/login", json=account)).json()
        access, refresh = tokens["access_token"], tokens["refresh_token"]
        self.secrets |= {"access token": access, "refresh token": refresh}
        refreshed = (await self.send("POST", "/api/v1/auth/refresh", json={"refresh_token": refresh})).json()
        access = refreshed["access_token"]
        self.secrets |= {"second access token": access, "second refresh token": refreshed["refresh_token"]}
        key = (await self.send("POST", "/api/v1/users/me/keys", access, json={"name": "laptop"})).json()["key"]
        self.secrets["API key"] = key
        for path in ("users/me", "users/me/keys", "users/me/sessions", "users", "admin/audit", "admin/health"):
            await self.send("GET", f"/api/v1/{path}", key)
        await self.generate(key)
        await self.provoke_errors(access, refresh)
        await self.visit_pages()

    async def generate(self, key: str) -> None:
        for prompt in ("[stamp] a boat", "[refuse] a boat", "[ambiguous] a boat"):
            await self.send("POST", "/api/v1/generate/text", key, json={"model": TEXT_MODEL, "prompt": prompt})
            await self.send("POST", "/api/v1/generate/image", key, json={"model": IMAGE_MODEL, "prompt": prompt})
        retried = {"model": IMAGE_MODEL, "prompt": "[fail] a boat"}  # for longer than this day
        await self.send("POST", "/api/v1/generate/image", key, json=retried, headers={"Prefer": "respond-async"})
        body: dict[str, object] = {"model": VIDEO_MODEL, "prompt": "[stamp] a boat", **SHORT_VIDEO}
        video = (await self.send("POST", "/api/v1/generate/video", key, json=body)).json()
        await self.send("POST", "/api/v1/assets", key, files={"file": ("a.png", png())})
        for url in (
            f"http://images.invalid/a.png?{SIGNATURE}",
            f"http://ann:{PASSWORD}@images.invalid/a.png",
            f"http://127.0.0.1/a.png?token={key}",
        ):
            body = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "x", "image_url": url, **SHORT_IMAGE_TO_VIDEO}
            await self.send("POST", "/api/v1/generate/video/from-image", key, json=body)
            body = {"model": MULTI_IMAGE_MODEL, "prompt": "x", "image_url": url}
            await self.send("POST", "/api/v1/generate/image", key, json=body)
        job = await eventually(
            lambda: self.send("GET", f"/api/v1/jobs/{video['id']}", key),
            lambda answer: answer.json()["completed_at"] is not None,
        )
        for asset in job.json()["assets"]:
            await self.client.get(asset["url"], headers={"Authorization": f"Bearer {key}"})
        await self.send("GET", "/api/v1/jobs", key)

    async def provoke_errors(self, access: str, refresh: str) -> None:
        """Requests whose errors could be logged or returned with what caused them."""
        await self.send("GET", "/api/v1/users/me", access + "x")
        await self.send("GET", "/api/v1/users/me", UNKNOWN_KEY)
        await self.send("GET", f"/api/v1/jobs?access_token={access}&password={PASSWORD}", access)
        await self.send("GET", f"/no/such/page?token={access}")
        await self.send("GET", f"/login?next=/jobs%3Ftoken%3D{access}")
        await self.send("POST", "/api/v1/auth/login", content=f'{{"email": "a", "password": "{PASSWORD}"'.encode())
        await self.send("POST", "/api/v1/auth/login", json={"email": 7, "password": PASSWORD})
        await self.send("POST", "/api/v1/auth/register", json={"email": "no", "password": PASSWORD, "x": WRONG})
        await self.send("PUT", "/api/v1/users/me", access, json={"password": NEW, "current_password": WRONG})
        await self.send("PUT", "/api/v1/users/me", access, json={"password": "short", "current_password": PASSWORD})
        await self.send("POST", "/api/v1/auth/refresh", json={"refresh_token": refresh})
        await self.send("POST", "/api/v1/auth/logout", json={"refresh_token": refresh, "more": PASSWORD})

    async def visit_pages(self) -> None:
        await self.submit("/login", {"email": EMAIL, "password": WRONG})
        await self.submit("/login", {"email": EMAIL, "password": PASSWORD})
        self.secrets["cookie"] = session_cookie(self.client)[1]
        for path in (
            *("/", "/jobs", "/library", "/generate/text", "/generate/image", "/models", "/help/providers", "/admin"),
            *("/users/profile", "/admin/audit", "/admin/jobs", "/chat", "/api/docs", "/api/v1/openapi.json"),
            *("/nothing", "/static/css/base.css", "/health"),
        ):
            await self.send("GET", path)
        await self.submit("/users/profile/password", {"current_password": WRONG, "password": NEW})
        await self.submit("/register", {"email": "no address", "password": NEW, "name": "Ann"})
        await self.submit("/logout", {})

    async def register_as(self, address: str) -> int:
        """The status of a registration that is refused for its email, or for the rate limit of this forwarded address."""
        body = {"email": "no address", "password": PASSWORD}
        return (
            await self.client.post("/api/v1/auth/register", json=body, headers={"X-Forwarded-For": address})
        ).status_code


@pytest_asyncio.fixture(scope="module")
async def day(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Day]:
    """The day at the real command, beside a provider that requires a key."""
    folder = tmp_path_factory.mktemp("day")
    async with served_simulator(folder / "provider") as origin:
        settings = {
            "OPENROUTER_API_KEY": PROVIDER_KEY,
            "OPENROUTER_BASE_URL": f"{origin}/api/v1",
            "ATELIER_SECRET_KEY": SECRET_KEY,
            "ATELIER_RATE_LIMITS": "on",
            "ATELIER_TRUSTED_PROXIES": "127.0.0.1",
        }
        async with atelier_process(folder, settings=settings) as started:
            await started.ready(300)
            async with httpx.AsyncClient(base_url=started.url, trust_env=False, verify=trust(), timeout=300) as client:
                day = Day(client)
                await day.run()
                forwarded = [await day.register_as(f"198.51.100.{number}") for number in range(12)]
                assert forwarded == [400] * 12, "each forwarded address has a rate limit of its own"
                async with asyncio.timeout(300):
                    while await day.register_as("198.51.100.100") != 429:
                        pass
            day.exit_code = await started.stopped(seconds=300)
            day.log = "\n".join(started.out + started.err)
            day.data = folder / "data"
            yield day


async def test_the_day_contains_all_kinds_of_answers(day: Day) -> None:
    assert {200, 201, 202, 303, 400, 401, 404, 502} <= {answer.status_code for answer in day.answers}
    assert not [answer for answer in day.answers if answer.status_code == 500]
    assert day.exit_code == 0
    assert day.log.count('"event":"request"') > 50
    assert "Traceback" not in day.log


def parts(secret: str) -> list[str]:
    """A secret, and its halves: also a part of it must not be written."""
    half = max(12, len(secret) // 2)
    return [secret, secret[:half], secret[-half:]]


async def test_no_secret_is_logged(day: Day) -> None:
    assert [name for name, secret in day.secrets.items() if any(part in day.log for part in parts(secret))] == []


async def test_a_secret_is_returned_only_once_to_its_owner(day: Day) -> None:
    """In the answer that creates it, and in no other."""
    creators = ("/auth/login", "/auth/refresh", "/users/me/keys")
    with Cases() as cases:
        for answer in day.answers:
            if answer.request.method == "POST" and answer.url.path.endswith(creators) and answer.is_success:
                continue
            headers = str([pair for pair in answer.headers.multi_items() if pair[0] != "set-cookie"])
            text = answer.text + headers
            # What a user puts into an address may be in the form that keeps it.
            sent = str(answer.request.url)
            with cases.case(answer.request.method, answer.url.path):
                assert [name for name, secret in day.secrets.items() if secret in text and secret not in sent] == []


async def test_secrets_are_stored_only_as_hashes(day: Day) -> None:
    """A stolen backup is useless for signing in."""
    content = stored(day.data)
    assert EMAIL.encode() in content
    assert [name for name, secret in day.secrets.items() if secret.encode() in content] == []


def stored(folder: Path) -> bytes:
    """The content of all files of the database."""
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file() and "duckdb" in path.name)


async def test_the_command_sends_the_headers_and_does_not_name_its_software(day: Day) -> None:
    with Cases() as cases:
        for answer in day.answers:
            with cases.case(answer.request.method, answer.url.path, answer.status_code):
                assert list(header_problems(answer)) == []
                for name in ("uvicorn", "litestar", "duckdb", "python"):
                    assert name not in str(answer.headers).lower()


def test_the_repr_of_the_settings_shows_no_secret() -> None:
    settings = config.load({"OPENROUTER_API_KEY": PROVIDER_KEY, "ATELIER_SECRET_KEY": SECRET_KEY})
    assert PROVIDER_KEY not in repr(settings) + str(settings)
    assert SECRET_KEY not in repr(settings) + str(settings)


def test_a_secret_in_a_log_line_is_masked() -> None:
    """The last protection, should a secret be logged after all."""
    lines = (
        "Authorization: Bearer {}",
        "authorization: bearer {}",
        "Authorization: Key {}",
        "GET /x?token={}&y=1",
        "https://x/y?X-Amz-Signature={}",
        "https://x/y?key={}",
        '{{"password={}"}}',
        "the key sk-or-{} was refused",
        "the key atl_{} was refused",
        "secret={}",
    )
    with Cases() as cases:
        for line in lines:
            with cases.case(line):
                assert "swordfish-swordfish" not in masked(line.format("swordfish-swordfish"))
                assert "…" in masked(line.format("swordfish-swordfish"))


async def test_an_unknown_email_and_a_wrong_password_get_the_same_answer_to_the_byte(atelier: Studio) -> None:
    """By API and on the page; that both cost one check of a password is tested with the accounts."""
    email = new_email("ann")
    await atelier.program.accounts.registration.register(email, PASSWORD)
    answers: list[set[Any]] = [set(), set()]
    browser, client = atelier.browser(), atelier.client()
    # Without compression, because the length of compressed text depends on the email in it.
    browser.headers["Accept-Encoding"] = client.headers["Accept-Encoding"] = "identity"
    token = await browser.form_token("/login")
    for address in (email, email.replace("ann", "eve", 1)):
        body = {"email": address, "password": WRONG}
        by_api = await client.post("/api/v1/auth/login", json=body)
        by_page = await browser.post("/login", data={**body, "_csrf_token": token})
        for seen, answer in zip(answers, (by_api, by_page), strict=True):
            text = answer.text.replace(address, "EMAIL")
            names = sorted(set(answer.headers) - {"x-request-id", "date"})
            seen.add((answer.status_code, text, json.dumps(names), answer.headers.get("content-length")))
    assert [len(seen) for seen in answers] == [1, 1]
