"""Fair turns over HTTP: told by the order in which jobs are begun and finished, not by the clock."""

import asyncio
from pathlib import Path

import httpx
import pytest

from app.jobs.schemas import Job
from app.jobs.worker import STARTING
from app.providers.contract import Outcome, Request
from tests.api.kit import CLIP, SHORT, TEXT, Json, eventually, submits
from tests.studio import PASSWORD, Studio

BATCH = 200
EACH = 5  # of several people; together fewer than are sent at one time


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
    failed = (await ann.get("/api/v1/jobs", params={"status": "failed", "limit": 100})).json()["items"]
    before = [job for job in failed if job["completed_at"] < ended["completed_at"]]
    assert len(before) <= 3 * STARTING, f"{len(before)} of the batch came first"


async def test_several_people_get_turns_in_turn(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """One turn at a time, and nobody's work ends before all have been given out."""
    people = [await studio.person(f"{name}@studio.example") for name in ("ann", "bob", "eve")]
    jobs, provider = studio.program.jobs, studio.program.providers["openrouter"]
    claim, submit = jobs.claim, provider.submit
    begun, everybody, all_begun = list[str](), asyncio.Event(), asyncio.Event()

    async def one_at_a_time(_: int) -> list[Job]:
        if not everybody.is_set():
            return []
        claimed = [*await claim(1)]
        begun.extend(job.prompt for job in claimed)
        return claimed

    async def slowly(request: Request, folder: Path) -> Outcome:
        if len(begun) == len(people) * EACH:
            all_begun.set()
        await all_begun.wait()
        return await submit(request, folder)

    monkeypatch.setattr(jobs, "claim", one_at_a_time)
    monkeypatch.setattr(provider, "submit", slowly)
    asked = [
        asyncio.create_task(person.post("/api/v1/generate/text", json={"model": TEXT, "prompt": f"{place}"}))
        for place, person in enumerate(people)
        for _ in range(EACH)
    ]
    await eventually(lambda: accepted(studio), lambda count: count == len(asked))
    everybody.set()
    jobs.wake.set()
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    for turn in range(0, len(begun), len(people)):
        assert sorted(begun[turn : turn + len(people)]) == ["0", "1", "2"], begun


async def accepted(studio: Studio) -> int:
    return len(studio.program.jobs._live)


async def test_what_somebody_waits_for_at_the_screen_goes_before_what_their_programs_have_queued(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await studio.person_in_browser("ann@studio.example")
    signed_in = {"email": "ann@studio.example", "password": PASSWORD}
    token = (await studio.client().post("/api/v1/auth/login", json=signed_in)).json()["access_token"]
    claim = studio.program.jobs.claim

    async def nothing(_: int) -> list[Json]:
        return []

    monkeypatch.setattr(studio.program.jobs, "claim", nothing)
    program = studio.client(token)
    for number in range(3):
        await enqueue(program, f"[fail] of the program {number}")
    form = {"model": TEXT, "prompt": "[fail] of the person"}
    assert (await browser.send_form("/generate/text", form)).status_code == 303
    line = (await program.get("/api/v1/jobs", params={"status": "queued"})).json()["items"]
    assert len(line) == 4
    first, *_ = await claim(1)
    assert first.prompt == "[fail] of the person"
