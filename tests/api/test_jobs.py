"""`/jobs`: everything that was asked for, cancelled, and asked for again."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.kit import (
    CLIP,
    FINAL,
    INVENTED,
    SHORT,
    TEXT,
    Json,
    asked_clip,
    check_job,
    check_list,
    eventually,
    invalid,
    pictured,
    problem,
    read_job,
    submits,
)
from tests.studio import Studio, running

CANCELS = ["/api/v1/jobs/{}/cancel", "/api/v1/generate/videos/{}/cancel", "/api/v1/generate/video/{}/cancel"]


async def reached(client: httpx.AsyncClient, job: Json, *states: str) -> Json:
    return await eventually(lambda: read_job(client, job["id"]), lambda now: now["status"] in states)


async def test_jobs_of_every_kind_are_in_one_list_newest_first(ann: httpx.AsyncClient) -> None:
    text = (await ann.post("/api/v1/generate/text", json={"model": TEXT, "prompt": "hello"})).json()
    picture = await pictured(ann)
    clip = await asked_clip(ann)
    answer = await ann.get("/api/v1/jobs")
    assert answer.status_code == 200
    items = check_list(answer.json())
    assert [(job["id"], job["kind"]) for job in items] == [
        (clip["id"], "video"),
        (picture["id"], "image"),
        (text["id"], "text"),
    ]
    assert (answer.json()["total"], answer.json()["next"]) == (3, None)
    for job in items:
        check_job(job)


async def test_a_newcomer_has_an_empty_list(ann: httpx.AsyncClient) -> None:
    for path in ("jobs", "generate/images", "generate/videos", "assets"):
        answer = await ann.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()) == (200, {"items": [], "total": 0, "next": None})


async def test_a_list_has_24_items_unless_told_otherwise_and_is_read_in_pages(ann: httpx.AsyncClient) -> None:
    made = [
        (await ann.post("/api/v1/generate/text", json={"model": TEXT, "prompt": f"text {number}"})).json()["id"]
        for number in range(26)
    ][::-1]
    first = (await ann.get("/api/v1/jobs")).json()
    assert [job["id"] for job in first["items"]] == made[:24]
    assert first["total"] == 26
    later = (await ann.post("/api/v1/generate/text", json={"model": TEXT, "prompt": "in between"})).json()["id"]
    second = (await ann.get("/api/v1/jobs", params={"cursor": first["next"]})).json()
    assert [job["id"] for job in second["items"]] == made[24:]  # what came in between moves nothing
    assert second["next"] is None
    exact = (await ann.get("/api/v1/jobs", params={"limit": 27})).json()
    assert [job["id"] for job in exact["items"]] == [later, *made]
    assert exact["next"] is None  # nothing is left, so nothing is promised
    one = (await ann.get("/api/v1/jobs", params={"limit": 1})).json()
    assert ([job["id"] for job in one["items"]], one["next"] is None) == ([later], False)


@pytest.mark.parametrize("path", ["jobs", "generate/images", "generate/videos", "assets"])
@pytest.mark.parametrize("limit", ["0", "101", "-5", "x", "9" * 30])
async def test_a_limit_outside_1_to_100_is_400(reader: httpx.AsyncClient, path: str, limit: str) -> None:
    invalid(await reader.get(f"/api/v1/{path}", params={"limit": limit}), "limit")


@pytest.mark.parametrize("path", ["jobs", "generate/images", "generate/videos", "assets"])
@pytest.mark.parametrize("cursor", ["x", "é", "\x00", "' or 1=1", "x" * 4000, "eyJhIjoxfQ=="])
async def test_a_cursor_that_we_did_not_give_is_400(reader: httpx.AsyncClient, path: str, cursor: str) -> None:
    invalid(await reader.get(f"/api/v1/{path}", params={"cursor": cursor}), "cursor")


async def test_a_strangers_cursor_opens_nothing(ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    for number in range(2):
        await ann.post("/api/v1/generate/text", json={"model": TEXT, "prompt": f"text {number}"})
    cursor = (await ann.get("/api/v1/jobs", params={"limit": 1})).json()["next"]
    answer = await bob.get("/api/v1/jobs", params={"cursor": cursor})
    if answer.status_code == 200:
        assert answer.json()["items"] == []
    else:
        invalid(answer, "cursor")


@pytest.mark.parametrize("cancel", CANCELS)
async def test_a_job_under_way_is_cancelled_at_once_because_openrouter_has_no_cancel(
    maker: httpx.AsyncClient, cancel: str
) -> None:
    job = await asked_clip(maker, "[stuck] a lighthouse")
    await reached(maker, job, "processing")
    answer = await maker.post(cancel.format(job["id"]))
    assert answer.status_code == 200
    cancelled = await read_job(maker, job["id"])
    check_job(cancelled)
    assert (cancelled["status"], cancelled["error"]) == ("cancelled", None)
    assert answer.json() == cancelled
    again = await maker.post(cancel.format(job["id"]))
    problem(again, 409, "CONFLICT")
    assert (await maker.get(job["polling_url"])).json()["status"] == "cancelled"


async def test_a_queued_job_is_cancelled_at_once_and_is_never_sent(maker: httpx.AsyncClient, atelier: Studio) -> None:
    """`overloaded` turns the first try away, so the job waits in the queue for its second."""
    job = await asked_clip(maker, "[overloaded] a job that waits in the queue")
    waiting = await eventually(
        lambda: read_job(maker, job["id"]), lambda now: now["status"] == "queued" and now["attempts"] > 0
    )
    assert waiting["completed_at"] is None
    answer = await maker.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")

    # Another job that is turned away at first completes in the meantime; the cancelled one was due before it.
    other = await asked_clip(maker, "[overloaded] a job that is not cancelled")
    assert (await reached(maker, other, *FINAL))["status"] == "completed"
    assert (await read_job(maker, job["id"]))["status"] == "cancelled"
    assert [one for one in submits(atelier) if "a job that waits in the queue" in str(one["request"])] == []


@pytest.mark.parametrize("kind", ["text", "image", "video"])
async def test_a_final_job_cannot_be_cancelled(maker: httpx.AsyncClient, kind: str) -> None:
    if kind == "text":
        made = (await maker.post("/api/v1/generate/text", json={"model": TEXT, "prompt": "hello"})).json()
    elif kind == "image":
        made = await pictured(maker)
    else:
        made = await reached(maker, await asked_clip(maker), *FINAL)
    before = await read_job(maker, made["id"])
    problem(await maker.post(f"/api/v1/jobs/{made['id']}/cancel"), 409, "CONFLICT")
    assert await read_job(maker, made["id"]) == before


async def test_a_failed_job_cannot_be_cancelled(maker: httpx.AsyncClient) -> None:
    job = await reached(maker, await asked_clip(maker, "[refuse] a lighthouse"), *FINAL)
    problem(await maker.post(f"/api/v1/jobs/{job['id']}/cancel"), 409, "CONFLICT")
    assert (await read_job(maker, job["id"]))["status"] == "failed"


async def test_a_picture_under_way_can_be_cancelled(maker: httpx.AsyncClient) -> None:
    body = {"model": "recraft/recraft-v4", "prompt": "[stuck] a lighthouse"}
    job = (await maker.post("/api/v1/generate/image", json=body, headers={"Prefer": "respond-async"})).json()
    await reached(maker, job, "processing")
    answer = await maker.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 200
    assert (await reached(maker, job, *FINAL))["status"] == "cancelled"


async def test_a_failed_job_is_asked_for_again_as_a_new_one(ann: httpx.AsyncClient) -> None:
    first = await reached(ann, await asked_clip(ann, "[refuse] a lighthouse"), *FINAL)
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


async def test_a_cancelled_job_is_asked_for_again(maker: httpx.AsyncClient) -> None:
    job = await asked_clip(maker, "[stuck] a lighthouse")
    await maker.post(f"/api/v1/jobs/{job['id']}/cancel")
    answer = await maker.post(f"/api/v1/jobs/{job['id']}/retry")
    assert answer.status_code == 201
    await maker.post(f"/api/v1/jobs/{answer.json()['id']}/cancel")


async def test_a_job_that_goes_on_or_went_well_is_not_asked_for_again(ann: httpx.AsyncClient) -> None:
    going = await asked_clip(ann, "[stuck] a lighthouse")
    problem(await ann.post(f"/api/v1/jobs/{going['id']}/retry"), 409, "CONFLICT")
    await ann.post(f"/api/v1/jobs/{going['id']}/cancel")
    done = await pictured(ann)
    problem(await ann.post(f"/api/v1/jobs/{done['id']}/retry"), 409, "CONFLICT")
    assert (await ann.get("/api/v1/jobs")).json()["total"] == 2


async def test_a_retry_works_with_the_picture_of_the_first_job(maker: httpx.AsyncClient, atelier: Studio) -> None:
    from tests.api.kit import FRAMED, SHORT_FRAMED, uploaded

    asset = await uploaded(maker)
    body = {"model": FRAMED, "prompt": "[ambiguous] frame again", "image_asset_id": asset["id"], **SHORT_FRAMED}
    first = await reached(maker, (await maker.post("/api/v1/generate/video/from-image", json=body)).json(), *FINAL)
    assert first["error"]["code"] == "OUTCOME_UNKNOWN"
    second = (await maker.post(f"/api/v1/jobs/{first['id']}/retry")).json()
    assert second["generation_type"] == "image_to_video"
    await reached(maker, second, *FINAL)
    sent = [one["request"] for one in submits(atelier) if "frame again" in str(one["request"])]
    assert len(sent) == 2
    assert "first_frame" in str(sent[1])


@pytest.mark.parametrize("path", ["{}", "{}/cancel", "{}/retry"])
@pytest.mark.parametrize(
    "job_id", ["x", "1", "%00", "..%2f..%2fusers%2fme", "%ff%fe", "a" * 3000, "' or '1'='1", "é", INVENTED]
)
async def test_an_invented_id_is_404(reader: httpx.AsyncClient, path: str, job_id: str) -> None:
    method = "GET" if path == "{}" else "POST"
    problem(await reader.request(method, f"/api/v1/jobs/{path.format(job_id)}"), 404, "RESOURCE_NOT_FOUND")


async def test_what_the_provider_charges_after_a_cancel_is_still_settled(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="0.05", ATELIER_WORKER_SECONDS="0.2") as studio:
        client = await studio.person()
        body: dict[str, Any] = {"model": CLIP, "prompt": "a lighthouse", **SHORT}
        job = (await client.post("/api/v1/generate/video", json=body)).json()

        async def sent() -> list[Json]:
            return submits(studio)

        await eventually(sent, lambda found: len(found) == 1)
        await eventually(lambda: read_job(client, job["id"]), lambda now: now["status"] == "processing")
        cancelled = (await client.post(f"/api/v1/jobs/{job['id']}/cancel")).json()
        assert (cancelled["status"], cancelled["cost_usd"]) == ("cancelled", None)
        settled = await eventually(
            lambda: read_job(client, job["id"]), lambda now: now["cost_usd"] is not None, seconds=30
        )
        assert (settled["status"], settled["assets"]) == ("cancelled", [])
        assert len(submits(studio)) == 1
