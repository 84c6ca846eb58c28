"""`/generate/video`: requests, status polling, results, and the list of video jobs."""

from urllib.parse import quote

import httpx
import pytest

from tests.kit import (
    FINAL_STATES,
    IMAGE_MODEL,
    IMAGE_TO_VIDEO_MODEL,
    JOB_STATES,
    SHORT_IMAGE_TO_VIDEO,
    TEXT_MODEL,
    UNKNOWN_ID,
    VIDEO_MODEL,
    Cases,
    Json,
    check_job,
    check_list,
    decoded_video,
    ended_job,
    error_of,
    eventually,
    generated_image,
    png,
    read_job,
    requested_video,
    submit_log,
    uploaded_asset,
    validation_error,
)
from tests.studio import Studio

PATH = "/api/v1/generate/video"
STATUS = f"{PATH}/status"


async def test_a_request_is_answered_with_202_and_can_be_polled_until_the_video_is_complete(
    creator: httpx.AsyncClient,
) -> None:
    job = await requested_video(creator, "Waves 波 🌊")
    check_job(job)
    assert (job["kind"], job["generation_type"], job["status"]) == ("video", "text_to_video", "queued")
    assert job["assets"] == []
    assert job["polling_url"] == f"{PATH}/{job['id']}/status"

    polled: list[Json] = []

    async def status() -> Json:
        answer = await creator.get(job["polling_url"])
        assert answer.status_code == 200
        body: Json = answer.json()
        assert {"id", "status", "progress"} <= set(body) <= {"id", "status", "progress", "video_url", "error"}
        assert body["id"] == job["id"]
        assert body["status"] in JOB_STATES
        assert body["progress"] is None or 0 <= body["progress"] <= 100
        polled.append(body)
        return body

    last = await eventually(status, lambda body: body["status"] in FINAL_STATES)
    assert (last["status"], last["progress"]) == ("completed", 100)
    assert last.get("error") is None
    assert all(body.get("video_url") is None for body in polled[:-1])
    order = ["queued", "processing", "completed"]
    assert [order.index(body["status"]) for body in polled] == sorted(order.index(body["status"]) for body in polled)

    done = await read_job(creator, job["id"])
    check_job(done)
    [asset] = done["assets"]
    assert last["video_url"] == asset["url"]
    media = await creator.get(last["video_url"])
    assert media.status_code == 200
    assert media.headers["content-type"] == "video/mp4"
    codec, width, height, seconds, frames = decoded_video(media.content)
    assert codec == "h264"
    assert (width, height) == (asset["width"], asset["height"])
    assert seconds == pytest.approx(1, abs=0.2)
    assert asset["duration"] == pytest.approx(seconds, abs=0.1)
    assert frames
    assert (await creator.get(asset["thumbnail_url"])).status_code == 200


async def test_a_video_has_the_requested_size_and_duration(creator: httpx.AsyncClient) -> None:
    cases: list[tuple[Json, int | None, float, int]] = [
        ({"resolution": "480p", "aspect_ratio": "16:9", "duration": 2}, 480, 16 / 9, 2),
        ({"resolution": "480p", "aspect_ratio": "9:16", "duration": 3}, None, 9 / 16, 3),
        ({"resolution": "720p", "aspect_ratio": "1:1", "duration": 2}, 720, 1, 2),
    ]
    for params, height, ratio, seconds in cases:
        body = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "waves", **params}
        job = await ended_job(creator, (await creator.post(PATH, json=body)).json()["id"])
        assert job["status"] == "completed"
        assert job["params"] == params
        _, wide, high, length, _ = decoded_video((await creator.get(job["assets"][0]["url"])).content)
        assert wide / high == pytest.approx(ratio, rel=0.03)
        assert height is None or high == height
        assert min(wide, high) == int(params["resolution"][:-1])
        assert length == pytest.approx(seconds, abs=0.2)


async def test_all_fields_of_the_request_reach_the_provider(creator: httpx.AsyncClient, atelier: Studio) -> None:
    body = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "[stamp] exactly these fields", "seed": 7, **SHORT_IMAGE_TO_VIDEO}
    job = (await creator.post(PATH, json=body)).json()
    await ended_job(creator, job["id"])
    [sent] = [
        one["request"] for one in submit_log(atelier) if one["request"].get("prompt") == "[stamp] exactly these fields"
    ]
    assert {key: sent[key] for key in body} == body


async def test_status_accepts_a_polling_url_of_this_api_and_nothing_else(creator: httpx.AsyncClient) -> None:
    job = await requested_video(creator)
    answer = await creator.get(STATUS, params={"polling_url": job["polling_url"]})
    assert answer.status_code == 200
    assert answer.json()["id"] == job["id"]
    urls = [
        job["polling_url"] + "/",
        job["polling_url"] + "?x=1",
        "http://127.0.0.1:9" + job["polling_url"],
        job["id"],
        "",
        "x",
        "/api/v1/generate/video//status",
        "/api/v1/generate/video/../../users/me/status",
        f"/api/v1/generate/video/{UNKNOWN_ID}/status",
        "/api/v1/jobs",
        "https://openrouter.ai/api/v1/videos/gen-vid-1",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:22/",
        "file:///etc/passwd",
        "\x00",
        "é" * 3000,
    ]
    with Cases() as cases:
        for url in urls:
            with cases.case(url):
                error_of(await creator.get(STATUS, params={"polling_url": url}), 404, "RESOURCE_NOT_FOUND")


async def test_polling_without_a_polling_url_is_400(reader: httpx.AsyncClient) -> None:
    validation_error(await reader.get(STATUS), "polling_url")


async def test_a_polling_url_is_never_fetched(
    creator: httpx.AsyncClient, own_listener: tuple[str, list[bytes]]
) -> None:
    address, connections = own_listener
    job = await requested_video(creator)
    for url in (address, f"{address}{job['polling_url']}", f"{address}/api/v1/videos/x"):
        error_of(await creator.get(STATUS, params={"polling_url": url}), 404, "RESOURCE_NOT_FOUND")
    assert connections == []


async def test_a_video_job_of_another_user_and_an_unknown_one_get_the_same_404(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    job = await requested_video(ann)
    for method, path in [
        ("GET", "/api/v1/generate/video/{}/status"),
        ("GET", "/api/v1/generate/videos/{}"),
        ("GET", "/api/v1/generate/images/{}"),
        ("GET", "/api/v1/jobs/{}"),
        ("POST", "/api/v1/generate/videos/{}/cancel"),
        ("POST", "/api/v1/generate/video/{}/cancel"),
        ("POST", "/api/v1/jobs/{}/cancel"),
        ("POST", "/api/v1/jobs/{}/retry"),
        ("GET", f"{STATUS}?polling_url={quote('/api/v1/generate/video/')}{{}}/status"),
    ]:
        stranger = await bob.request(method, path.format(job["id"]))
        unknown = await bob.request(method, path.format(UNKNOWN_ID))
        assert error_of(stranger, 404, "RESOURCE_NOT_FOUND") == error_of(unknown, 404, "RESOURCE_NOT_FOUND"), path
    assert not (await ended_job(ann, job["id"]))["cancel_requested"]


async def test_own_video_jobs_are_listed_newest_first(ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    ids = [(await requested_video(ann, f"[stamp] video {number}"))["id"] for number in range(3)]
    await requested_video(bob)
    image = await generated_image(ann)
    body = (await ann.get("/api/v1/generate/videos")).json()
    assert [job["id"] for job in check_list(body)] == ids[::-1]
    for job in body["items"]:
        check_job(job)
    one = await ann.get(f"/api/v1/generate/videos/{ids[0]}")
    assert (one.status_code, one.json()["id"]) == (200, ids[0])
    error_of(await ann.get(f"/api/v1/generate/videos/{image['id']}"), 404, "RESOURCE_NOT_FOUND")
    error_of(await ann.get(f"/api/v1/generate/video/{image['id']}/status"), 404, "RESOURCE_NOT_FOUND")
    error_of(await ann.post(f"/api/v1/generate/videos/{image['id']}/cancel"), 404, "RESOURCE_NOT_FOUND")


async def test_a_model_without_video_output_is_refused(reader: httpx.AsyncClient) -> None:
    for model in (TEXT_MODEL, IMAGE_MODEL):
        validation_error(await reader.post(PATH, json={"model": model, "prompt": "x"}), "model")


async def test_a_video_starts_from_an_uploaded_image(creator: httpx.AsyncClient, atelier: Studio) -> None:
    asset = await uploaded_asset(creator, png(480, 480, "#b02020"))
    for path in (f"{PATH}/from-image", PATH):
        prompt = f"[stamp] it wakes by {path}"
        body = {
            "model": IMAGE_TO_VIDEO_MODEL,
            "prompt": prompt,
            "image_asset_id": asset["id"],
            **SHORT_IMAGE_TO_VIDEO,
        }
        answer = await creator.post(path, json=body)
        assert answer.status_code == 202, answer.text
        assert answer.json()["generation_type"] == "image_to_video"
        job = await ended_job(creator, answer.json()["id"])
        assert job["status"] == "completed"
        frames = decoded_video((await creator.get(job["assets"][0]["url"])).content)[4]
        red, green, blue = frames[0].resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
        assert red > 100
        assert red > 2 * green
        assert red > 2 * blue
        [sent] = [one for one in submit_log(atelier) if one["request"].get("prompt") == prompt]
        assert "first_frame" in str(sent["request"])


async def test_a_video_starts_from_a_generated_image(creator: httpx.AsyncClient) -> None:
    image = (await generated_image(creator, "a lighthouse"))["assets"][0]
    body = {
        "model": IMAGE_TO_VIDEO_MODEL,
        "prompt": "[stamp] it wakes",
        "image_asset_id": image["id"],
        **SHORT_IMAGE_TO_VIDEO,
    }
    job = await ended_job(creator, (await creator.post(f"{PATH}/from-image", json=body)).json()["id"])
    assert (job["status"], job["generation_type"]) == ("completed", "image_to_video")


async def test_from_image_needs_exactly_one_image(creator: httpx.AsyncClient) -> None:
    body = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "x", **SHORT_IMAGE_TO_VIDEO}
    error = validation_error(await creator.post(f"{PATH}/from-image", json=body))
    assert set(error["details"]["fields"]) <= {"image_asset_id", "image_url"}  # fields that this API has
    asset = await uploaded_asset(creator)
    both = {**body, "image_asset_id": asset["id"], "image_url": "https://example.org/x.png"}
    error_of(await creator.post(f"{PATH}/from-image", json=both), 400, "VALIDATION_ERROR")


async def test_a_model_without_image_input_refuses_one(creator: httpx.AsyncClient) -> None:
    asset = await uploaded_asset(creator)
    body = {"model": VIDEO_MODEL, "prompt": "x", "image_asset_id": asset["id"]}
    error_of(await creator.post(f"{PATH}/from-image", json=body), 400, "VALIDATION_ERROR")


async def test_an_image_of_another_user_is_no_first_frame(ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    asset = await uploaded_asset(ann)
    body = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "x", **SHORT_IMAGE_TO_VIDEO}
    stranger = await bob.post(f"{PATH}/from-image", json={**body, "image_asset_id": asset["id"]})
    unknown = await bob.post(f"{PATH}/from-image", json={**body, "image_asset_id": UNKNOWN_ID})
    assert stranger.status_code == unknown.status_code
    assert stranger.status_code in (400, 404)
    assert stranger.json() == unknown.json()
    assert (await bob.get("/api/v1/jobs")).json()["total"] == 0


async def test_a_video_cannot_be_the_first_frame(creator: httpx.AsyncClient) -> None:
    video = await ended_job(creator, (await requested_video(creator))["id"])
    body = {
        "model": IMAGE_TO_VIDEO_MODEL,
        "prompt": "x",
        "image_asset_id": video["assets"][0]["id"],
        **SHORT_IMAGE_TO_VIDEO,
    }
    error_of(await creator.post(f"{PATH}/from-image", json=body), 400, "VALIDATION_ERROR")
