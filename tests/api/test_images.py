"""`/generate/image` and the lists of pictures."""

import time

import httpx
import pytest

from tests.api.kit import (
    CLIP,
    COUNTED,
    FINAL,
    INVENTED,
    PICTURE,
    SIZED,
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
    seen,
    submits,
    uploaded,
)
from tests.studio import Studio

ASK = "/api/v1/generate/image"


async def test_a_picture_comes_in_one_call_as_the_completed_job(maker: httpx.AsyncClient) -> None:
    answer = await maker.post(ASK, json={"model": PICTURE, "prompt": "A lighthouse, Łódź 灯塔 🎨"})
    assert answer.status_code == 200
    job = answer.json()
    check_job(job)
    assert (job["kind"], job["generation_type"], job["model"]) == ("image", "text_to_image", PICTURE)
    assert job["prompt"] == "A lighthouse, Łódź 灯塔 🎨"
    assert (job["status"], job["progress"], job["error"], job["text"]) == ("completed", 100, None, None)
    assert job["cost_usd"] is not None
    assert job["created_at"] <= job["started_at"] <= job["completed_at"]
    [asset] = job["assets"]
    media = await maker.get(asset["url"])
    assert media.status_code == 200
    assert media.headers["content-type"] == asset["mime"]
    image = seen(media.content)
    assert (image.format, image.size) == ("PNG", (asset["width"], asset["height"]))
    assert len(media.content) == asset["bytes"]
    thumbnail = await maker.get(asset["thumbnail_url"])
    assert thumbnail.status_code == 200
    assert max(seen(thumbnail.content).size) < max(image.size)
    assert await read_job(maker, job["id"]) == job


async def test_pictures_differ_by_prompt_and_by_seed(maker: httpx.AsyncClient) -> None:
    async def drawn(prompt: str, seed: int) -> bytes:
        job = await pictured(maker, prompt, model=COUNTED, seed=seed)
        return (await maker.get(job["assets"][0]["url"])).content

    first = await drawn("a lighthouse", 1)
    assert await drawn("a lighthouse", 2) != first
    assert await drawn("a harbour", 1) != first


@pytest.mark.parametrize("size", ["1024x1024", "1536x1024"])
async def test_the_size_is_the_one_that_was_asked_for(maker: httpx.AsyncClient, size: str) -> None:
    job = await pictured(maker, model=SIZED, size=size)
    width, height = map(int, size.split("x"))
    [asset] = job["assets"]
    assert (asset["width"], asset["height"]) == (width, height)
    assert seen((await maker.get(asset["url"])).content).size == (width, height)
    assert job["params"] == {"size": size}


@pytest.mark.parametrize("ratio", ["16:9", "9:16"])
async def test_the_shape_is_the_one_that_was_asked_for(maker: httpx.AsyncClient, ratio: str) -> None:
    job = await pictured(maker, aspect_ratio=ratio)
    across, down = map(int, ratio.split(":"))
    [asset] = job["assets"]
    assert asset["width"] / asset["height"] == pytest.approx(across / down, rel=0.05)


async def test_n_pictures_are_n_assets_of_one_job(maker: httpx.AsyncClient) -> None:
    job = await pictured(maker, model=COUNTED, n=3)
    assert len(job["assets"]) == 3
    assert len({asset["id"] for asset in job["assets"]}) == 3
    contents = {(await maker.get(asset["url"])).content for asset in job["assets"]}
    assert len(contents) == 3


@pytest.mark.parametrize("form", ["png", "webp"])
async def test_the_format_is_the_one_that_was_asked_for(maker: httpx.AsyncClient, form: str) -> None:
    job = await pictured(maker, output_format=form)
    [asset] = job["assets"]
    assert asset["mime"] == f"image/{form}"
    assert seen((await maker.get(asset["url"])).content).format == form.upper()


async def test_with_respond_async_the_answer_is_202_at_once_and_the_picture_comes(maker: httpx.AsyncClient) -> None:
    answer = await maker.post(
        ASK, json={"model": PICTURE, "prompt": "[slow] a lighthouse"}, headers={"Prefer": "respond-async"}
    )
    assert answer.status_code == 202
    job = answer.json()
    check_job(job)
    assert job["status"] in ("queued", "processing")
    ended = await eventually(lambda: read_job(maker, job["id"]), lambda job: job["status"] in FINAL)
    assert ended["status"] == "completed"


@pytest.mark.parametrize(
    ("prefer", "least"), [("wait=1", 0.9), ("wait=0", 0.0), ("respond-async, wait=1", 0.0), ("WAIT=1", 0.9)]
)
async def test_prefer_says_how_long_the_answer_may_wait(maker: httpx.AsyncClient, prefer: str, least: float) -> None:
    started = time.monotonic()
    body = {"model": PICTURE, "prompt": "[stuck] a lighthouse"}
    answer = await maker.post(ASK, json=body, headers={"Prefer": prefer}, timeout=8)
    assert answer.status_code == 202
    assert time.monotonic() - started >= least, "and at most as long as the client waits"
    job = answer.json()
    check_job(job)
    assert job["status"] in ("queued", "processing")
    await maker.post(f"/api/v1/jobs/{job['id']}/cancel")


@pytest.mark.parametrize("prefer", ["wait=x", "wait=", "wait=-1", "wait=99999999", "return=minimal", "", ";;=", "é"])
async def test_a_preference_that_nobody_understands_is_ignored(maker: httpx.AsyncClient, prefer: str) -> None:
    answer = await maker.post(
        ASK, json={"model": PICTURE, "prompt": "a lighthouse"}, headers={b"Prefer": prefer.encode()}
    )
    assert answer.status_code in (200, 202), answer.text
    check_job(answer.json())


async def test_a_picture_is_changed_by_words(maker: httpx.AsyncClient, atelier: Studio) -> None:
    asset = await uploaded(maker)
    job = await pictured(maker, "make it a harbour at dusk", model=COUNTED, image_asset_id=asset["id"])
    assert (job["status"], job["generation_type"]) == ("completed", "image_to_image")
    sent = [one for one in submits(atelier) if "make it a harbour at dusk" in str(one["request"])]
    assert len(sent) == 1
    assert "image" in str(sent[0]["request"].keys() - {"model"}) or "image" in str(sent[0]["request"])


async def test_a_model_that_takes_no_picture_says_so(maker: httpx.AsyncClient) -> None:
    asset = await uploaded(maker)
    answer = await maker.post(ASK, json={"model": PICTURE, "prompt": "x", "image_asset_id": asset["id"]})
    problem(answer, 400, "VALIDATION_ERROR")


async def test_two_pictures_at_once_are_refused(maker: httpx.AsyncClient) -> None:
    asset = await uploaded(maker)
    body = {"model": COUNTED, "prompt": "x", "image_asset_id": asset["id"], "image_url": "https://example.org/x.png"}
    problem(await maker.post(ASK, json=body), 400, "VALIDATION_ERROR")


async def test_a_strangers_picture_is_exactly_as_absent_as_an_invented_one(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    asset = await uploaded(ann)
    body = {"model": COUNTED, "prompt": "x"}
    stranger = await bob.post(ASK, json={**body, "image_asset_id": asset["id"]})
    nobody = await bob.post(ASK, json={**body, "image_asset_id": INVENTED})
    assert stranger.status_code == nobody.status_code
    assert stranger.status_code in (400, 404)
    assert stranger.json() == nobody.json()


async def test_only_a_model_that_makes_pictures_is_asked(reader: httpx.AsyncClient) -> None:
    for model in (TEXT, CLIP):
        invalid(await reader.post(ASK, json={"model": model, "prompt": "x"}), "model")


async def test_own_pictures_are_listed_newest_first(ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    made: list[Json] = [await pictured(ann, f"picture {number}") for number in range(3)]
    await pictured(bob, "not hers")
    clip = await asked_clip(ann)
    answer = await ann.get("/api/v1/generate/images")
    assert answer.status_code == 200
    items = check_list(answer.json())
    assert items == made[::-1]
    assert answer.json()["total"] == 3
    assert (await ann.get(f"/api/v1/generate/images/{made[0]['id']}")).json() == made[0]
    missing = await ann.get(f"/api/v1/generate/images/{clip['id']}")
    problem(missing, 404, "RESOURCE_NOT_FOUND")


async def test_a_strangers_picture_job_is_missing(ann: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    job = await pictured(ann)
    stranger = await bob.get(f"/api/v1/generate/images/{job['id']}")
    nobody = await bob.get(f"/api/v1/generate/images/{INVENTED}")
    assert problem(stranger, 404, "RESOURCE_NOT_FOUND") == problem(nobody, 404, "RESOURCE_NOT_FOUND")
