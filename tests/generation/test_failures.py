"""Every way in which a provider can fail, requested by a directive in the prompt, and how it is reported to the user.

All jobs of the first tests are requested at once, because some are retried; each test looks at those that it is about.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from app.jobs import execution
from tests.kit import (
    MULTI_IMAGE_MODEL,
    SHORT_VIDEO,
    TEXT_MODEL,
    VIDEO_MODEL,
    Cases,
    Json,
    check_job,
    decoded_image,
    decoded_video,
    ended_job,
    error_of,
    eventually,
    generated_image,
    key_client,
    new_user,
    read_job,
    requested_video,
    submit_log,
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
UNCERTAIN = {
    "PROVIDER_UNREACHABLE",
    "OUTCOME_UNKNOWN",
}  # after a broken connection no one can know whether it was charged

FAILING: dict[tuple[str, str], set[str]] = {
    ("text", "refuse"): {"PROVIDER_REFUSED"},
    ("text", "fail"): {"PROVIDER_FAILED"},
    ("text", "credits"): {"PROVIDER_FAILED"},
    ("text", "key-limit"): {"PROVIDER_FAILED"},
    ("text", "html"): {"PROVIDER_FAILED", *UNCERTAIN},
    ("text", "unreachable"): UNCERTAIN,
    ("text", "ambiguous"): {"OUTCOME_UNKNOWN"},
    ("text", "cut"): {"OUTCOME_UNKNOWN", "RESULT_INVALID", "PROVIDER_FAILED"},
    ("text", "error-first"): {"PROVIDER_FAILED"},
    ("text", "error-200"): {"PROVIDER_FAILED"},
    ("image", "refuse"): {"PROVIDER_REFUSED"},
    ("image", "fail"): {"PROVIDER_FAILED"},
    ("image", "credits"): {"PROVIDER_FAILED"},
    ("image", "key-limit"): {"PROVIDER_FAILED"},
    ("image", "html"): {"PROVIDER_FAILED", *UNCERTAIN},
    ("image", "unreachable"): UNCERTAIN,
    ("image", "ambiguous"): {"OUTCOME_UNKNOWN"},
    ("image", "cut"): {"OUTCOME_UNKNOWN", "RESULT_INVALID", "PROVIDER_FAILED"},
    ("image", "badmedia"): {"RESULT_INVALID"},
    ("image", "huge"): {"RESULT_TOO_LARGE"},
    ("image", "error-200"): {"PROVIDER_FAILED"},
    ("video", "refuse"): {"PROVIDER_REFUSED"},
    ("video", "fail"): {"PROVIDER_FAILED"},
    ("video", "credits"): {"PROVIDER_FAILED"},
    ("video", "key-limit"): {"PROVIDER_FAILED"},
    ("video", "html"): {"PROVIDER_FAILED", *UNCERTAIN},
    ("video", "expire"): {"PROVIDER_EXPIRED"},
    ("video", "cancelled"): {"PROVIDER_FAILED"},
    ("video", "unreachable"): UNCERTAIN,
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


KINDS = ("text", "image", "video")


async def generate(client: httpx.AsyncClient, kind: str, directive: str) -> httpx.Response:
    """A request that waits for its text or image as long as the API allows."""
    prompt = f"[{directive}] [stamp] a {kind} of a lighthouse"
    body: Json = {"model": TEXT_MODEL, "prompt": prompt}
    if kind == "image":
        body["model"] = MULTI_IMAGE_MODEL
    elif kind == "video":
        body |= {"model": VIDEO_MODEL, **SHORT_VIDEO}
    return await client.post(f"/api/v1/generate/{kind}", json=body, headers={"Prefer": "wait=120"})


def job_id_of(answer: httpx.Response) -> str:
    body = answer.json()
    return str(body["id"] if "id" in body else body["error"]["details"]["job_id"])


class Outcome:
    """The response to the request, and its ended job."""

    def __init__(self, client: httpx.AsyncClient, answer: httpx.Response, job: Json) -> None:
        self.client = client
        self.answer = answer
        self.job = job


Outcomes = dict[tuple[str, str], Outcome]


async def all_ended(client: httpx.AsyncClient, count: int) -> dict[str, Json]:
    """Wait until the user's `count` jobs have ended, and return them by their ids."""

    async def jobs() -> list[Json]:
        items: list[Json] = (await client.get("/api/v1/jobs", params={"limit": 100})).json()["items"]
        return items

    items = await eventually(jobs, lambda items: len(items) == count and all(job["completed_at"] for job in items))
    return {job["id"]: job for job in items}


@pytest_asyncio.fixture(scope="module")
async def outcomes(atelier: Studio) -> Outcomes:
    """All of them at once, with one user for each kind. The pauses between retries are shortened."""
    wanted = [*FAILING, *WORKING]
    users = {kind: await key_client(atelier, kind) for kind in KINDS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "FIRST_RETRY_DELAY", 0.1)
        answers = await asyncio.gather(*(generate(users[kind], kind, directive) for kind, directive in wanted))
        jobs: dict[str, Json] = {}
        for kind in KINDS:
            jobs |= await all_ended(users[kind], sum(of == kind for of, _ in wanted))
    return {
        (kind, directive): Outcome(users[kind], answer, jobs[job_id_of(answer)])
        for (kind, directive), answer in zip(wanted, answers, strict=True)
    }


async def test_a_failure_of_the_provider_is_reported_by_a_code_and_a_message(outcomes: Outcomes) -> None:
    with Cases() as cases:
        for kind, directive in FAILING:
            with cases.case(kind, directive):
                outcome = outcomes[kind, directive]
                job = outcome.job
                check_job(job)
                assert job["status"] == "failed"
                assert job["error"]["code"] in CODES
                assert job["error"]["code"] in FAILING[kind, directive]
                assert job["error"]["message"].endswith(".")
                assert job["assets"] == []
                if kind == "video":
                    assert outcome.answer.status_code == 202  # whatever the provider does
                    status = (await outcome.client.get(job["polling_url"])).json()
                    assert (status["status"], status["error"]) == ("failed", job["error"])
                    assert "video_url" not in status or status["video_url"] is None
                else:
                    error = error_of(outcome.answer, 400 if job["error"]["code"] == "PROVIDER_REFUSED" else 502)
                    if outcome.answer.status_code == 502:
                        assert error["code"] == "UPSTREAM_ERROR"
                    assert error["details"]["job_id"] == job["id"]
                    assert error["details"]["code"] == job["error"]["code"]


async def test_a_provider_that_recovers_completes_the_job(outcomes: Outcomes) -> None:
    with Cases() as cases:
        for kind, directive in WORKING:
            with cases.case(kind, directive):
                outcome = outcomes[kind, directive]
                check_job(outcome.job)
                assert outcome.answer.status_code == (202 if kind == "video" else 200)
                assert outcome.job["status"] == "completed", outcome.job
                assert outcome.job["progress"] == 100
                assert outcome.job["text"] if kind == "text" else len(outcome.job["assets"]) == 1
                for asset in outcome.job["assets"]:
                    media = await outcome.client.get(asset["url"])
                    assert media.status_code == 200
                    assert decoded_image(media.content) if kind == "image" else decoded_video(media.content)


async def test_a_cost_that_the_provider_never_reports_is_null(outcomes: Outcomes) -> None:
    for kind in KINDS:
        assert outcomes[kind, "no-cost"].job["cost_usd"] is None


async def test_failed_jobs_stay_listed(outcomes: Outcomes) -> None:
    for kind, path in (("image", "generate/images"), ("video", "generate/videos"), ("text", "jobs")):
        of_kind = [outcome for (one, _), outcome in outcomes.items() if one == kind]
        listed = (await of_kind[0].client.get(f"/api/v1/{path}", params={"limit": 100})).json()
        assert listed["total"] == len(of_kind)
        assert {job["id"] for job in listed["items"]} == {outcome.job["id"] for outcome in of_kind}


async def test_what_may_have_been_charged_or_cannot_succeed_is_sent_once(atelier: Studio, outcomes: Outcomes) -> None:
    requests = [(kind, name) for kind in KINDS for name in ("ambiguous", "refuse", "credits")]
    requests += [("video", it) for it in ("fail", "expire", "badmedia", "gone", "notyet", "redirect", "odd-state")]
    log = [str(one) for one in submit_log(atelier)]
    with Cases() as cases:
        for kind, directive in requests:
            with cases.case(kind, directive):
                assert (kind, directive) in outcomes
                sent = [one for one in log if f"[{directive}] [stamp] a {kind} of a lighthouse" in one]
                assert len(sent) <= 1
                if directive not in ("refuse", "credits"):
                    assert len(sent) == 1


async def test_a_retry_is_a_new_job_that_names_the_failed_one(atelier: Studio) -> None:
    client = await new_user(atelier)
    first = await ended_job(client, job_id_of(await generate(client, "video", "ambiguous")))
    answer = await client.post(f"/api/v1/jobs/{first['id']}/retry")
    assert answer.status_code == 201
    second = answer.json()
    check_job(second)
    assert second["id"] != first["id"]
    assert second["retry_of"] == first["id"]
    assert (second["prompt"], second["model"], second["params"]) == (first["prompt"], first["model"], first["params"])
    assert await read_job(client, first["id"]) == first


OVERDUE: dict[tuple[str, str], set[str]] = {
    ("video", "stuck"): {"TIMED_OUT"},
    ("image", "stuck"): {"TIMED_OUT", "OUTCOME_UNKNOWN"},
    ("text", "stuck"): {"TIMED_OUT", "OUTCOME_UNKNOWN"},
    ("text", "trickle"): {"TIMED_OUT", "OUTCOME_UNKNOWN"},
    ("image", "trickle"): {"TIMED_OUT", "OUTCOME_UNKNOWN"},
    ("video", "trickle"): {"TIMED_OUT", "RESULT_INVALID"},
    ("video", "cut"): {"TIMED_OUT", "RESULT_INVALID"},
}


@pytest_asyncio.fixture(scope="module", autouse=True)
async def overdue(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[asyncio.Future[dict[str, Json]]]:
    """Ended jobs that exceeded a deadline of one second, by kind and directive. They run concurrently with the other
    tests of this file."""
    async with running(tmp_path_factory.mktemp("deadline"), ATELIER_JOB_TIMEOUT_SECONDS="1") as studio:
        client = await studio.user()
        calls = [asyncio.ensure_future(generate(client, kind, directive)) for kind, directive in OVERDUE]

        async def ended() -> dict[str, Json]:
            jobs = await all_ended(client, len(OVERDUE))
            assert (await client.get("/health")).status_code == 200
            return {f"{job['kind']} {job['prompt'].partition(' ')[0]}": job for job in jobs.values()}

        task = asyncio.ensure_future(ended())
        yield task
        for waiting in (task, *calls):
            waiting.cancel()
        await asyncio.gather(task, *calls, return_exceptions=True)


async def test_a_job_that_does_not_end_fails_at_the_deadline(overdue: asyncio.Future[dict[str, Json]]) -> None:
    jobs = await overdue
    with Cases() as cases:
        for kind, directive in OVERDUE:
            with cases.case(kind, directive):
                job = jobs[f"{kind} [{directive}]"]
                check_job(job)
                assert job["status"] == "failed"
                assert job["error"]["code"] in OVERDUE[kind, directive]


async def test_a_result_that_is_larger_than_the_limit_is_not_stored(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_MAX_VIDEO_MB="0.1", ATELIER_MAX_IMAGE_MB="0.05") as studio:
        client = await studio.user()
        job = await ended_job(client, (await requested_video(client, "[huge] a lighthouse"))["id"])
        assert (job["status"], job["error"]["code"]) == ("failed", "RESULT_TOO_LARGE")
        body = {"model": MULTI_IMAGE_MODEL, "prompt": "a lighthouse in a storm", "image_size": "2K"}
        answer = await client.post("/api/v1/generate/image", json=body, headers={"Prefer": "wait=120"})
        error = error_of(answer, 502, "UPSTREAM_ERROR")
        assert error["details"]["code"] == "RESULT_TOO_LARGE"
        stored = sum(file.stat().st_size for file in (tmp_path / "data" / "media").rglob("*") if file.is_file())
        assert stored < 200_000


async def test_earlier_results_outlive_a_failure(ann: httpx.AsyncClient) -> None:
    image = await generated_image(ann)
    error_of(await generate(ann, "image", "refuse"), 400)
    media = await ann.get(image["assets"][0]["url"])
    assert (media.status_code, len(media.content)) == (200, image["assets"][0]["bytes"])
