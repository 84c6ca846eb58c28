"""Every way in which a provider can fail, asked for in a prompt, and what the person is told of it.

Some failures are retried for a while, so all of them are asked for at once and each test reads its own.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.api.kit import (
    CLIP,
    COUNTED,
    SHORT,
    TEXT,
    Json,
    asked_clip,
    check_job,
    eventually,
    person,
    pictured,
    problem,
    read_job,
    seen,
    submits,
    watched,
)
from tests.studio import Studio, running

CODES = {
    "PROVIDER_REFUSED",
    "PROVIDER_FAILED",
    "PROVIDER_UNREACHABLE",
    "PROVIDER_EXPIRED",
    "TIMED_OUT",
    "OUTCOME_UNKNOWN",
    "RESULT_INVALID",
    "RESULT_TOO_LARGE",
    "STORAGE_FULL",
}
UNSURE = {"PROVIDER_UNREACHABLE", "OUTCOME_UNKNOWN"}  # a broken line: nobody can know whether it was charged

FAILING: dict[tuple[str, str], set[str]] = {
    ("text", "refuse"): {"PROVIDER_REFUSED"},
    ("text", "fail"): {"PROVIDER_FAILED"},
    ("text", "credits"): {"PROVIDER_FAILED"},
    ("text", "key-limit"): {"PROVIDER_FAILED"},
    ("text", "html"): {"PROVIDER_FAILED", *UNSURE},
    ("text", "unreachable"): UNSURE,
    ("text", "ambiguous"): {"OUTCOME_UNKNOWN"},
    ("text", "cut"): {"OUTCOME_UNKNOWN", "RESULT_INVALID", "PROVIDER_FAILED"},
    ("text", "error-first"): {"PROVIDER_FAILED"},
    ("text", "error-200"): {"PROVIDER_FAILED"},
    ("image", "refuse"): {"PROVIDER_REFUSED"},
    ("image", "fail"): {"PROVIDER_FAILED"},
    ("image", "credits"): {"PROVIDER_FAILED"},
    ("image", "key-limit"): {"PROVIDER_FAILED"},
    ("image", "html"): {"PROVIDER_FAILED", *UNSURE},
    ("image", "unreachable"): UNSURE,
    ("image", "ambiguous"): {"OUTCOME_UNKNOWN"},
    ("image", "cut"): {"OUTCOME_UNKNOWN", "RESULT_INVALID", "PROVIDER_FAILED"},
    ("image", "badmedia"): {"RESULT_INVALID"},
    ("image", "huge"): {"RESULT_TOO_LARGE"},
    ("image", "error-200"): {"PROVIDER_FAILED"},
    ("video", "refuse"): {"PROVIDER_REFUSED"},
    ("video", "fail"): {"PROVIDER_FAILED"},
    ("video", "credits"): {"PROVIDER_FAILED"},
    ("video", "key-limit"): {"PROVIDER_FAILED"},
    ("video", "html"): {"PROVIDER_FAILED", *UNSURE},
    ("video", "expire"): {"PROVIDER_EXPIRED"},
    ("video", "cancelled"): {"PROVIDER_FAILED"},
    ("video", "unreachable"): UNSURE,
    ("video", "ambiguous"): {"OUTCOME_UNKNOWN"},
    ("video", "badmedia"): {"RESULT_INVALID"},
    ("video", "gone"): CODES - {"PROVIDER_REFUSED", "STORAGE_FULL", "RESULT_TOO_LARGE"},
}

WORKING: list[tuple[str, str]] = [
    *[(kind, name) for kind in ("text", "image", "video") for name in ("ratelimit", "overloaded", "busy", "in-flight")],
    *[(kind, name) for kind in ("text", "image", "video") for name in ("no-cost", "late-cost")],
    *[("video", name) for name in ("odd-state", "absolute", "urls", "no-urls", "video_url", "redirect", "notyet")],
    ("image", "generations"),
]


async def asked(client: httpx.AsyncClient, kind: str, directive: str) -> httpx.Response:
    prompt = f"[{directive}] a {kind} of a lighthouse"
    model, more = {"text": (TEXT, {}), "image": (COUNTED, {}), "video": (CLIP, SHORT)}[kind]
    return await client.post(f"/api/v1/generate/{kind}", json={"model": model, "prompt": prompt, **more})


class Ending:
    """What the call answered and how the job was when it had ended."""

    def __init__(self, client: httpx.AsyncClient, answer: httpx.Response, job: Json) -> None:
        self.client = client
        self.answer = answer
        self.job = job


async def _ended(client: httpx.AsyncClient, kind: str, directive: str) -> Ending:
    answer = await asked(client, kind, directive)
    body = answer.json()
    job_id = body["id"] if "id" in body else body["error"]["details"]["job_id"]
    job = await eventually(
        lambda: read_job(client, job_id), lambda job: job["status"] in ("completed", "failed", "cancelled"), 60
    )
    return Ending(client, answer, job)


LATER = ("fail", "html")  # are tried again for some seconds
LATER_LAST = [*(one for one in FAILING if one[1] not in LATER), *(one for one in FAILING if one[1] in LATER)]


@pytest_asyncio.fixture(scope="module")
async def endings(atelier: Studio) -> dict[tuple[str, str], Awaitable[Ending]]:
    """All of them at once, each by a person of its own kind."""
    people = {kind: await person(atelier, kind) for kind in ("text", "image", "video")}
    return {
        (kind, directive): asyncio.ensure_future(_ended(people[kind], kind, directive))
        for kind, directive in [*FAILING, *WORKING]
    }


@pytest.mark.parametrize(("kind", "directive"), LATER_LAST)
async def test_a_failure_of_the_provider_is_told_by_its_code_and_a_sentence(
    endings: dict[tuple[str, str], Awaitable[Ending]], kind: str, directive: str
) -> None:
    ending = await endings[kind, directive]
    job = ending.job
    check_job(job)
    assert job["status"] == "failed"
    assert job["error"]["code"] in CODES
    assert job["error"]["code"] in FAILING[kind, directive]
    assert job["error"]["message"].endswith(".")
    assert job["assets"] == []
    if kind == "video":
        assert ending.answer.status_code == 202  # whatever the provider does
        status = (await ending.client.get(job["polling_url"])).json()
        assert (status["status"], status["error"]) == ("failed", job["error"])
        assert "video_url" not in status or status["video_url"] is None
    else:
        error = problem(ending.answer, 400 if job["error"]["code"] == "PROVIDER_REFUSED" else 502)
        if ending.answer.status_code == 502:
            assert error["code"] == "UPSTREAM_ERROR"
        assert error["details"]["job_id"] == job["id"]
        assert error["details"]["code"] == job["error"]["code"]


@pytest.mark.parametrize(("kind", "directive"), WORKING)
async def test_a_provider_that_stumbles_first_is_no_failure(
    endings: dict[tuple[str, str], Awaitable[Ending]], kind: str, directive: str
) -> None:
    ending = await endings[kind, directive]
    check_job(ending.job)
    assert ending.answer.status_code == (202 if kind == "video" else 200)
    assert ending.job["status"] == "completed", ending.job
    assert ending.job["progress"] == 100
    assert ending.job["text"] if kind == "text" else len(ending.job["assets"]) == 1
    for asset in ending.job["assets"]:
        media = await ending.client.get(asset["url"])
        assert media.status_code == 200
        assert seen(media.content) if kind == "image" else watched(media.content)


@pytest.mark.parametrize("kind", ["text", "image", "video"])
async def test_a_price_that_is_never_told_is_null(endings: dict[tuple[str, str], Awaitable[Ending]], kind: str) -> None:
    assert (await endings[kind, "no-cost"]).job["cost_usd"] is None


async def test_failed_jobs_stay_listed(endings: dict[tuple[str, str], Awaitable[Ending]]) -> None:
    for kind, path in (("image", "generate/images"), ("video", "generate/videos"), ("text", "jobs")):
        ended = [await endings[pair] for pair in endings if pair[0] == kind]
        listed = (await ended[0].client.get(f"/api/v1/{path}", params={"limit": 100})).json()
        assert listed["total"] == len(ended)
        assert {job["id"] for job in listed["items"]} == {ending.job["id"] for ending in ended}


@pytest.mark.parametrize(
    ("kind", "directive"),
    [(kind, name) for kind in ("text", "image", "video") for name in ("ambiguous", "refuse", "credits")]
    + [("video", name) for name in ("fail", "expire", "badmedia", "gone", "notyet", "redirect", "odd-state")],
)
async def test_what_may_have_been_charged_or_cannot_get_better_is_sent_once(
    atelier: Studio, endings: dict[tuple[str, str], Awaitable[Ending]], kind: str, directive: str
) -> None:
    await endings[kind, directive]
    sent = [one for one in submits(atelier) if f"[{directive}] a {kind} of a lighthouse" in str(one)]
    assert len(sent) <= 1, sent
    if directive not in ("refuse", "credits"):
        assert len(sent) == 1


async def test_a_retry_of_a_failure_that_has_passed_completes_and_is_linked(atelier: Studio) -> None:
    """`ambiguous` fails every time; a retry asks again, as a job of its own."""
    client = await person(atelier)
    first = await _ended(client, "video", "ambiguous")
    answer = await client.post(f"/api/v1/jobs/{first.job['id']}/retry")
    assert answer.status_code == 201
    second = answer.json()
    check_job(second)
    assert second["id"] != first.job["id"]
    assert second["retry_of"] == first.job["id"]
    assert (second["prompt"], second["model"], second["params"]) == (
        first.job["prompt"],
        first.job["model"],
        first.job["params"],
    )
    assert await read_job(client, first.job["id"]) == first.job


OVERDUE: dict[tuple[str, str], set[str]] = {
    ("video", "stuck"): {"TIMED_OUT"},
    ("image", "stuck"): {"TIMED_OUT", "OUTCOME_UNKNOWN"},
    ("text", "stuck"): {"TIMED_OUT", "OUTCOME_UNKNOWN"},
    ("text", "trickle"): {"TIMED_OUT", "OUTCOME_UNKNOWN"},
    ("image", "trickle"): {"TIMED_OUT", "OUTCOME_UNKNOWN"},
    ("video", "trickle"): {"TIMED_OUT", "RESULT_INVALID"},
    ("video", "cut"): {"TIMED_OUT", "RESULT_INVALID"},
}


class Overdue:
    """Work that takes longer than the deadline of one second, and how each of it was some seconds later."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.calls = [asyncio.ensure_future(asked(client, kind, directive)) for kind, directive in OVERDUE]
        self.found = asyncio.ensure_future(self._found())

    async def _jobs(self) -> list[Json]:
        items: list[Json] = (await self.client.get("/api/v1/jobs", params={"limit": 100})).json()["items"]
        return items

    async def _found(self) -> dict[str, Json]:
        def ended(items: list[Json]) -> bool:
            return len(items) == len(OVERDUE) and all(job["completed_at"] for job in items)

        with contextlib.suppress(TimeoutError):
            await eventually(self._jobs, ended, 12)
        return {job["kind"] + " " + job["prompt"].split("]")[0] + "]": job for job in await self._jobs()}

    async def close(self) -> None:
        for job in (await self.found).values():
            if job["completed_at"] is None:
                await self.client.post(f"/api/v1/jobs/{job['id']}/cancel")
        for call in self.calls:
            call.cancel()
        await asyncio.gather(*self.calls, return_exceptions=True)


@pytest_asyncio.fixture(scope="module", autouse=True)
async def overdue(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Overdue]:
    async with running(tmp_path_factory.mktemp("deadline"), ATELIER_JOB_TIMEOUT_SECONDS="1") as studio:
        late = Overdue(await studio.person())
        yield late
        await late.close()


@pytest.mark.parametrize(("kind", "directive"), list(OVERDUE))
async def test_work_that_does_not_end_is_ended_by_our_own_deadline(overdue: Overdue, kind: str, directive: str) -> None:
    job = (await overdue.found)[f"{kind} [{directive}]"]
    check_job(job)
    assert job["status"] == "failed", f"still {job['status']} seconds after its deadline"
    assert job["error"]["code"] in OVERDUE[kind, directive]
    assert (await overdue.client.get("/health")).status_code == 200


async def test_a_clip_larger_than_the_cap_is_not_kept(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_MAX_VIDEO_MB="0.1") as studio:
        client = await studio.person()
        job = await studio.finished(client, (await asked_clip(client, "[huge] a lighthouse"))["id"])
        assert (job["status"], job["error"]["code"]) == ("failed", "RESULT_TOO_LARGE")
        stored = sum(file.stat().st_size for file in (tmp_path / "data" / "media").rglob("*") if file.is_file())
        assert stored < 200_000


async def test_a_picture_larger_than_the_cap_is_not_kept(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_MAX_IMAGE_MB="0.05") as studio:
        client = await studio.person()
        body = {"model": COUNTED, "prompt": "a lighthouse in a storm"}
        error = problem(await client.post("/api/v1/generate/image", json=body), 502, "UPSTREAM_ERROR")
        assert error["details"]["code"] == "RESULT_TOO_LARGE"


async def test_what_was_made_before_outlives_a_failure(atelier: Studio) -> None:
    client = await person(atelier)
    good = await pictured(client)
    await _ended(client, "image", "refuse")
    media = await client.get(good["assets"][0]["url"])
    assert (media.status_code, len(media.content)) == (200, good["assets"][0]["bytes"])
