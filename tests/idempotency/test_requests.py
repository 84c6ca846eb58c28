"""A paid request with an `Idempotency-Key` is executed once, however often it is sent, according to the provider's log
and the rows."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from tests.kit import (
    IMAGE_MODEL,
    SHORT_VIDEO,
    TEXT_MODEL,
    VIDEO_MODEL,
    Cases,
    Json,
    ended_job,
    error_of,
    eventually,
    new_email,
    read_job,
    submit_log,
    validation_error,
)
from tests.pages import PageUser
from tests.studio import Studio, running

KINDS = ("text", "image", "video")


def body(kind: str, prompt: str) -> Json:
    models: dict[str, Json] = {
        "text": {"model": TEXT_MODEL},
        "image": {"model": IMAGE_MODEL},
        "video": {"model": VIDEO_MODEL, **SHORT_VIDEO},
    }
    return {**models[kind], "prompt": prompt}


def key(value: str) -> dict[str, str]:
    """Headers with this key; image requests wait as long as the API allows."""
    return {"Idempotency-Key": value, "Prefer": "wait=120"}


async def total(client: httpx.AsyncClient) -> int:
    count: int = (await client.get("/api/v1/jobs")).json()["total"]
    return count


def submits(studio: Studio, prompt: str) -> int:
    return sum(entry["prompt"] == prompt for entry in submit_log(studio))


async def new_direct_user(studio: Studio) -> httpx.AsyncClient:
    return await studio.user(new_email(), direct=True)


@pytest.fixture
async def ann(atelier: Studio) -> httpx.AsyncClient:
    return await new_direct_user(atelier)


# Over HTTP


async def test_a_hundred_concurrent_requests_with_one_key_create_one_job(atelier: Studio) -> None:
    for kind in KINDS:
        ann, prompt = await new_direct_user(atelier), f"[stamp] {new_email()} a hundred times"
        request = body(kind, prompt)
        requests = [ann.post(f"/api/v1/generate/{kind}", json=request, headers=key("k")) for _ in range(100)]
        answers = await asyncio.gather(*requests)
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == ([200] * 99 + [202] if kind == "video" else [200] * 100)
        [id] = {answer.json()["id"] for answer in answers}
        assert (await ended_job(ann, id))["status"] == "completed"
        assert await total(ann) == 1
        assert submits(atelier, prompt) == 1


async def test_a_key_conflicts_with_another_body_or_path(atelier: Studio, ann: httpx.AsyncClient) -> None:
    prompt = f"[stamp] {new_email()} a conflict"
    request = body("video", prompt)
    first = await ann.post("/api/v1/generate/video", json=request, headers=key("k"))
    assert first.status_code == 202
    other = {**request, "prompt": "something else"}
    error_of(await ann.post("/api/v1/generate/video", json=other, headers=key("k")), 409, "CONFLICT")
    image = body("image", prompt)
    error_of(await ann.post("/api/v1/generate/image", json=image, headers=key("k")), 409, "CONFLICT")
    reordered = dict(reversed(request.items()))  # the same request with its fields in another order
    repeated = await ann.post("/api/v1/generate/video", json=reordered, headers=key("k"))
    assert (repeated.status_code, repeated.json()["id"]) == (200, first.json()["id"])
    await ended_job(ann, first.json()["id"])
    assert submits(atelier, prompt) == 1


async def test_a_repeated_request_gets_the_first_result_also_unfinished_and_after_a_restart(tmp_path: Path) -> None:
    stuck, text = body("video", "[stuck] without an end"), body("text", "a text")

    async def submitted(studio: Studio) -> bool:
        return all(job.upstream_job is not None for job in studio.program.jobs.live.snapshot().unfinished.values())

    async with running(tmp_path) as studio:
        ann = await studio.user(direct=True)
        first = (await ann.post("/api/v1/generate/video", json=stuck, headers=key("k"))).json()
        await eventually(lambda: read_job(ann, first["id"]), lambda now: now["status"] == "processing")
        repeated = await ann.post("/api/v1/generate/video", json=stuck, headers=key("k"))
        found = repeated.json()
        assert (repeated.status_code, found["id"], found["status"]) == (200, first["id"], "processing")
        done = (await ann.post("/api/v1/generate/text", json=text, headers=key("text"))).json()
        await eventually(lambda: submitted(studio), bool)
    async with running(tmp_path) as studio:
        ann = await studio.user(direct=True)
        repeated = await ann.post("/api/v1/generate/video", json=stuck, headers=key("k"))
        found = repeated.json()
        assert (repeated.status_code, found["id"], found["status"]) == (200, first["id"], "processing")
        assert (await ann.post("/api/v1/generate/text", json=text, headers=key("text"))).json() == done
        assert await total(ann) == 2
        assert len(submit_log(studio)) == 2


async def test_two_users_may_use_the_same_key(atelier: Studio) -> None:
    prompt = f"[stamp] {new_email()} the same key"
    users = [await new_direct_user(atelier), await new_direct_user(atelier)]
    answers = [
        await user.post("/api/v1/generate/image", json=body("image", prompt), headers=key("k")) for user in users
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["id"] != answers[1].json()["id"]
    assert submits(atelier, prompt) == 2


async def test_a_rejected_request_does_not_use_up_its_key(ann: httpx.AsyncClient) -> None:
    request = body("image", "[stamp] rejected at first")
    wrong = {**request, "model": "unknown/model"}
    assert (await ann.post("/api/v1/generate/image", json=wrong, headers=key("k"))).status_code == 400
    assert (await ann.post("/api/v1/generate/image", json=request, headers=key("k"))).status_code == 200


async def test_a_failed_request_is_not_executed_again_when_repeated(ann: httpx.AsyncClient) -> None:
    refused = body("image", "[refuse] something")
    first = error_of(await ann.post("/api/v1/generate/image", json=refused, headers=key("k")), 400)
    repeated = error_of(await ann.post("/api/v1/generate/image", json=refused, headers=key("k")), 400)
    assert repeated["details"]["job_id"] == first["details"]["job_id"]
    assert await total(ann) == 1


async def test_streams_ignore_the_key(atelier: Studio, ann: httpx.AsyncClient) -> None:
    prompt = f"[stamp] {new_email()} a stream"
    for _ in range(2):
        request = {**body("text", prompt), "stream": True}
        answer = await ann.post("/api/v1/generate/text", json=request, headers=key("k"))
        assert answer.status_code == 200
        assert answer.text.rstrip().endswith("data: [DONE]")
    assert submits(atelier, prompt) == 2


async def test_a_hundred_concurrent_retries_with_one_key_create_one_job(ann: httpx.AsyncClient) -> None:
    refused = body("image", "[refuse] something")
    failed = error_of(await ann.post("/api/v1/generate/image", json=refused, headers=key("f")), 400)["details"][
        "job_id"
    ]
    retries = [ann.post(f"/api/v1/jobs/{failed}/retry", headers=key("r")) for _ in range(100)]
    answers = await asyncio.gather(*retries)
    assert sorted(answer.status_code for answer in answers) == [200] * 99 + [201]
    [id] = {answer.json()["id"] for answer in answers}
    assert (await ended_job(ann, id))["retry_of"] == failed
    assert await total(ann) == 2
    error_of(await ann.post(f"/api/v1/jobs/{id}/retry", headers=key("r")), 409, "CONFLICT")


async def test_a_retry_by_an_admin_is_executed_and_recorded_once(studio: Studio) -> None:
    admin, bob = await studio.user(direct=True), await studio.user("bob@studio.example", direct=True)
    retried: list[str] = []
    for kind in ("jobs", "videos"):
        failed = []
        for _ in range(2):
            refused = body("video", "[refuse] something")
            failed.append((await bob.post("/api/v1/generate/video", json=refused)).json()["id"])
            await ended_job(bob, failed[-1])
        before = await total(bob)
        path = f"/api/v1/admin/{kind}/{failed[0]}/retry"
        answers = await asyncio.gather(*(admin.post(path, headers=key(kind)) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200] * 4 + [201]
        [id] = {answer.json()["id"] for answer in answers}
        assert (await ended_job(bob, id))["retry_of"] == failed[0]
        assert await total(bob) == before + 1
        retried.insert(0, failed[0])
        log = (await admin.get("/api/v1/admin/audit")).json()["items"]
        assert [entry["subject"] for entry in log] == retried, "one action, one entry"
        error_of(await admin.post(f"/api/v1/admin/{kind}/{failed[1]}/retry", headers=key(kind)), 409, "CONFLICT")
        own = await bob.post(f"/api/v1/jobs/{failed[1]}/retry", headers=key(kind))
        assert own.status_code == 201, "the key belongs to the admin, not to the user"
        validation_error(await admin.post(path, headers=key("")), "Idempotency-Key")
    assert (await studio.program.maintenance.examine()).ok


async def test_a_repeated_request_gets_the_first_result_even_if_it_would_be_rejected_by_now(studio: Studio) -> None:
    """Its model was disabled, or the job that it retries was deleted."""
    admin = await studio.user(direct=True)
    image = body("image", "[refuse] something")
    first = error_of(await admin.post("/api/v1/generate/image", json=image, headers=key("image")), 400)
    failed = first["details"]["job_id"]
    retry = await admin.post(f"/api/v1/jobs/{failed}/retry", headers=key("retry"))
    await ended_job(admin, retry.json()["id"])
    await admin.put(f"/api/v1/admin/models/{IMAGE_MODEL}", json={"enabled": False})
    repeated = error_of(await admin.post("/api/v1/generate/image", json=image, headers=key("image")), 400)
    assert repeated["details"]["job_id"] == failed
    again = await admin.post(f"/api/v1/jobs/{failed}/retry", headers=key("retry"))
    assert (again.status_code, again.json()["id"]) == (200, retry.json()["id"])
    validation_error(await admin.post(f"/api/v1/jobs/{failed}/retry", headers=key("another")), "model")


async def test_a_repeated_chat_request_gets_the_first_answer_even_if_its_model_is_disabled_by_now(
    studio: Studio,
) -> None:
    admin, browser = await studio.user(direct=True), await studio.user_in_browser(direct=True)
    request = {"model": TEXT_MODEL, "messages": [{"role": "user", "content": "hello"}]}
    form = {"text": "hello", "model": TEXT_MODEL, "idempotency_key": "click"}

    async def answers() -> list[object]:
        calls = [
            await admin.post(path, json=request, headers=key(path))
            for path in ("/api/v1/ai/chat", "/v1/chat/completions")
        ]
        started = await browser.send_form("/chat", form)
        return [*(call.json()["id"] for call in calls), started.headers["location"]]

    first = await answers()
    await admin.put(f"/api/v1/admin/models/{TEXT_MODEL}", json={"enabled": False})
    assert await answers() == first
    validation_error(await admin.post("/api/v1/ai/chat", json=request, headers=key("another")), "model")
    assert len(submit_log(studio)) == 3


async def test_an_invalid_key_is_rejected(ann: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for name, value in (("empty", ""), ("too long", "x" * 256), ("not printable", "a\tb")):
            for kind in KINDS:
                with cases.case(name, kind):
                    request = body(kind, "an invalid key")
                    answer = await ann.post(f"/api/v1/generate/{kind}", json=request, headers=key(value))
                    validation_error(answer, "Idempotency-Key")
    assert await total(ann) == 0
    longest = await ann.post("/api/v1/generate/text", json=body("text", "a long key"), headers=key("x" * 255))
    assert longest.status_code == 200
    assert await total(ann) == 1


# Forms


async def test_a_double_click_on_generate_creates_one_job(atelier: Studio, page_user: PageUser) -> None:
    prompt = f"[stamp] {new_email()} a double click"
    keys = []
    for _ in range(2):
        page = (await page_user.browser.get("/generate/image")).text
        found = re.search(r'name="idempotency_key" value="([^"]+)"', page)
        assert found, "the form has no key"
        keys.append(found[1])
    assert keys[0] != keys[1], "each empty form has a key of its own"
    form = {**body("image", prompt), "idempotency_key": keys[0]}
    token = await page_user.browser.form_token("/jobs")
    clicks = [page_user.browser.post("/generate/image", data={**form, "_csrf_token": token}) for _ in range(10)]
    answers = await asyncio.gather(*clicks)
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == 1
    second = await page_user.browser.send_form("/generate/image", {**form, "idempotency_key": keys[1]})
    assert second.headers["location"] != answers[0].headers["location"]
    for job in await page_user.jobs():
        await page_user.ended(job["id"])
    assert submits(atelier, prompt) == 2


async def cancelled_video(user: httpx.AsyncClient) -> str:
    """A cancelled job whose retries never end, because its prompt keeps the simulator busy."""
    job = (await user.post("/api/v1/generate/video", json=body("video", "[stuck] something"))).json()
    assert (await user.post(f"/api/v1/jobs/{job['id']}/cancel")).json()["status"] == "cancelled"
    return str(job["id"])


async def test_a_double_click_on_retry_creates_one_job(page_user: PageUser) -> None:
    job = await cancelled_video(page_user.client)
    token = await page_user.browser.form_token("/jobs")
    clicks = [page_user.browser.post(f"/jobs/{job}/retry", data={"_csrf_token": token}) for _ in range(2)]
    first, second = await asyncio.gather(*clicks)
    assert first.headers["location"] == second.headers["location"]
    assert await total(page_user.client) == 2
    await page_user.client.post(f"/api/v1{first.headers['location']}/cancel")
    third = await page_user.browser.send_form(f"/jobs/{job}/retry")
    assert third.headers["location"] != first.headers["location"], "after the first retry has ended, there is a second"
    await page_user.client.post(f"/api/v1{third.headers['location']}/cancel")


async def test_a_double_click_on_retry_by_an_admin_creates_one_job(atelier: Studio, ann: httpx.AsyncClient) -> None:
    admin = await atelier.user_in_browser("admin@studio.example", direct=True)
    job = await cancelled_video(ann)
    token = await admin.form_token("/jobs")
    clicks = [admin.post(f"/admin/jobs/{job}/retry", data={"_csrf_token": token}) for _ in range(5)]
    answers = await asyncio.gather(*clicks)
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert await total(ann) == 2
    await ann.post(f"/api/v1{answers[0].headers['location'].removeprefix('/admin')}/cancel")
