"""What a person asks in every run, and what they were told: the client of the matrix, who survives the program."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import msgspec

from tests.api.kit import CLIP, FRAMED, PICTURE, SHORT, SHORT_FRAMED, TEXT, Json, eventually, png
from tests.kills.boundaries import HELD_AT_PROVIDER, HELD_IN_LINE
from tests.kills.harness import Child
from tests.studio import PASSWORD, Browser
from tests.trust import trust

PERSON: Final = {"email": "ann@studio.example", "password": PASSWORD}
FINAL: Final = ("completed", "failed", "cancelled")
PATIENCE: Final = 60.0  # seconds until all jobs must have ended


class Died(Exception):
    """The program is gone."""


class Person(msgspec.Struct, frozen=True):
    """Signed in by API key, and in a browser by cookie."""

    key: str
    session: str


class Told(msgspec.Struct):
    """What was acknowledged: jobs by their names in the matrix, the uploaded picture, cancels."""

    jobs: dict[str, str] = {}
    asset: str | None = None
    cancelled: set[str] = set()
    last_words: list[str] = []  # how calls ended that were not answered


@asynccontextmanager
async def client(child: Child, person: Person) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {person.key}"}
    async with httpx.AsyncClient(
        base_url=child.url,
        headers=headers,
        cookies={"session": person.session},
        timeout=60,
        trust_env=False,
        verify=trust(),
    ) as http:
        yield http


async def register(child: Child) -> Person:
    """The first person, with a key and a session that outlive every restart."""
    async with Browser(base_url=child.url, timeout=60, trust_env=False, verify=trust()) as browser:
        answer = await browser.send_form("/register", {**PERSON, "name": "Ann Kern"})
        assert answer.status_code == 303, answer.text
        session = browser.cookies["session"]
    async with httpx.AsyncClient(base_url=child.url, timeout=60, trust_env=False, verify=trust()) as http:
        tokens = (await http.post("/api/v1/auth/login", json=PERSON)).json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        key = (await http.post("/api/v1/users/me/keys", json={"name": "matrix"})).json()["key"]

        async def offered() -> int:
            total: int = (await http.get("/api/v1/ai/models", params={"limit": 1})).json()["total"]
            return total

        await eventually(offered, lambda total: total > 0, PATIENCE)
    return Person(key, session)


async def _as_long_as_it_lives(asking: Coroutine[Any, Any, object]) -> None:
    with contextlib.suppress(Died):
        await asking


class Story:
    """One telling. `run` makes its prompts its own, so that the provider's log tells them from all others."""

    def __init__(self, http: httpx.AsyncClient, run: str) -> None:
        self._http = http
        self._run = run
        self.told = Told()

    def prompt(self, name: str, directive: str = "") -> str:
        return f"{name} | {self._run} {directive}".strip()

    async def tell(self) -> Told:
        """Everything that is asked, until all of it has ended or the program is dead."""
        async with asyncio.TaskGroup() as group:
            for asking in (
                self._words("words"),
                self._words("busy", "[busy]"),
                self._early(),
                self._make("picture", "image", {"model": PICTURE}),
                self._make("clip", "video", {"model": CLIP, **SHORT}, "[notyet]"),
                self._make("broken", "video", {"model": CLIP, **SHORT}, "[fail]"),
                self._unwanted(),
                self._moving(),
            ):
                group.create_task(_as_long_as_it_lives(asking))
        await _as_long_as_it_lives(self.until_ended())
        return self.told

    async def until_ended(self) -> list[Json]:
        """All jobs, once nothing goes on and no bill is awaited that can still come."""
        end = time.monotonic() + PATIENCE
        while True:
            jobs = await self._jobs()
            if all(job["status"] in FINAL for job in jobs) and not await self._awaited(jobs):
                return jobs
            states = {job["prompt"]: (job["status"], job["cost_usd"]) for job in jobs}
            assert time.monotonic() < end, f"they do not end: {states}"
            await asyncio.sleep(0.02)

    async def _jobs(self) -> list[Json]:
        jobs: list[Json] = []
        more: dict[str, Any] = {"limit": 100}
        while more:
            part = (await self._ask("GET", "/api/v1/jobs", params=more)).json()
            jobs += part["items"]
            more = {"limit": 100, "cursor": part["next"]} if part["next"] else {}
        return jobs

    async def _awaited(self, jobs: list[Json]) -> bool:
        """Whether the bill of a cancelled job may still come: its page says when nothing more is expected."""
        for job in jobs:
            if job["status"] == "cancelled" and job["cost_usd"] is None:
                page = (await self._ask("GET", f"/jobs/{job['id']}")).text.lower()
                if "nothing more is expected" not in page and "came late and was kept" not in page:
                    return True
        return False

    async def _make(self, name: str, kind: str, body: Json, directive: str = "") -> str:
        answer = await self._ask(
            "POST",
            f"/api/v1/generate/{kind}",
            json={**body, "prompt": self.prompt(name, directive)},
            headers={"Prefer": "respond-async"},
        )
        assert answer.status_code == 202, answer.text
        id: str = answer.json()["id"]
        self.told.jobs[name] = id
        return id

    async def _words(self, name: str, directive: str = "") -> None:
        body = {"model": TEXT, "prompt": self.prompt(name, directive)}
        answer = await self._ask("POST", "/api/v1/generate/text", json=body)
        assert answer.status_code == 200, answer.text
        self.told.jobs[name] = answer.json()["id"]

    async def _moving(self) -> None:
        answer = await self._ask("POST", "/api/v1/assets", files={"file": ("a.png", png())})
        assert answer.status_code == 201, answer.text
        self.told.asset = answer.json()["id"]
        body = {"model": FRAMED, "image_asset_id": self.told.asset, **SHORT_FRAMED}
        await self._make("moving", "video/from-image", body)

    async def _early(self) -> None:
        await self._cancel(await self._make(HELD_IN_LINE, "image", {"model": PICTURE}), keep=False)

    async def _unwanted(self) -> None:
        id = await self._make(HELD_AT_PROVIDER, "video", {"model": CLIP, **SHORT})

        async def status() -> str:
            found: str = (await self._ask("GET", f"/api/v1/jobs/{id}")).json()["status"]
            return found

        await eventually(status, lambda now: now != "queued", PATIENCE)
        await self._cancel(id, keep=True)

    async def _cancel(self, id: str, *, keep: bool) -> None:
        answer = await self._ask("POST", f"/api/v1/jobs/{id}/cancel", json={"keep_result": keep})
        assert answer.status_code == 200, answer.text
        self.told.cancelled.add(id)

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            return await self._http.request(method, path, **more)
        except httpx.TransportError as problem:
            self.told.last_words.append(f"{method} {path}: {problem!r}")
            raise Died from None


async def look(child: Child, person: Person, told: Told, run: str) -> tuple[list[Json], list[str]]:
    """After a restart: all jobs once they have ended, and what is not as it should be for the person who looks."""
    faults = []
    async with client(child, person) as http:
        jobs = await Story(http, run).until_ended()
        for name, id in told.jobs.items():
            if (await http.get(f"/api/v1/jobs/{id}")).status_code != 200:
                faults.append(f"{name} was acknowledged and is lost")
        if told.asset and (await http.get(f"/api/v1/assets/{told.asset}")).status_code != 200:
            faults.append("the upload was acknowledged and is lost")
        for job in jobs:
            faults += [
                f"{job['prompt']}: {asset['url']} answers {status}"
                for asset in job["assets"]
                if (status := (await http.get(asset["url"])).status_code) != 200
            ]
        for path in ("/jobs", *(f"/jobs/{job['id']}{part}" for job in jobs for part in ("", "/card"))):
            status = (await http.get(path)).status_code
            if status != 200:
                faults.append(f"the page {path} answers {status}")
    return jobs, faults
