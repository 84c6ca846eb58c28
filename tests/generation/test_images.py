"""`/generate/image` and the list of image jobs."""

import httpx
import pytest

from app.generation.service import Generation
from app.jobs.schemas import Job
from tests.kit import (
    IMAGE_MODEL,
    MULTI_IMAGE_MODEL,
    SIZED_IMAGE_MODEL,
    TEXT_MODEL,
    UNKNOWN_ID,
    VIDEO_MODEL,
    Cases,
    Json,
    check_job,
    check_list,
    decoded_image,
    ended_job,
    error_of,
    generated_image,
    read_job,
    requested_video,
    submit_log,
    uploaded_asset,
    validation_error,
)
from tests.studio import Studio

PATH = "/api/v1/generate/image"


async def test_an_image_is_answered_in_one_call_as_the_completed_job(creator: httpx.AsyncClient) -> None:
    answer = await creator.post(PATH, json={"model": IMAGE_MODEL, "prompt": "A lighthouse, Łódź 灯塔 🎨"})
    assert answer.status_code == 200
    job = answer.json()
    check_job(job)
    assert (job["kind"], job["generation_type"], job["model"]) == ("image", "text_to_image", IMAGE_MODEL)
    assert job["prompt"] == "A lighthouse, Łódź 灯塔 🎨"
    assert (job["status"], job["progress"], job["error"], job["text"]) == ("completed", 100, None, None)
    assert job["cost_usd"] is not None
    assert job["created_at"] <= job["started_at"] <= job["completed_at"]
    [asset] = job["assets"]
    media = await creator.get(asset["url"])
    assert media.status_code == 200
    assert media.headers["content-type"] == asset["mime"]
    image = decoded_image(media.content)
    assert (image.format, image.size) == ("PNG", (asset["width"], asset["height"]))
    assert len(media.content) == asset["bytes"]
    thumbnail = await creator.get(asset["thumbnail_url"])
    assert thumbnail.status_code == 200
    assert max(decoded_image(thumbnail.content).size) < max(image.size)
    assert await read_job(creator, job["id"]) == job


async def test_images_differ_by_prompt_and_by_seed(creator: httpx.AsyncClient) -> None:
    async def image(prompt: str, seed: int) -> bytes:
        job = await generated_image(creator, prompt, model=MULTI_IMAGE_MODEL, seed=seed)
        return (await creator.get(job["assets"][0]["url"])).content

    first = await image("[stamp] a lighthouse", 1)
    assert await image("[stamp] a lighthouse", 2) != first
    assert await image("[stamp] a harbour", 1) != first


async def test_the_image_has_the_requested_size(creator: httpx.AsyncClient) -> None:
    for size in ("1024x1024", "1536x1024"):
        job = await generated_image(creator, "a lighthouse", model=SIZED_IMAGE_MODEL, size=size)
        width, height = map(int, size.split("x"))
        [asset] = job["assets"]
        assert (asset["width"], asset["height"]) == (width, height)
        assert decoded_image((await creator.get(asset["url"])).content).size == (width, height)
        assert job["params"] == {"size": size}


async def test_the_image_has_the_requested_aspect_ratio(creator: httpx.AsyncClient) -> None:
    for ratio in ("16:9", "9:16"):
        job = await generated_image(creator, "a lighthouse", aspect_ratio=ratio)
        across, down = map(int, ratio.split(":"))
        [asset] = job["assets"]
        assert asset["width"] / asset["height"] == pytest.approx(across / down, rel=0.05)


async def test_n_images_are_n_assets_of_one_job(creator: httpx.AsyncClient) -> None:
    job = await generated_image(creator, model=MULTI_IMAGE_MODEL, n=3)
    assert len(job["assets"]) == 3
    assert len({asset["id"] for asset in job["assets"]}) == 3
    contents = {(await creator.get(asset["url"])).content for asset in job["assets"]}
    assert len(contents) == 3


async def test_the_image_has_the_requested_format(creator: httpx.AsyncClient) -> None:
    for format in ("png", "webp"):
        job = await generated_image(creator, output_format=format)
        [asset] = job["assets"]
        assert asset["mime"] == f"image/{format}"
        assert decoded_image((await creator.get(asset["url"])).content).format == format.upper()


async def test_with_respond_async_the_answer_is_202_at_once_and_the_job_completes(
    creator: httpx.AsyncClient,
) -> None:
    body = {"model": IMAGE_MODEL, "prompt": "[slow] [stamp] a lighthouse"}
    answer = await creator.post(PATH, json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    job = answer.json()
    check_job(job)
    assert job["status"] in ("queued", "processing")
    assert (await ended_job(creator, job["id"]))["status"] == "completed"


async def test_prefer_sets_how_long_the_answer_waits_for_the_image(
    creator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tests/jobs/test_service.py` tests that a wait ends in time."""
    waits: list[float] = []
    wait = Generation.wait

    async def recorded(self: Generation, job: Job, seconds: float) -> Job:
        waits.append(seconds)
        return await wait(self, job, min(seconds, 0.1))

    monkeypatch.setattr(Generation, "wait", recorded)
    preferences = {"wait=1": 1, "WAIT=1": 1, "wait=0": 0, "respond-async, wait=1": 0, "wait=99999": 120, "": 55}
    for prefer in preferences:
        body = {"model": IMAGE_MODEL, "prompt": "[stuck] a lighthouse"}
        answer = await creator.post(PATH, json=body, headers={"Prefer": prefer})
        assert answer.status_code == 202
        job = answer.json()
        check_job(job)
        assert job["status"] in ("queued", "processing")
        await creator.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert waits == list(preferences.values())


async def test_an_invalid_preference_is_ignored(creator: httpx.AsyncClient) -> None:
    preferences = ["wait=x", "wait=", "wait=-1", "wait=99999999", "return=minimal", "", ";;=", "é"]
    with Cases() as cases:
        for prefer in preferences:
            with cases.case(prefer):
                body = {"model": IMAGE_MODEL, "prompt": "[stamp] a lighthouse"}
                answer = await creator.post(PATH, json=body, headers={b"Prefer": prefer.encode()})
                assert answer.status_code in (200, 202), answer.text
                check_job(answer.json())


async def test_an_image_is_generated_from_an_input_image(creator: httpx.AsyncClient, atelier: Studio) -> None:
    asset = await uploaded_asset(creator)
    job = await generated_image(
        creator, "[stamp] make it a harbour at dusk", model=MULTI_IMAGE_MODEL, image_asset_id=asset["id"]
    )
    assert (job["status"], job["generation_type"]) == ("completed", "image_to_image")
    sent = [one for one in submit_log(atelier) if "make it a harbour at dusk" in str(one["request"])]
    assert len(sent) == 1
    assert "image" in str(sent[0]["request"].keys() - {"model"}) or "image" in str(sent[0]["request"])


async def test_a_model_without_image_input_refuses_one(creator: httpx.AsyncClient) -> None:
    asset = await uploaded_asset(creator)
    answer = await creator.post(PATH, json={"model": IMAGE_MODEL, "prompt": "x", "image_asset_id": asset["id"]})
    error_of(answer, 400, "VALIDATION_ERROR")


async def test_two_input_images_at_once_are_refused(creator: httpx.AsyncClient) -> None:
    asset = await uploaded_asset(creator)
    body = {
        "model": MULTI_IMAGE_MODEL,
        "prompt": "x",
        "image_asset_id": asset["id"],
        "image_url": "https://example.org/x.png",
    }
    error_of(await creator.post(PATH, json=body), 400, "VALIDATION_ERROR")


async def test_an_input_image_of_another_user_and_an_unknown_one_get_the_same_error(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    asset = await uploaded_asset(ann)
    body = {"model": MULTI_IMAGE_MODEL, "prompt": "x"}
    stranger = await bob.post(PATH, json={**body, "image_asset_id": asset["id"]})
    unknown = await bob.post(PATH, json={**body, "image_asset_id": UNKNOWN_ID})
    assert stranger.status_code == unknown.status_code
    assert stranger.status_code in (400, 404)
    assert stranger.json() == unknown.json()


async def test_a_model_without_image_output_is_refused(reader: httpx.AsyncClient) -> None:
    for model in (TEXT_MODEL, VIDEO_MODEL):
        validation_error(await reader.post(PATH, json={"model": model, "prompt": "x"}), "model")


async def test_own_image_jobs_are_listed_newest_first(ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    jobs: list[Json] = [await generated_image(ann, f"[stamp] image {number}") for number in range(3)]
    await generated_image(bob)
    video = await requested_video(ann)
    answer = await ann.get("/api/v1/generate/images")
    assert answer.status_code == 200
    items = check_list(answer.json())
    assert items == jobs[::-1]
    assert answer.json()["total"] == 3
    assert (await ann.get(f"/api/v1/generate/images/{jobs[0]['id']}")).json() == jobs[0]
    missing = await ann.get(f"/api/v1/generate/images/{video['id']}")
    error_of(missing, 404, "RESOURCE_NOT_FOUND")


async def test_an_image_job_of_another_user_is_missing(ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    job = await generated_image(ann)
    stranger = await bob.get(f"/api/v1/generate/images/{job['id']}")
    unknown = await bob.get(f"/api/v1/generate/images/{UNKNOWN_ID}")
    assert error_of(stranger, 404, "RESOURCE_NOT_FOUND") == error_of(unknown, 404, "RESOURCE_NOT_FOUND")
