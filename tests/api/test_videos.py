"""`/generate/video`: asked for, followed, watched."""

from urllib.parse import quote

import httpx
import pytest

from tests.api.kit import (
    CLIP,
    FINAL,
    FRAMED,
    INVENTED,
    PICTURE,
    SHORT_FRAMED,
    STATES,
    TEXT,
    Json,
    asked_clip,
    check_job,
    check_list,
    eventually,
    invalid,
    pictured,
    png,
    problem,
    read_job,
    submits,
    uploaded,
    watched,
)
from tests.studio import Studio

ASK = "/api/v1/generate/video"
STATUS = f"{ASK}/status"


async def ended(client: httpx.AsyncClient, job: Json, seconds: float = 20) -> Json:
    return await eventually(lambda: read_job(client, job["id"]), lambda now: now["status"] in FINAL, seconds)


async def test_a_clip_is_asked_for_with_202_and_followed_until_it_is_there(maker: httpx.AsyncClient) -> None:
    job = await asked_clip(maker, "Waves 波 🌊")
    check_job(job)
    assert (job["kind"], job["generation_type"], job["status"]) == ("video", "text_to_video", "queued")
    assert job["assets"] == []
    assert job["polling_url"] == f"{ASK}/{job['id']}/status"

    seen: list[Json] = []

    async def status() -> Json:
        answer = await maker.get(job["polling_url"])
        assert answer.status_code == 200
        body: Json = answer.json()
        assert {"id", "status", "progress"} <= set(body) <= {"id", "status", "progress", "video_url", "error"}
        assert body["id"] == job["id"]
        assert body["status"] in STATES
        assert body["progress"] is None or 0 <= body["progress"] <= 100
        seen.append(body)
        return body

    last = await eventually(status, lambda body: body["status"] in FINAL)
    assert (last["status"], last["progress"]) == ("completed", 100)
    assert last.get("error") is None
    assert all(body.get("video_url") is None for body in seen[:-1])
    order = ["queued", "processing", "completed"]
    assert [order.index(body["status"]) for body in seen] == sorted(order.index(body["status"]) for body in seen)

    done = await read_job(maker, job["id"])
    check_job(done)
    [asset] = done["assets"]
    assert last["video_url"] == asset["url"]
    media = await maker.get(last["video_url"])
    assert media.status_code == 200
    assert media.headers["content-type"] == "video/mp4"
    codec, width, height, seconds, frames = watched(media.content)
    assert codec == "h264"
    assert (width, height) == (asset["width"], asset["height"])
    assert seconds == pytest.approx(1, abs=0.2)
    assert asset["duration"] == pytest.approx(seconds, abs=0.1)
    assert frames
    assert (await maker.get(asset["thumbnail_url"])).status_code == 200


@pytest.mark.parametrize(
    ("params", "height", "ratio", "seconds"),
    [
        ({"resolution": "480p", "aspect_ratio": "16:9", "duration": 2}, 480, 16 / 9, 2),
        ({"resolution": "480p", "aspect_ratio": "9:16", "duration": 3}, None, 9 / 16, 3),
        ({"resolution": "720p", "aspect_ratio": "1:1", "duration": 2}, 720, 1, 2),
    ],
)
async def test_a_clip_is_as_large_and_as_long_as_asked(
    maker: httpx.AsyncClient, params: Json, height: int | None, ratio: float, seconds: int
) -> None:
    job = await ended(maker, (await maker.post(ASK, json={"model": FRAMED, "prompt": "waves", **params})).json())
    assert job["status"] == "completed"
    assert job["params"] == params
    _, wide, high, length, _ = watched((await maker.get(job["assets"][0]["url"])).content)
    assert wide / high == pytest.approx(ratio, rel=0.03)
    assert height is None or high == height
    assert min(wide, high) == int(params["resolution"][:-1])
    assert length == pytest.approx(seconds, abs=0.2)


async def test_every_fact_of_the_request_reaches_the_provider(maker: httpx.AsyncClient, atelier: Studio) -> None:
    body = {"model": FRAMED, "prompt": "exactly these facts", "seed": 7, **SHORT_FRAMED}
    job = (await maker.post(ASK, json=body)).json()
    await ended(maker, job)
    [sent] = [one["request"] for one in submits(atelier) if one["request"].get("prompt") == "exactly these facts"]
    assert {key: sent[key] for key in body} == body


@pytest.mark.parametrize(
    "build",
    [
        lambda job: job["polling_url"],
        lambda job: job["polling_url"] + "/",
        lambda job: job["polling_url"] + "?x=1",
        lambda job: "http://127.0.0.1:9" + job["polling_url"],
        lambda job: job["id"],
    ],
    ids=["own path", "slash", "query", "whole address", "id alone"],
)
async def test_polling_by_polling_url_takes_what_this_api_gave_and_nothing_else(
    maker: httpx.AsyncClient, build: object
) -> None:
    job = await asked_clip(maker)
    asked = build(job)  # type: ignore[operator]
    answer = await maker.get(STATUS, params={"polling_url": asked})
    if asked == job["polling_url"]:
        assert answer.status_code == 200
        assert answer.json()["id"] == job["id"]
    else:
        problem(answer, 404, "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/api/v1/generate/video//status",
        "/api/v1/generate/video/../../users/me/status",
        f"/api/v1/generate/video/{INVENTED}/status",
        "/api/v1/jobs",
        "https://openrouter.ai/api/v1/videos/gen-vid-1",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:22/",
        "file:///etc/passwd",
        "\x00",
        "é" * 3000,
    ],
)
async def test_a_polling_url_that_we_did_not_give_is_404(reader: httpx.AsyncClient, url: str) -> None:
    problem(await reader.get(STATUS, params={"polling_url": url}), 404, "RESOURCE_NOT_FOUND")


async def test_polling_without_a_polling_url_is_400(reader: httpx.AsyncClient) -> None:
    invalid(await reader.get(STATUS), "polling_url")


async def test_a_polling_url_fetches_nothing(maker: httpx.AsyncClient, own_listener: tuple[str, list[bytes]]) -> None:
    address, heard = own_listener
    job = await asked_clip(maker)
    for url in (address, f"{address}{job['polling_url']}", f"{address}/api/v1/videos/x"):
        problem(await maker.get(STATUS, params={"polling_url": url}), 404, "RESOURCE_NOT_FOUND")
    assert heard == []


async def test_a_strangers_clip_is_exactly_as_absent_as_an_invented_one(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    job = await asked_clip(ann)
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
        nobody = await bob.request(method, path.format(INVENTED))
        assert problem(stranger, 404, "RESOURCE_NOT_FOUND") == problem(nobody, 404, "RESOURCE_NOT_FOUND"), path
    assert not (await ended(ann, job))["cancel_requested"]


async def test_own_clips_are_listed_newest_first(ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    made = [(await asked_clip(ann, f"clip {number}"))["id"] for number in range(3)]
    await asked_clip(bob)
    picture = await pictured(ann)
    body = (await ann.get("/api/v1/generate/videos")).json()
    assert [job["id"] for job in check_list(body)] == made[::-1]
    for job in body["items"]:
        check_job(job)
    one = await ann.get(f"/api/v1/generate/videos/{made[0]}")
    assert (one.status_code, one.json()["id"]) == (200, made[0])
    problem(await ann.get(f"/api/v1/generate/videos/{picture['id']}"), 404, "RESOURCE_NOT_FOUND")
    problem(await ann.get(f"/api/v1/generate/video/{picture['id']}/status"), 404, "RESOURCE_NOT_FOUND")
    problem(await ann.post(f"/api/v1/generate/videos/{picture['id']}/cancel"), 404, "RESOURCE_NOT_FOUND")


async def test_only_a_model_that_makes_clips_is_asked(reader: httpx.AsyncClient) -> None:
    for model in (TEXT, PICTURE):
        invalid(await reader.post(ASK, json={"model": model, "prompt": "x"}), "model")


@pytest.mark.parametrize("door", ["from-image", "plain"])
async def test_a_clip_starts_from_the_given_picture(maker: httpx.AsyncClient, atelier: Studio, door: str) -> None:
    asset = await uploaded(maker, png(480, 480, "#b02020"))
    path = f"{ASK}/from-image" if door == "from-image" else ASK
    body = {"model": FRAMED, "prompt": f"it wakes by {door}", "image_asset_id": asset["id"], **SHORT_FRAMED}
    answer = await maker.post(path, json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["generation_type"] == "image_to_video"
    job = await ended(maker, answer.json())
    assert job["status"] == "completed"
    frames = watched((await maker.get(job["assets"][0]["url"])).content)[4]
    red, green, blue = frames[0].resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert red > 100
    assert red > 2 * green
    assert red > 2 * blue
    [sent] = [one for one in submits(atelier) if one["request"].get("prompt") == f"it wakes by {door}"]
    assert "first_frame" in str(sent["request"])


async def test_a_clip_starts_from_a_picture_that_was_made_here(maker: httpx.AsyncClient) -> None:
    picture = (await pictured(maker))["assets"][0]
    body = {"model": FRAMED, "prompt": "it wakes", "image_asset_id": picture["id"], **SHORT_FRAMED}
    job = await ended(maker, (await maker.post(f"{ASK}/from-image", json=body)).json())
    assert (job["status"], job["generation_type"]) == ("completed", "image_to_video")


async def test_from_image_needs_one_picture(maker: httpx.AsyncClient) -> None:
    body = {"model": FRAMED, "prompt": "x", **SHORT_FRAMED}
    error = invalid(await maker.post(f"{ASK}/from-image", json=body))
    assert set(error["details"]["fields"]) <= {"image_asset_id", "image_url"}  # fields that this API has
    asset = await uploaded(maker)
    both = {**body, "image_asset_id": asset["id"], "image_url": "https://example.org/x.png"}
    problem(await maker.post(f"{ASK}/from-image", json=both), 400, "VALIDATION_ERROR")


async def test_a_model_that_takes_no_picture_says_so(maker: httpx.AsyncClient) -> None:
    asset = await uploaded(maker)
    body = {"model": CLIP, "prompt": "x", "image_asset_id": asset["id"]}
    problem(await maker.post(f"{ASK}/from-image", json=body), 400, "VALIDATION_ERROR")


async def test_a_strangers_picture_does_not_become_a_clip(ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    asset = await uploaded(ann)
    body = {"model": FRAMED, "prompt": "x", **SHORT_FRAMED}
    stranger = await bob.post(f"{ASK}/from-image", json={**body, "image_asset_id": asset["id"]})
    nobody = await bob.post(f"{ASK}/from-image", json={**body, "image_asset_id": INVENTED})
    assert stranger.status_code == nobody.status_code
    assert stranger.status_code in (400, 404)
    assert stranger.json() == nobody.json()
    assert (await bob.get("/api/v1/jobs")).json()["total"] == 0


async def test_a_clip_cannot_be_the_first_frame(maker: httpx.AsyncClient) -> None:
    clip = await ended(maker, await asked_clip(maker))
    body = {"model": FRAMED, "prompt": "x", "image_asset_id": clip["assets"][0]["id"], **SHORT_FRAMED}
    problem(await maker.post(f"{ASK}/from-image", json=body), 400, "VALIDATION_ERROR")
