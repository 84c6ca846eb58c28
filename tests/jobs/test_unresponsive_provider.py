"""A provider that never answers, answers slowly, or breaks off: each job ends with a clear error, and nothing else
waits."""

import asyncio
from pathlib import Path

import httpx
import pytest

from app.jobs import execution
from app.jobs.scheduler import MAX_SENDING_PER_USER
from app.providers.openrouter import Timeouts, provider
from tests.kit import (
    IMAGE_MODEL,
    SHORT_VIDEO,
    TEXT_MODEL,
    VIDEO_MODEL,
    Json,
    error_of,
    eventually,
    new_user,
    submit_log,
)
from tests.studio import Studio, running

FAULTS = ("stuck", "trickle", "cut", "html")  # never answers, a byte a second, cut off in the middle, a web page
TIMEOUT = 3.0  # seconds
SHORT_TIMEOUTS = Timeouts(
    text_idle=TIMEOUT,
    text=TIMEOUT,
    stream=TIMEOUT,
    image=TIMEOUT,
    video=TIMEOUT,
    poll=TIMEOUT,
    download=TIMEOUT,
    between_downloads=0.1,
)
CODES = {"PROVIDER_FAILED", "PROVIDER_UNREACHABLE", "OUTCOME_UNKNOWN", "TIMED_OUT", "RESULT_INVALID"}
REQUESTS: dict[str, Json] = {
    "text": {"model": TEXT_MODEL},
    "image": {"model": IMAGE_MODEL},
    "video": {"model": VIDEO_MODEL, **SHORT_VIDEO},
}


async def ended(studio: Studio, client: httpx.AsyncClient, kind: str, fault: str) -> Json:
    """The job of a new request, once it has ended."""
    body = {**REQUESTS[kind], "prompt": f"[{fault}] a {kind}"}
    answer = (await client.post(f"/api/v1/generate/{kind}", json=body)).json()
    id = answer["id"] if "id" in answer else answer["error"]["details"]["job_id"]
    return await studio.finished(client, id)


async def test_with_every_fault_each_job_ends_with_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "Timeouts", lambda: SHORT_TIMEOUTS)
    monkeypatch.setattr(execution, "FIRST_RETRY_DELAY", 0.05)
    async with running(tmp_path, ATELIER_JOB_TIMEOUT_SECONDS="4") as studio:
        ann, bob = await studio.user(), await studio.user("bob@studio.example")

        async def chat(fault: str) -> httpx.Response:
            messages = [{"role": "user", "content": f"[{fault}] hello"}]
            return await ann.post("/api/v1/ai/chat", json={"model": TEXT_MODEL, "messages": messages})

        cases = [(kind, fault) for kind in REQUESTS for fault in FAULTS]
        jobs = await asyncio.gather(*(ended(studio, ann, *case) for case in cases))
        for (kind, fault), job in zip(cases, jobs, strict=True):
            if job["status"] == "completed":
                assert fault in ("trickle", "cut"), (kind, fault)  # the rest was so short that it arrived anyway
                continue
            assert (job["status"], job["error"]["code"] in CODES) == ("failed", True), (kind, fault, job["error"])
            assert job["error"]["message"].endswith((".", "!")), (kind, fault)
            assert "Traceback" not in job["error"]["message"]
            assert "<html" not in job["error"]["message"].lower()
        for answer in await asyncio.gather(*(chat(fault) for fault in FAULTS)):
            if answer.status_code != 200:
                assert error_of(answer, 502, "UPSTREAM_ERROR")["message"].endswith(".")
        result = await studio.program.maintenance.examine()
        assert result.ok, result.text

        async def generates() -> bool:
            """A slow machine may need longer for an image than the provider is given here."""
            job = await ended(studio, bob, "image", "stamp")
            return bool(job["status"] == "completed")

        assert await eventually(generates, bool), "nothing is left of it"


async def test_others_do_not_wait_while_a_provider_does_not_answer(studio: Studio) -> None:
    """All of these wait for minutes, and they are as many as one user may have: anything that blocked the event loop or the queue
    would block the other user too. They end with their own program."""
    ann, bob = await new_user(studio), await new_user(studio)
    requests: dict[str, asyncio.Task[httpx.Response]] = {}
    faults = [(kind, fault) for kind in REQUESTS for fault in ("stuck", "trickle")]
    more = [("image", "stuck")] * (MAX_SENDING_PER_USER - len(faults))
    for number, (kind, fault) in enumerate((*faults, *more)):
        prompt = f"[{fault}] {kind} {number} that others do not wait for"
        request = ann.post(f"/api/v1/generate/{kind}", json={**REQUESTS[kind], "prompt": prompt})
        requests[prompt] = asyncio.create_task(request)

    async def submitted() -> set[str]:
        return {str(submit["prompt"]) for submit in submit_log(studio)}

    try:
        await eventually(submitted, set(requests).issubset)
        assert (await bob.get("/api/v1/jobs")).status_code == 200
        assert (await studio.client().get("/health")).status_code == 200
        answer = await bob.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": "three words"})
        assert answer.status_code == 200, answer.text
        jobs = (await ann.get("/api/v1/jobs")).json()["items"]
        assert {job["prompt"] for job in jobs} == set(requests)
        assert {job["status"] for job in jobs if "[stuck]" in job["prompt"]} == {"processing"}
        for job in jobs:
            await ann.post(f"/api/v1/jobs/{job['id']}/cancel")
    finally:
        for task in requests.values():
            task.cancel()
        await asyncio.gather(*requests.values(), return_exceptions=True)
