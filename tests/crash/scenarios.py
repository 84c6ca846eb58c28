"""The client side of a crash run: one scenario per kind of job, and what the server acknowledged."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from app.jobs.schemas import EventType
from app.providers.simulator.state import JobStore
from tests.crash.checker import run_of
from tests.crash.harness import TIMEOUT, Child, until
from tests.kit import (
    FINAL_STATES,
    IMAGE_MODEL,
    IMAGE_TO_VIDEO_MODEL,
    SHORT_IMAGE_TO_VIDEO,
    SHORT_VIDEO,
    TEXT_MODEL,
    VIDEO_MODEL,
    Json,
    eventually,
    png,
)
from tests.studio import PASSWORD, Browser, session_cookie
from tests.trust import trust

FOLLOWED_UP: Final = (EventType.LATE_RESULT_RECORDED, EventType.FOLLOW_UP_ENDED)
SMALL_BATCH: Final = 4  # jobs
LARGE_BATCH: Final = 100
FAL_MODEL: Final = "fal:fal-ai/flux/dev"
USER: Final = {"email": "ann@studio.example", "password": PASSWORD}


class Crashed(Exception):
    """The server no longer responds."""


class Credentials(msgspec.Struct, frozen=True):
    """The user's API key and session cookie."""

    key: str
    session: tuple[str, str]


class Acknowledged(msgspec.Struct):
    """What the server confirmed: jobs by prompt, uploaded files, cancelled jobs, batches, and those that were paused last."""

    jobs: dict[str, str] = {}
    assets: list[str] = []
    cancelled: list[str] = []
    batches: list[str] = []
    paused: list[str] = []
    connection_errors: list[str] = []  # of requests without a response


@asynccontextmanager
async def client(child: Child, user: Credentials) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=child.url,
        headers={"Authorization": f"Bearer {user.key}"},
        cookies=dict([user.session]),
        timeout=TIMEOUT,
        trust_env=False,
        verify=trust(),
    ) as http:
        yield http


async def register(child: Child) -> Credentials:
    """Register the first user, with an API key and a session that outlive every restart."""
    async with Browser(base_url=child.url, timeout=TIMEOUT, trust_env=False, verify=trust()) as browser:
        response = await browser.send_form("/register", {**USER, "name": "Ann Kern"})
        assert response.status_code == 303, response.text
        session = session_cookie(browser)
    async with httpx.AsyncClient(base_url=child.url, timeout=TIMEOUT, trust_env=False, verify=trust()) as http:
        tokens = (await http.post("/api/v1/auth/login", json=USER)).json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        key = (await http.post("/api/v1/users/me/keys", json={"name": "crash tests"})).json()["key"]

        async def models() -> int:
            total: int = (await http.get("/api/v1/ai/models", params={"limit": 1})).json()["total"]
            return total

        await eventually(models, bool)
    return Credentials(key, session)


class User:
    """The client in one run. `run` is part of each prompt, to tell the runs apart in the provider's log."""

    def __init__(self, http: httpx.AsyncClient, child: Child, provider: Path, run: str) -> None:
        """`provider` is the folder of the simulator."""
        self._http = http
        self._child = child
        self._provider = JobStore(provider)
        self._run = run
        self.acknowledged = Acknowledged()

    async def run_scenario(self, scenario: str) -> Acknowledged:
        """Send the requests of this scenario and wait until all jobs have ended or the server has crashed."""
        with contextlib.suppress(Crashed):
            await SCENARIOS[scenario](self)
            await self.all_ended()
        return self.acknowledged

    async def all_ended(self) -> list[Json]:
        """All jobs, once they have ended and no late cost is awaited; stuck videos are released at the provider, and paused batches
        resumed. Raises Crashed."""
        end = time.monotonic() + TIMEOUT
        while True:
            self._release()
            for batch in await self.batches():
                if batch["status"] == "paused":
                    await self._request("POST", f"/api/v1/generate/batches/{batch['id']}/resume")
            jobs = await self._jobs()
            if all(job["status"] in FINAL_STATES for job in jobs) and not await self._awaited(jobs):
                return jobs
            states = {job["prompt"]: (job["status"], job["cost_usd"]) for job in jobs}
            assert time.monotonic() < end, f"jobs did not end: {states}"
            await asyncio.sleep(0.1)

    # Scenarios

    async def upload(self) -> None:
        color = f"#{hashlib.sha256(self._run.encode()).hexdigest()[:6]}"  # another file in each run
        response = await self._request("POST", "/api/v1/assets", files={"file": ("a.png", png(color=color))})
        assert response.status_code == 201, response.text
        self.acknowledged.assets.append(response.json()["id"])

    async def text(self, directive: str = "") -> None:
        body = {"model": TEXT_MODEL, "prompt": self._prompt("text", directive)}
        response = await self._request("POST", "/api/v1/generate/text", json=body)
        assert response.status_code == 200, response.text
        self.acknowledged.jobs[body["prompt"]] = response.json()["id"]

    async def retried_text(self) -> None:
        await self.text("[busy]")

    async def image(self) -> None:
        await self._generate("image", {"model": IMAGE_MODEL}, "[stamp]")

    async def fal_image(self) -> None:
        """Waits in a queue at the provider; the first download of its result fails."""
        await self._generate("image", {"model": FAL_MODEL, "n": 1}, "[stamp][notyet]")

    async def video(self) -> None:
        """The first download of its result fails."""
        await self._generate("video", {"model": VIDEO_MODEL, **SHORT_VIDEO}, "[stamp][notyet]")

    async def image_to_video(self) -> None:
        await self.upload()
        body = {"model": IMAGE_TO_VIDEO_MODEL, "image_asset_id": self.acknowledged.assets[0], **SHORT_IMAGE_TO_VIDEO}
        await self._generate("video/from-image", body, "[stamp]")

    async def failed_video(self) -> None:
        await self._generate("video", {"model": VIDEO_MODEL, **SHORT_VIDEO}, "[fail]")

    async def cancelled_in_queue(self) -> None:
        """Requires a server with `queue_held`."""
        await self._cancel(await self._generate("image", {"model": IMAGE_MODEL}, "[stamp]"), keep_result=False)

    async def cancelled_at_provider(self) -> None:
        """The provider finishes the job only after it was cancelled; the result is kept."""
        before = len(self._child.points)
        job = await self._generate("video", {"model": VIDEO_MODEL, **SHORT_VIDEO}, "[stamp][stuck]")
        await until(
            lambda: (
                "transaction.acknowledged record_progress" in self._child.points[before:]
                or self._child.exit_code is not None
            ),
            lambda: f"was not submitted: {self._child.points}",
        )
        await self._cancel(job, keep_result=True)

    async def batch(self, size: int = SMALL_BATCH) -> str:
        prompts = [f"{number} {self._prompt('batch', '[stamp]')}" for number in range(size)]
        body = {"kind": "image", "model": IMAGE_MODEL, "prompts": prompts}
        response = await self._request("POST", "/api/v1/generate/batch", json=body)
        assert response.status_code == 202, response.text
        id: str = response.json()["id"]
        self.acknowledged.batches.append(id)
        return id

    async def large_batch(self) -> None:
        await self.batch(LARGE_BATCH)

    async def paused_batch(self) -> None:
        """Requires a server with `queue_held`."""
        id = await self.batch()
        for verb in ("pause", "cancel"):
            response = await self._request("POST", f"/api/v1/generate/batches/{id}/{verb}")
            assert response.status_code == 200, response.text
            self.acknowledged.paused = [id] if verb == "pause" else []

    # Requests

    async def batches(self) -> list[Json]:
        """The newest batches."""
        found: list[Json] = (await self._request("GET", "/api/v1/generate/batches")).json()["items"]
        return found

    def _prompt(self, kind: str, directive: str = "") -> str:
        return f"{kind} | {self._run} {directive}".strip()

    async def _generate(self, kind: str, body: Json, directive: str = "") -> str:
        prompt = self._prompt(kind, directive)
        response = await self._request(
            "POST", f"/api/v1/generate/{kind}", json={**body, "prompt": prompt}, headers={"Prefer": "respond-async"}
        )
        assert response.status_code == 202, response.text
        id: str = response.json()["id"]
        self.acknowledged.jobs[prompt] = id
        return id

    async def _cancel(self, id: str, *, keep_result: bool) -> None:
        response = await self._request("POST", f"/api/v1/jobs/{id}/cancel", json={"keep_result": keep_result})
        assert response.status_code == 200, response.text
        self.acknowledged.cancelled.append(id)

    async def _jobs(self) -> list[Json]:
        jobs: list[Json] = []
        query: dict[str, Any] = {"limit": 100}
        while query:
            page = (await self._request("GET", "/api/v1/jobs", params=query)).json()
            jobs += page["items"]
            query = {"limit": 100, "cursor": page["next"]} if page["next"] else {}
        return jobs

    def _release(self) -> None:
        """Make the provider finish videos that would never end."""
        for line in self._provider.submits():
            submit = msgspec.json.decode(line)
            if (
                run_of(submit["prompt"]) == self._run
                and (job := self._provider.job(submit["id"]))
                and job.ends_at is None
            ):
                self._provider.save(msgspec.structs.replace(job, ends_at=time.time()))

    async def _awaited(self, jobs: list[Json]) -> bool:
        """Whether the cost of a cancelled job is still awaited, according to its timeline."""
        for job in jobs:
            if job["status"] == "cancelled" and job["cost_usd"] is None:
                page = (await self._request("GET", f"/jobs/{job['id']}")).text
                if not any(f'data-event="{event}"' in page for event in FOLLOWED_UP):
                    return True
        return False

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await self._http.request(method, path, **options)
        except httpx.TransportError as exc:
            self.acknowledged.connection_errors.append(f"{method} {path}: {exc!r}")
            raise Crashed from None


SCENARIOS: Final[Mapping[str, Callable[[User], Awaitable[object]]]] = {
    "upload": User.upload,
    "text": User.text,
    "retried text": User.retried_text,
    "image": User.image,
    "fal image": User.fal_image,
    "video": User.video,
    "image to video": User.image_to_video,
    "failed video": User.failed_video,
    "batch": User.batch,
    "large batch": User.large_batch,
    "paused batch": User.paused_batch,
    "cancelled in queue": User.cancelled_in_queue,
    "cancelled at provider": User.cancelled_at_provider,
}
QUEUE_HELD: Final = {"cancelled in queue", "paused batch"}


async def inspect(
    child: Child, user: Credentials, provider: Path, acknowledged: Acknowledged, run: str
) -> tuple[list[Json], list[str]]:
    """After a restart: the jobs of the run once all have ended, and the faults that the user sees."""
    faults: list[str] = []
    async with client(child, user) as http:
        again = User(http, child, provider, run)
        faults += _batch_faults(await again.batches(), acknowledged)
        jobs = [job for job in await again.all_ended() if run_of(job["prompt"]) == run]
        states = {job["id"]: job["status"] for job in jobs}
        for prompt, id in acknowledged.jobs.items():
            if (await http.get(f"/api/v1/jobs/{id}")).status_code != 200:
                faults.append(f"{prompt} was acknowledged and is lost")
        for id in acknowledged.assets:
            if (await http.get(f"/api/v1/assets/{id}")).status_code != 200:
                faults.append(f"the upload {id} was acknowledged and is lost")
        faults += [
            f"the cancellation of {id} was acknowledged, and it has {states.get(id)}"
            for id in acknowledged.cancelled
            if states.get(id) != "cancelled"
        ]
        for job in jobs:
            faults += [
                f"{job['prompt']}: {asset['url']} answers {status}"
                for asset in job["assets"]
                if (status := (await http.get(asset["url"])).status_code) != 200
            ]
        for path in ("/jobs", *(f"/jobs/{job['id']}{part}" for job in jobs for part in ("", "/card"))):
            if (status := (await http.get(path)).status_code) != 200:
                faults.append(f"the page {path} answers {status}")
    return jobs, faults


def _batch_faults(batches: list[Json], acknowledged: Acknowledged) -> list[str]:
    """After a restart, before anything is resumed."""
    found = {batch["id"]: batch for batch in batches}
    lost = [f"the batch {id} was acknowledged and is lost" for id in acknowledged.batches if id not in found]
    parts = [
        f"of the batch {batch['id']} there are {batch['counters']} jobs"
        for batch in batches
        if sum(batch["counters"].values()) != batch["total"]
    ]
    paused = [
        f"the pause of {id} was acknowledged, and it is {found[id]['status']} with {found[id]['counters']}"
        for id in acknowledged.paused
        if found[id]["status"] not in ("paused", "cancelled") or found[id]["counters"]["completed"]
    ]
    return lost + parts + paused
