"""Fair turns over HTTP: told by the order in which jobs are begun and finished, not by the clock."""

import asyncio

import httpx
import pytest

from app.jobs.worker import STARTING
from tests.api.kit import CLIP, SHORT, TEXT, Json, submits
from tests.studio import Studio

BATCH = 200


async def enqueue(client: httpx.AsyncClient, prompt: str) -> Json:
    answer = await client.post("/api/v1/generate/video", json={"model": CLIP, "prompt": prompt, **SHORT})
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    return job


async def test_a_batch_of_two_hundred_does_not_hold_up_anothers_first(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ann's batch stands in line when bob comes; the worker rests until then, so that the order is told and not timed."""
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    claim = studio.program.jobs.claim

    async def nothing(_: int) -> list[Json]:
        return []

    monkeypatch.setattr(studio.program.jobs, "claim", nothing)
    # [fail] and not a clip: two hundred clips would be filmed for nothing.
    for first in range(0, BATCH, 50):
        await asyncio.gather(*(enqueue(ann, f"[fail] ann {number}") for number in range(first, first + 50)))
    late = await enqueue(bob, "[fail] bob's first")
    monkeypatch.setattr(studio.program.jobs, "claim", claim)
    studio.program.jobs.wake.set()
    ended = await studio.finished(bob, late["id"], seconds=60)
    order = [one["prompt"] for one in submits(studio)]
    assert order.index("[fail] bob's first") < STARTING, "he is in the first handful that is sent"
    waiting = (await ann.get("/api/v1/jobs", params={"status": "queued", "limit": 1})).json()["total"]
    finished = [
        job
        for cursor in [None]
        for job in (await ann.get("/api/v1/jobs", params={"status": "failed", "limit": 100})).json()["items"]
        if job["completed_at"] < ended["completed_at"]
    ]
    assert len(finished) <= 3 * STARTING, f"{len(finished)} of the batch came first, {waiting} wait"


async def test_several_people_get_turns_in_turn(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [await studio.person(f"{name}@studio.example") for name in ("ann", "bob", "eve")]
    claim, claimed = studio.program.jobs.claim, list[str]()

    async def nothing(_: int) -> list[Json]:
        return []

    monkeypatch.setattr(studio.program.jobs, "claim", nothing)
    asked = [
        asyncio.create_task(person.post("/api/v1/generate/text", json={"model": TEXT, "prompt": f"{place} {number}"}))
        for place, person in enumerate(people)
        for number in range(8)
    ]
    async with asyncio.timeout(30):
        while len(studio.program.jobs._live) < len(asked):
            await asyncio.sleep(0.01)

    async def one_at_a_time(_: int) -> list[object]:
        jobs = list(await claim(1))
        claimed.extend(job.prompt[0] for job in jobs)
        return [*jobs]

    monkeypatch.setattr(studio.program.jobs, "claim", one_at_a_time)
    studio.program.jobs.wake.set()
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    for turn in range(0, len(claimed), 3):
        assert sorted(claimed[turn : turn + 3]) == ["0", "1", "2"], claimed
