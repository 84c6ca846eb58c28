"""No secret is ever said: not in a log, not in an error, not on a page, not in the API's document."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.base.log import masked
from tests.api.kit import CLIP, COUNTED, FRAMED, PICTURE, SHORT, SHORT_FRAMED, TEXT, eventually, png
from tests.api.processes import Running, atelier, provider
from tests.trust import trust

PASSWORD = "correct-horse-battery-7"
WRONG = "wrong-horse-battery-7"
NEW = "another-horse-battery-7"
PROVIDER_KEY = "sk-or-v1-swordfishswordfishswordfish"
SIGNED = "X-Amz-Signature=marzipanmarzipan"
SECRET_KEY = "the-key-that-signs-" + "k" * 30


class Visit:
    """A busy day of one person: everything they were told, and every secret that was said on the way."""

    def __init__(self, url: str) -> None:
        self.client = httpx.AsyncClient(base_url=url, trust_env=False, verify=trust(), timeout=60)
        self.secrets: dict[str, str] = {
            "password": PASSWORD,
            "wrong password": WRONG,
            "new password": NEW,
            "provider key": PROVIDER_KEY,
            "signed address": SIGNED,
            "secret key": SECRET_KEY,
        }
        self.answers: list[httpx.Response] = []

    async def __aenter__(self) -> "Visit":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})} if token else more.pop("headers", {})
        answer = await self.client.request(method, path, headers=headers, **more)
        self.answers.append(answer)
        return answer

    async def form(self, path: str, values: dict[str, str]) -> httpx.Response:
        page = await self.ask("GET", "/login" if "session" not in self.client.cookies else "/jobs")
        token = re.findall(r'name="_csrf_token" value="([^"]+)"', page.text)[0]
        return await self.ask("POST", path, data={**values, "_csrf_token": token})

    async def day(self) -> None:
        email = "ann@studio.example"
        await self.ask("POST", "/api/v1/auth/register", json={"email": email, "password": PASSWORD})
        await self.ask("POST", "/api/v1/auth/login", json={"email": email, "password": WRONG})
        tokens = (await self.ask("POST", "/api/v1/auth/login", json={"email": email, "password": PASSWORD})).json()
        access, refresh = tokens["access_token"], tokens["refresh_token"]
        self.secrets |= {"access token": access, "refresh token": refresh}
        renewed = (await self.ask("POST", "/api/v1/auth/refresh", json={"refresh_token": refresh})).json()
        access = renewed["access_token"]
        self.secrets |= {"second access token": access, "second refresh token": renewed["refresh_token"]}
        key = (await self.ask("POST", "/api/v1/users/me/keys", access, json={"name": "laptop"})).json()["key"]
        self.secrets["API key"] = key
        for path in ("users/me", "users/me/keys", "users/me/sessions", "users", "admin/audit", "admin/health"):
            await self.ask("GET", f"/api/v1/{path}", key)
        await self.work(key)
        await self.trouble(access, refresh)
        await self.pages(email)

    async def work(self, key: str) -> None:
        for prompt in ("a boat", "[refuse] a boat", "[ambiguous] a boat"):
            await self.ask("POST", "/api/v1/generate/text", key, json={"model": TEXT, "prompt": prompt})
            await self.ask("POST", "/api/v1/generate/image", key, json={"model": PICTURE, "prompt": prompt})
        body = {"model": PICTURE, "prompt": "[fail] a boat"}  # tried again and again, for longer than is waited here
        await self.ask("POST", "/api/v1/generate/image", key, json=body, headers={"Prefer": "respond-async"})
        clip = (
            await self.ask("POST", "/api/v1/generate/video", key, json={"model": CLIP, "prompt": "a boat", **SHORT})
        ).json()
        await self.ask("POST", "/api/v1/assets", key, files={"file": ("a.png", png())})
        for url in (
            f"http://pictures.invalid/a.png?{SIGNED}",
            f"http://ann:{PASSWORD}@pictures.invalid/a.png",
            f"http://127.0.0.1/a.png?token={key}",
        ):
            framed: dict[str, object] = {"model": FRAMED, "prompt": "x", "image_url": url, **SHORT_FRAMED}
            await self.ask("POST", "/api/v1/generate/video/from-image", key, json=framed)
            await self.ask(
                "POST", "/api/v1/generate/image", key, json={"model": COUNTED, "prompt": "x", "image_url": url}
            )
        job = await eventually(
            lambda: self.ask("GET", f"/api/v1/jobs/{clip['id']}", key),
            lambda it: it.json()["completed_at"] is not None,
            60,
        )
        for asset in job.json()["assets"]:
            await self.client.get(asset["url"], headers={"Authorization": f"Bearer {key}"})
        await self.ask("GET", "/api/v1/jobs", key)

    async def trouble(self, access: str, refresh: str) -> None:
        """What is answered with an error, and could be written down with what caused it."""
        await self.ask("GET", "/api/v1/users/me", access + "x")
        await self.ask("GET", "/api/v1/users/me", "atl_" + "swordfish" * 5)
        await self.ask("GET", f"/api/v1/jobs?access_token={access}&password={PASSWORD}", access)
        await self.ask("GET", f"/no/such/page?token={access}")
        await self.ask("GET", f"/login?next=/jobs%3Ftoken%3D{access}")
        await self.ask("POST", "/api/v1/auth/login", content=f'{{"email": "a", "password": "{PASSWORD}"'.encode())
        await self.ask("POST", "/api/v1/auth/login", json={"email": 7, "password": PASSWORD})
        await self.ask("POST", "/api/v1/auth/register", json={"email": "no", "password": PASSWORD, "x": WRONG})
        await self.ask("PUT", "/api/v1/users/me", access, json={"password": NEW, "current_password": WRONG})
        await self.ask("PUT", "/api/v1/users/me", access, json={"password": "short", "current_password": PASSWORD})
        await self.ask("POST", "/api/v1/auth/refresh", json={"refresh_token": refresh})
        await self.ask("POST", "/api/v1/auth/logout", json={"refresh_token": refresh, "more": PASSWORD})
        self.secrets["a key that was never one"] = "atl_" + "swordfish" * 5

    async def pages(self, email: str) -> None:
        await self.form("/login", {"email": email, "password": WRONG})
        await self.form("/login", {"email": email, "password": PASSWORD})
        self.secrets |= {"cookie": self.client.cookies["session"]}
        for path in (
            "/",
            "/jobs",
            "/library",
            "/generate/text",
            "/generate/image",
            "/models",
            "/help/providers",
            "/admin",
        ):
            await self.ask("GET", path)
        for path in ("/users/profile", "/admin/audit", "/admin/jobs", "/chat", "/api/docs", "/api/v1/openapi.json"):
            await self.ask("GET", path)
        await self.form("/users/profile/password", {"current_password": WRONG, "password": NEW})
        await self.form("/register", {"email": "no address", "password": NEW, "name": "Ann"})
        await self.form("/logout", {})


async def told(folder: Path) -> AsyncIterator[tuple[Visit, Running]]:
    """The day at a real process with a real provider beside it, which asks for its key."""
    async with provider(folder) as upstream:
        settings = {
            "OPENROUTER_API_KEY": PROVIDER_KEY,
            "OPENROUTER_BASE_URL": f"{upstream.url}/api/v1",
            "ATELIER_SECRET_KEY": SECRET_KEY,
        }
        async with atelier(folder, settings=settings) as started:
            await started.ready()
            async with Visit(started.url) as visit:
                await visit.day()
                yield visit, started


def parts(secret: str) -> list[str]:
    """A secret, and what is left of it when only a part is said."""
    return [secret, secret[: max(12, len(secret) // 2)], secret[-max(12, len(secret) // 2) :]]


async def test_a_busy_day_leaves_no_secret_in_logs_errors_and_pages(tmp_path: Path) -> None:
    async for visit, started in told(tmp_path):
        statuses = {answer.status_code for answer in visit.answers}
        assert {200, 201, 202, 303, 400, 401, 404, 502} <= statuses, "it was not a busy day"
        assert not [answer for answer in visit.answers if answer.status_code == 500]
        assert await started.stopped() == 0
        log = "\n".join(started.out + started.err)
        assert log.count('"event":"request"') > 50
        assert "Traceback" not in log
        said = [name for name, secret in visit.secrets.items() if any(part in log for part in parts(secret))]
        assert said == [], "in the log"
        check_answers(visit)
        check_disk(tmp_path / "data", visit)


def check_answers(visit: Visit) -> None:
    """A secret is told to its owner once, in the answer that makes it, and never again."""
    makers = ("/auth/login", "/auth/refresh", "/users/me/keys")
    for answer in visit.answers:
        if answer.request.method == "POST" and answer.url.path.endswith(makers) and answer.is_success:
            continue
        head = str([pair for pair in answer.headers.multi_items() if pair[0] != "set-cookie"])
        text = answer.text + head
        # What somebody writes into an address is theirs to see again, in the form that keeps it for them.
        mirrored = str(answer.request.url)
        told = [name for name, secret in visit.secrets.items() if secret in text and secret not in mirrored]
        assert told == [], f"{answer.request.method} {answer.url.path}"


def check_disk(folder: Path, visit: Visit) -> None:
    """Nothing that opens a door lies in the data folder but as a hash; a stolen backup signs nobody in."""
    content = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file() and "duckdb" in path.name)
    assert content
    kept = [name for name, secret in visit.secrets.items() if secret.encode() in content]
    assert kept == []


async def test_settings_are_shown_by_no_answer_and_no_repr(tmp_path: Path) -> None:
    from app.base import config

    settings = config.load({"OPENROUTER_API_KEY": PROVIDER_KEY, "ATELIER_SECRET_KEY": SECRET_KEY})
    assert PROVIDER_KEY not in repr(settings) + str(settings)
    assert SECRET_KEY not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    "text",
    [
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
    ],
)
def test_a_log_line_that_holds_a_secret_after_all_is_masked(text: str) -> None:
    """The last net: what nobody should have logged is not written."""
    assert "swordfish-swordfish" not in masked(text.format("swordfish-swordfish"))
    assert "…" in masked(text.format("swordfish-swordfish"))


async def test_an_unknown_email_and_a_wrong_password_cannot_be_told_apart(tmp_path: Path) -> None:
    """Neither in the API nor on the page, to the byte; that both cost one check of a password is tested with the accounts."""
    from tests.studio import running

    async with running(tmp_path) as studio:
        await studio.person("ann@studio.example")
        shapes: list[set[Any]] = [set(), set()]
        browser, client = studio.browser(), studio.client()
        browser.headers["Accept-Encoding"] = client.headers["Accept-Encoding"] = (
            "identity"  # what is squeezed has the length of its own
        )
        token = await browser.form_token("/login")
        for email in ("ann@studio.example", "eve@studio.example"):
            body = {"email": email, "password": WRONG}
            for shape, answer in zip(
                shapes,
                (
                    await client.post("/api/v1/auth/login", json=body),
                    await browser.post("/login", data={**body, "_csrf_token": token}),
                ),
                strict=True,
            ):
                text = answer.text.replace(email, "EMAIL")
                names = sorted(set(answer.headers) - {"x-request-id", "date"})
                shape.add((answer.status_code, text, json.dumps(names), answer.headers.get("content-length")))
        assert [len(shape) for shape in shapes] == [1, 1]
