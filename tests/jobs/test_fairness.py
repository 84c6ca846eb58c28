"""Fair scheduling over HTTP, measured by the order in which jobs start, not by time."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from app.jobs.scheduler import MAX_SENDING_PER_USER
from app.jobs.schemas import Job
from app.providers.contract import Outcome, Request
from tests.kit import SHORT_VIDEO, TEXT_MODEL, VIDEO_MODEL, Json, ended_job, eventually, new_email
from tests.studio import Studio, running

BATCH = 200
EACH = 5  # jobs of each of several users; together fewer than MAX_SENDING_PER_USER


@pytest_asyncio.fixture(scope="module")
async def studio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """A separate application for this file, because the tests check the order in which jobs start."""
    async with running(tmp_path_factory.mktemp("fairness")) as studio:
        yield studio


class Claims:
    """Records the prompts of claimed jobs in order. Nothing is claimed before `begin`; then at most `limit` at a
    time."""

    def __init__(self, studio: Studio, limit: int = MAX_SENDING_PER_USER) -> None:
        self.prompts: list[str] = []
        self.begun = False
        self._jobs = studio.program.jobs
        self._claim = self._jobs.execution.claim
        self._limit = limit

    def begin(self) -> None:
        self.begun = True
        self._jobs.live.wake.set()

    async def claim(self, limit: int) -> Sequence[Job]:
        if not self.begun:
            return []
        claimed = await self._claim(min(limit, self._limit))
        self.prompts += [job.prompt for job in claimed]
        return claimed


@contextmanager
def recorded_claims(studio: Studio, limit: int = MAX_SENDING_PER_USER) -> Iterator[Claims]:
    claims = Claims(studio, limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studio.program.jobs.execution, "claim", claims.claim)
        try:
            yield claims
        finally:
            claims.begin()


async def new_user(studio: Studio) -> httpx.AsyncClient:
    return await studio.user(new_email(), direct=True)


async def enqueue(client: httpx.AsyncClient, prompt: str) -> Json:
    response = await client.post("/api/v1/generate/video", json={"model": VIDEO_MODEL, "prompt": prompt, **SHORT_VIDEO})
    assert response.status_code == 202, response.text
    job: Json = response.json()
    return job


async def test_a_batch_of_two_hundred_does_not_delay_the_first_job_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob's job ends although the provider answers only the first handful of submits until then."""
    bob_has_ended, submits = asyncio.Event(), 0

    async def few_submits(request: Request, folder: Path) -> Outcome:
        nonlocal submits
        submits += 1
        if submits > MAX_SENDING_PER_USER:
            await bob_has_ended.wait()
        return await submit(request, folder)

    async with running(tmp_path) as studio:
        ann, bob = await new_user(studio), await new_user(studio)
        provider = studio.program.providers["openrouter"]
        submit = provider.submit
        monkeypatch.setattr(provider, "submit", few_submits)
        with recorded_claims(studio) as claims:
            # [fail] avoids encoding a video.
            for first in range(0, BATCH, 50):
                await asyncio.gather(*(enqueue(ann, f"[fail] ann {number}") for number in range(first, first + 50)))
            job = await enqueue(bob, "[fail] the first job of bob")
            claims.begin()
            assert (await ended_job(bob, job["id"]))["status"] == "failed"
            assert claims.prompts.index("[fail] the first job of bob") < MAX_SENDING_PER_USER
            assert len(claims.prompts) <= 2 * MAX_SENDING_PER_USER, "the rest of the batch still waits"
            bob_has_ended.set()


async def test_several_users_take_turns(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """One job is claimed at a time, and none ends before all have been claimed."""
    users = [await new_user(studio) for _ in range(3)]
    provider, all_claimed = studio.program.providers["openrouter"], asyncio.Event()
    submit = provider.submit

    async def held_submit(request: Request, folder: Path) -> Outcome:
        await all_claimed.wait()
        return await submit(request, folder)

    async def queued() -> int:
        return sum([(await user.get("/api/v1/jobs")).json()["total"] for user in users])

    async def claimed() -> int:
        return len(claims.prompts)

    monkeypatch.setattr(provider, "submit", held_submit)
    with recorded_claims(studio, limit=1) as claims:
        requests = [
            asyncio.create_task(user.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": f"{number}"}))
            for number, user in enumerate(users)
            for _ in range(EACH)
        ]
        await eventually(queued, lambda count: count == len(requests))
        claims.begin()
        await eventually(claimed, lambda count: count == len(requests))
        all_claimed.set()
        assert {response.status_code for response in await asyncio.gather(*requests)} == {200}
    for turn in range(0, len(claims.prompts), len(users)):
        assert sorted(claims.prompts[turn : turn + len(users)]) == ["0", "1", "2"], claims.prompts


async def test_a_job_from_a_page_goes_before_the_users_jobs_from_the_api(studio: Studio) -> None:
    email = new_email()
    browser, client = await studio.user_in_browser(email, direct=True), await studio.user(email, direct=True)
    with recorded_claims(studio, limit=1) as claims:
        jobs = [await enqueue(client, f"[fail] from the API {number}") for number in range(3)]
        form = {"model": TEXT_MODEL, "prompt": "[fail] from the page"}
        assert (await browser.send_form("/generate/text", form)).status_code == 303
        queue = (await client.get("/api/v1/jobs", params={"status": "queued"})).json()["items"]
        assert len(queue) == 4
        claims.begin()
        for job in jobs:
            await ended_job(client, job["id"])
    assert claims.prompts[0] == "[fail] from the page"
