"""A request waits for a job only as long as it can still be answered in time."""

import asyncio
from datetime import timedelta

import httpx

from app.base import clock
from app.jobs.waiters import JobWaiters
from tests.kit import IMAGE_MODEL, TEXT_MODEL

LONG = 600.0  # seconds


async def test_a_wait_ends_when_the_job_ends() -> None:
    waiters = JobWaiters()
    waiting = asyncio.create_task(waiters.wait("job", LONG))
    await asyncio.sleep(0)
    waiters.end("job")
    await waiting


async def test_a_wait_ends_when_the_job_will_not_start_in_time_and_goes_on_otherwise() -> None:
    waiters = JobWaiters()
    short, long = asyncio.create_task(waiters.wait("job", LONG)), asyncio.create_task(waiters.wait("job", 10 * LONG))
    await asyncio.sleep(0)
    waiters.postpone("job", clock.now() + timedelta(seconds=2 * LONG))
    await short
    assert not long.done()
    waiters.release()
    await long
    await waiters.wait("other", LONG, clock.now() + timedelta(seconds=2 * LONG))


async def test_a_caller_is_answered_at_once_when_the_provider_says_not_before_half_an_hour(
    creator: httpx.AsyncClient,
) -> None:
    body = {"model": IMAGE_MODEL, "prompt": "[ratelimit-long] a boat"}
    image = await creator.post("/api/v1/generate/image", json=body, headers={"Prefer": "wait=100"})
    assert image.status_code == 202
    page = await creator.get(f"/api/v1/jobs/{image.json()['id']}")
    assert page.json()["status"] == "queued"
    text = await creator.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": "[ratelimit-long] a boat"})
    assert text.status_code == 502
    assert int(text.headers["retry-after"]) > 1000
    openai_image = await creator.post("/v1/images/generations", json=body)
    assert openai_image.status_code == 429
    assert int(openai_image.headers["retry-after"]) > 1000


async def test_a_key_can_be_used_again_when_its_image_was_withdrawn_unsent(creator: httpx.AsyncClient) -> None:
    body = {"model": IMAGE_MODEL, "prompt": "[ratelimit-long] a boat for a client that asks again"}
    headers = {"Idempotency-Key": "asks again"}
    answers = [await creator.post("/v1/images/generations", json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [429, 429], answers[-1].text
    jobs = (await creator.get("/api/v1/jobs?limit=100")).json()["items"]
    assert [job["status"] for job in jobs if job["prompt"] == body["prompt"]] == ["cancelled", "cancelled"]
