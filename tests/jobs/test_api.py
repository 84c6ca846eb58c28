"""`/jobs`: the list of all jobs, cancelling and retrying."""

import asyncio
import time
from pathlib import Path

import httpx

from app.providers.simulator.runtime import SimulatorClock
from tests.kit import (
    IMAGE_MODEL,
    IMAGE_TO_VIDEO_MODEL,
    SHORT_IMAGE_TO_VIDEO,
    TEXT_MODEL,
    UNKNOWN_ID,
    Cases,
    Json,
    check_job,
    check_list,
    ended_job,
    error_of,
    eventually,
    generated_image,
    read_job,
    requested_video,
    submit_log,
    uploaded_asset,
    validation_error,
)
from tests.studio import Studio, running, served_simulator

CANCEL_PATHS = ["/api/v1/jobs/{}/cancel", "/api/v1/generate/videos/{}/cancel", "/api/v1/generate/video/{}/cancel"]


async def reached(client: httpx.AsyncClient, job: Json, *states: str) -> Json:
    return await eventually(lambda: read_job(client, job["id"]), lambda now: now["status"] in states)


async def test_jobs_of_all_kinds_are_in_one_list_newest_first(ann: httpx.AsyncClient) -> None:
    text = (await ann.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": "hello"})).json()
    image = await generated_image(ann)
    video = await requested_video(ann)
    answer = await ann.get("/api/v1/jobs")
    assert answer.status_code == 200
    items = check_list(answer.json())
    assert [(job["id"], job["kind"]) for job in items] == [
        (video["id"], "video"),
        (image["id"], "image"),
        (text["id"], "text"),
    ]
    assert (answer.json()["total"], answer.json()["next"]) == (3, None)
    for job in items:
        check_job(job)


async def test_a_new_user_has_empty_lists(ann: httpx.AsyncClient) -> None:
    for path in ("jobs", "generate/images", "generate/videos", "assets"):
        answer = await ann.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()) == (200, {"items": [], "total": 0, "next": None})


async def test_a_list_has_24_items_by_default_and_is_read_in_pages(ann: httpx.AsyncClient) -> None:
    created = [
        (await ann.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": f"text {number}"})).json()["id"]
        for number in range(26)
    ][::-1]
    first = (await ann.get("/api/v1/jobs")).json()
    assert [job["id"] for job in first["items"]] == created[:24]
    assert first["total"] == 26
    later = (await ann.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": "in between"})).json()["id"]
    second = (await ann.get("/api/v1/jobs", params={"cursor": first["next"]})).json()
    assert [job["id"] for job in second["items"]] == created[24:]  # a new job moves nothing
    assert second["next"] is None
    exact = (await ann.get("/api/v1/jobs", params={"limit": 27})).json()
    assert [job["id"] for job in exact["items"]] == [later, *created]
    assert exact["next"] is None  # there is no further page
    one = (await ann.get("/api/v1/jobs", params={"limit": 1})).json()
    assert ([job["id"] for job in one["items"]], one["next"] is None) == ([later], False)


async def test_an_invalid_limit_or_cursor_is_400(reader: httpx.AsyncClient) -> None:
    queries = [("limit", value) for value in ("0", "101", "-5", "x", "9" * 30)]
    queries += [("cursor", value) for value in ("x", "é", "\x00", "' or 1=1", "x" * 4000, "eyJhIjoxfQ==")]
    with Cases() as cases:
        for path in ("jobs", "generate/images", "generate/videos", "assets"):
            for name, value in queries:
                with cases.case(path, name, value):
                    validation_error(await reader.get(f"/api/v1/{path}", params={name: value}), name)


async def test_a_cursor_of_another_user_shows_nothing(ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    for number in range(2):
        await ann.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": f"text {number}"})
    cursor = (await ann.get("/api/v1/jobs", params={"limit": 1})).json()["next"]
    answer = await bob.get("/api/v1/jobs", params={"cursor": cursor})
    if answer.status_code == 200:
        assert answer.json()["items"] == []
    else:
        validation_error(answer, "cursor")


async def test_a_running_job_is_cancelled_at_once_because_openrouter_cannot_cancel(
    creator: httpx.AsyncClient,
) -> None:
    for path in CANCEL_PATHS:
        job = await requested_video(creator, "[stuck] a lighthouse")
        await reached(creator, job, "processing")
        answer = await creator.post(path.format(job["id"]))
        assert answer.status_code == 200
        cancelled = await read_job(creator, job["id"])
        check_job(cancelled)
        assert (cancelled["status"], cancelled["error"]) == ("cancelled", None)
        assert answer.json() == cancelled
        error_of(await creator.post(path.format(job["id"])), 409, "CONFLICT")
        assert (await creator.get(job["polling_url"])).json()["status"] == "cancelled"


async def test_a_queued_job_is_cancelled_at_once_and_never_sent(creator: httpx.AsyncClient, atelier: Studio) -> None:
    """`overloaded` refuses the first attempt, so the job waits in the queue for its second."""
    job = await requested_video(creator, "[overloaded] a job that waits in the queue")
    waiting = await eventually(
        lambda: read_job(creator, job["id"]), lambda now: now["status"] == "queued" and now["attempts"] > 0
    )
    assert waiting["completed_at"] is None
    answer = await creator.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")

    # A later job with the same first attempt completes; the second attempt of the cancelled one was due before.
    other = await requested_video(creator, "[overloaded] [stamp] a job that is not cancelled")
    assert (await ended_job(creator, other["id"]))["status"] == "completed"
    assert (await read_job(creator, job["id"]))["status"] == "cancelled"
    assert [one for one in submit_log(atelier) if "a job that waits in the queue" in str(one["request"])] == []


async def test_an_ended_job_cannot_be_cancelled(creator: httpx.AsyncClient) -> None:
    text = await creator.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": "hello"})
    video = await requested_video(creator)
    refused = await requested_video(creator, "[refuse] a lighthouse")
    for job_id in (text.json()["id"], (await generated_image(creator))["id"], video["id"], refused["id"]):
        before = await ended_job(creator, job_id)
        assert before["status"] == ("failed" if job_id == refused["id"] else "completed")
        error_of(await creator.post(f"/api/v1/jobs/{job_id}/cancel"), 409, "CONFLICT")
        assert await read_job(creator, job_id) == before


async def test_a_running_image_job_can_be_cancelled(creator: httpx.AsyncClient) -> None:
    body = {"model": IMAGE_MODEL, "prompt": "[stuck] a lighthouse"}
    job = (await creator.post("/api/v1/generate/image", json=body, headers={"Prefer": "respond-async"})).json()
    await reached(creator, job, "processing")
    answer = await creator.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 200
    assert (await ended_job(creator, job["id"]))["status"] == "cancelled"


async def test_a_retry_of_a_failed_job_is_a_new_job(ann: httpx.AsyncClient) -> None:
    first = await ended_job(ann, (await requested_video(ann, "[refuse] a lighthouse"))["id"])
    answer = await ann.post(f"/api/v1/jobs/{first['id']}/retry")
    assert answer.status_code == 201
    second = answer.json()
    check_job(second)
    assert second["id"] != first["id"]
    assert second["retry_of"] == first["id"]
    same = ("kind", "generation_type", "provider", "model", "prompt", "params")
    assert {key: second[key] for key in same} == {key: first[key] for key in same}
    assert (second["status"], second["attempts"], second["error"]) == ("queued", 0, None)
    assert await read_job(ann, first["id"]) == first
    assert [job["id"] for job in (await ann.get("/api/v1/jobs")).json()["items"]] == [second["id"], first["id"]]


async def test_a_cancelled_job_can_be_retried(creator: httpx.AsyncClient) -> None:
    job = await requested_video(creator, "[stuck] a lighthouse")
    await creator.post(f"/api/v1/jobs/{job['id']}/cancel")
    answer = await creator.post(f"/api/v1/jobs/{job['id']}/retry")
    assert answer.status_code == 201
    await creator.post(f"/api/v1/jobs/{answer.json()['id']}/cancel")


async def test_a_running_or_completed_job_cannot_be_retried(ann: httpx.AsyncClient) -> None:
    running_job = await requested_video(ann, "[stuck] a lighthouse")
    error_of(await ann.post(f"/api/v1/jobs/{running_job['id']}/retry"), 409, "CONFLICT")
    await ann.post(f"/api/v1/jobs/{running_job['id']}/cancel")
    completed = await generated_image(ann)
    error_of(await ann.post(f"/api/v1/jobs/{completed['id']}/retry"), 409, "CONFLICT")
    assert (await ann.get("/api/v1/jobs")).json()["total"] == 2


async def test_a_retry_sends_the_input_image_of_the_first_job(creator: httpx.AsyncClient, atelier: Studio) -> None:
    asset = await uploaded_asset(creator)
    body = {
        "model": IMAGE_TO_VIDEO_MODEL,
        "prompt": "[ambiguous] [stamp] frame again",
        "image_asset_id": asset["id"],
        **SHORT_IMAGE_TO_VIDEO,
    }
    first = await ended_job(creator, (await creator.post("/api/v1/generate/video/from-image", json=body)).json()["id"])
    assert first["error"]["code"] == "OUTCOME_UNKNOWN"
    second = (await creator.post(f"/api/v1/jobs/{first['id']}/retry")).json()
    assert second["generation_type"] == "image_to_video"
    await ended_job(creator, second["id"])
    sent = [one["request"] for one in submit_log(atelier) if "frame again" in str(one["request"])]
    assert len(sent) == 2
    assert "first_frame" in str(sent[1])


async def test_an_unknown_id_is_404(ann: httpx.AsyncClient) -> None:
    """Over a real connection, so that the path passes through the HTTP parser."""
    ids = ["x", "1", "%00", "..%2f..%2fusers%2fme", "%ff%fe", "a" * 3000, "' or '1'='1", "é", UNKNOWN_ID]
    with Cases() as cases:
        for method, path in (("GET", "{}"), ("POST", "{}/cancel"), ("POST", "{}/retry")):
            for job_id in ids:
                with cases.case(path, job_id):
                    answer = await ann.request(method, f"/api/v1/jobs/{path.format(job_id)}")
                    error_of(answer, 404, "RESOURCE_NOT_FOUND")


class SteppedClock(SimulatorClock):
    """The simulator's clock: it only advances when a test sets it, and sleeping takes no time."""

    def __init__(self) -> None:
        self.time = time.time()

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def test_a_charge_after_a_cancel_is_still_recorded(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with (
        served_simulator(tmp_path / "simulator", clock) as url,
        running(tmp_path, OPENROUTER_BASE_URL=f"{url}/api/v1", OPENROUTER_API_KEY="any") as studio,
    ):
        await studio.program.catalog.filled.wait()
        client = await studio.user(direct=True)
        job = await requested_video(client)
        log = tmp_path / "simulator" / "submits.jsonl"

        async def submits() -> list[str]:
            return log.read_text().splitlines() if log.exists() else []

        await eventually(submits, lambda lines: len(lines) == 1)
        await reached(client, job, "processing")
        cancelled = (await client.post(f"/api/v1/jobs/{job['id']}/cancel")).json()
        assert (cancelled["status"], cancelled["cost_usd"]) == ("cancelled", None)
        clock.time += 3600  # the provider completes the video and charges for it
        charged = await eventually(lambda: read_job(client, job["id"]), lambda now: now["cost_usd"] is not None)
        assert (charged["status"], charged["assets"]) == ("cancelled", [])
        assert len(await submits()) == 1
