"""Streamed images on `/v1`: previews while the job runs, then each image, with the job as the one record of all of it."""

import asyncio
import base64
import functools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.gateway import service
from tests.gateway.conftest import MODEL, PAINTER
from tests.kit import Cases, Json, decoded_image, ended_job, eventually, image_bytes, new_email, png
from tests.providers.fake_upstream import Reply, Upstream, error, js, sse
from tests.studio import Studio

PATH = "/api/v1/images"
GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
USAGE: Json = {"prompt_tokens": 3, "completion_tokens": 1000, "total_tokens": 1003, "cost": 0.04}
PREVIEWS = [base64.b64encode(png(color=color)).decode() for color in ("red", "green", "blue")]
JPEG = base64.b64encode(image_bytes("JPEG")).decode()
FINAL = base64.b64encode(png(32, 32, "gold")).decode()


@pytest.fixture
async def client(scripted_studio: Studio, caller: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of a new user over a real connection, as streams need it; nothing is scripted or recorded yet."""
    return await scripted_studio.user(new_email("painter"))


def partial(index: int, image: str | None = None) -> Json:
    image = PREVIEWS[index] if image is None else image
    return {"type": "image_generation.partial_image", "b64_json": image, "partial_image_index": index}


def completed(image: str = FINAL) -> Json:
    return {"type": "image_generation.completed", "b64_json": image, "media_type": "image/png", "usage": USAGE}


def whole() -> Reply:
    return js({"created": 1, "data": [{"b64_json": FINAL, "media_type": "image/png"}], "usage": USAGE})


def body(**more: Any) -> Json:
    return {"model": PAINTER, "prompt": "A lighthouse", "stream": True, **more}


@asynccontextmanager
async def streaming(client: httpx.AsyncClient, content: Json, **headers: str) -> AsyncIterator[AsyncIterator[Json]]:
    """The events of a streamed answer as they arrive."""
    async with client.stream("POST", GENERATIONS, json=content, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[Json]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def events(answer: httpx.Response) -> list[Json]:
    """All events of an answer, after a check that each says its type twice."""
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.text.splitlines() if line and not line.startswith(":")]
    found = [json.loads(data.removeprefix("data: ")) for data in lines[1::2]]
    assert [kind.removeprefix("event: ") for kind in lines[::2]] == [event["type"] for event in found]
    return found


async def jobs(client: httpx.AsyncClient) -> list[Json]:
    found: list[Json] = (await client.get("/api/v1/jobs")).json()["items"]
    return found


async def assets(client: httpx.AsyncClient) -> list[Json]:
    found: list[Json] = (await client.get("/api/v1/assets")).json()["items"]
    return found


async def test_previews_arrive_while_the_image_is_made_and_the_image_is_that_of_the_job(
    scripted: Upstream, client: httpx.AsyncClient
) -> None:
    gate = asyncio.Semaphore(1)
    scripted.on("POST", PATH, sse(partial(0), partial(1, JPEG), completed(), gate=gate))
    async with streaming(client, body(partial_images=2, quality="high")) as stream:
        first = await anext(stream)
        assert [job["status"] for job in await jobs(client)] == ["processing"]
        for _ in range(3):
            gate.release()
        second, last = [event async for event in stream]
    assert (first["type"], first["partial_image_index"]) == ("image_generation.partial_image", 0)
    assert first["b64_json"] == PREVIEWS[0]
    assert (first["quality"], first["background"], first["size"]) == ("high", "auto", "auto")
    assert (first["output_format"], second["output_format"]) == ("png", "jpeg")
    assert first["created_at"] > 1_700_000_000
    assert second["partial_image_index"] == 1
    assert (last["type"], last["b64_json"], last["size"]) == ("image_generation.completed", FINAL, "32x32")
    assert last["usage"] == {
        "input_tokens": 3,
        "output_tokens": 1000,
        "total_tokens": 1003,
        "input_tokens_details": {"text_tokens": 3, "image_tokens": 0},
    }
    (job,) = await jobs(client)
    assert (job["status"], float(job["cost_usd"]), len(job["assets"])) == ("completed", 0.04, 1)
    assert [asset["id"] for asset in await assets(client)] == [job["assets"][0]["id"]]
    assert scripted.only("POST", PATH).json["stream"] is True


async def test_an_edit_is_streamed_and_its_upload_is_kept(scripted: Upstream, client: httpx.AsyncClient) -> None:
    scripted.on("POST", PATH, sse(partial(0), completed()))
    form = {"model": PAINTER, "prompt": "Warmer", "stream": "true", "partial_images": "1"}
    answer = await client.post(EDITS, data=form, files={"image": ("boat.png", png(), "image/png")})
    assert [event["type"] for event in events(answer)] == ["image_edit.partial_image", "image_edit.completed"]
    assert len(scripted.only("POST", PATH).json["input_references"]) == 1
    (job,) = await jobs(client)
    assert (job["status"], job["generation_type"]) == ("completed", "image_to_image")
    assert len(await assets(client)) == 2


async def test_a_stream_shows_that_it_is_alive_while_nothing_arrives(
    scripted: Upstream, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "KEEP_ALIVE", 0.01)
    gate = asyncio.Semaphore(0)
    scripted.on("POST", PATH, sse(completed(), gate=gate))
    async with client.stream("POST", GENERATIONS, json=body(partial_images=1)) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == ": keep-alive"
        gate.release()
        gate.release()
        kinds = {line for line in [line async for line in lines] if line.startswith("event: ")}
    assert kinds == {"event: image_generation.completed"}


async def test_several_images_are_several_events(scripted: Upstream, client: httpx.AsyncClient) -> None:
    scripted.on("POST", PATH, sse(completed(), completed(base64.b64encode(png(16, 16)).decode())))
    found = events(await client.post(GENERATIONS, json=body(n=2, partial_images=1)))
    assert [(event["type"], event["size"]) for event in found] == [
        ("image_generation.completed", "32x32"),
        ("image_generation.completed", "16x16"),
    ]


async def test_the_caller_gets_no_more_previews_than_it_asked_for(
    scripted: Upstream, client: httpx.AsyncClient
) -> None:
    with Cases() as cases:
        for number in (1, 2, 3):
            scripted.on("POST", PATH, sse(*(partial(index) for index in range(3)), completed()))
            with cases.case(number):
                found = events(await client.post(GENERATIONS, json=body(partial_images=number)))
                assert [event["type"].rpartition(".")[2] for event in found] == ["partial_image"] * number + [
                    "completed"
                ]


async def test_nothing_is_streamed_upstream_unless_previews_are_wanted(
    scripted: Upstream, client: httpx.AsyncClient
) -> None:
    table: list[Json] = [{}, {"partial_images": 0}, {"partial_images": None}, {"stream": False, "partial_images": 3}]
    with Cases() as cases:
        for fields in table:
            scripted.reset()
            scripted.on("POST", PATH, whole())
            with cases.case(fields):
                answer = await client.post(GENERATIONS, json=body(**fields))
                assert answer.status_code == 200
                assert "stream" not in scripted.only("POST", PATH).json
                if fields.get("stream") is not False:
                    assert [event["type"] for event in events(answer)] == ["image_generation.completed"]


async def test_a_provider_that_cannot_stream_gives_only_the_image(
    scripted: Upstream, client: httpx.AsyncClient
) -> None:
    scripted.on("POST", PATH, whole())
    (event,) = events(await client.post(GENERATIONS, json=body(partial_images=3)))
    assert decoded_image(base64.b64decode(event["b64_json"])).size == (32, 32)


async def test_what_is_wrong_with_the_request_has_a_status_of_its_own(
    scripted: Upstream, scripted_studio: Studio, client: httpx.AsyncClient
) -> None:
    table: list[tuple[Json, int, str | None]] = [
        ({"partial_images": 4}, 400, "partial_images"),
        ({"partial_images": -1}, 400, "partial_images"),
        ({"partial_images": "many"}, 400, "partial_images"),
        ({"stream": "perhaps"}, 400, "stream"),
        ({"n": 99}, 400, "n"),
        ({"prompt": ""}, 400, "prompt"),
        ({"quality": "odd"}, 400, "quality"),
        ({"model": "no/such"}, 404, "model"),
        ({"model": MODEL}, 400, "model"),
    ]
    with Cases() as cases:
        for fields, status, param in table:
            with cases.case(fields):
                answer = await client.post(GENERATIONS, json=body(partial_images=1) | fields)
                assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
        with cases.case("an edit of something that is no image"):
            form = {"model": PAINTER, "prompt": "Warmer", "stream": "true"}
            answer = await client.post(EDITS, data=form, files={"image": ("a.png", b"no image", "image/png")})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")
    assert scripted.received("POST", PATH) == []
    scripted.on("POST", PATH, whole())
    await client.post(GENERATIONS, json=body())  # from now on it is known what an image costs
    key = await client.post("/api/v1/users/me/keys", json={"name": "poor", "monthly_cap_usd": "0.00000001"})
    poor = scripted_studio.client(key.json()["key"])
    answer = await poor.post(GENERATIONS, json=body(partial_images=1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")


async def test_a_failure_on_the_way_is_the_last_event(scripted: Upstream, client: httpx.AsyncClient) -> None:
    refusal = {"type": "error", "error": {"message": "flagged", "code": "moderation_blocked"}}
    table: list[tuple[str, Reply, list[str], str]] = [
        ("cut", sse(partial(0), done=False), ["image_generation.partial_image", "error"], "outcome_unknown"),
        ("refused", sse(partial(0), refusal), ["image_generation.partial_image", "error"], "content_policy_violation"),
        ("at once", error(500), ["error"], "outcome_unknown"),
    ]
    with Cases() as cases:
        for name, reply, kinds, code in table:
            scripted.reset()
            scripted.on("POST", PATH, reply)
            with cases.case(name):
                found = events(await client.post(GENERATIONS, json=body(partial_images=1)))
                assert [event["type"] for event in found] == kinds
                assert found[-1]["error"]["code"] == code
                assert (await jobs(client))[0]["status"] == "failed"
                scripted.only("POST", PATH)


async def test_a_caller_that_hangs_up_cancels_the_job_and_what_is_paid_for_is_kept(
    scripted: Upstream, client: httpx.AsyncClient
) -> None:
    gate = asyncio.Semaphore(1)
    scripted.on("POST", PATH, sse(partial(0), completed(), gate=gate))
    async with streaming(client, body(partial_images=1)) as stream:
        await anext(stream)
    await eventually(lambda: jobs(client), lambda found: [job["status"] for job in found] == ["cancelled"])
    assert await assets(client) == []
    gate.release()
    gate.release()
    await eventually(lambda: assets(client), lambda found: len(found) == 1)


async def test_a_request_that_is_repeated_while_it_runs_sees_the_same_job(
    scripted: Upstream, client: httpx.AsyncClient
) -> None:
    gate = asyncio.Semaphore(1)
    scripted.on("POST", PATH, sse(partial(0), partial(1), completed(), gate=gate))
    content, key = body(partial_images=2), {"Idempotency-Key": "the same"}
    async with streaming(client, content, **key) as first:
        seen = [await anext(first)]
        async with streaming(client, content, **key) as second:
            again = [await anext(second)]
            for _ in range(3):
                gate.release()
            again += [event async for event in second]
        seen += [event async for event in first]
    kinds = ["partial_image", "partial_image", "completed"]
    for found in (seen, again):
        assert [event["type"].rpartition(".")[2] for event in found] == kinds
        assert [event["b64_json"] for event in found] == [*PREVIEWS[:2], FINAL]
    later = events(await client.post(GENERATIONS, json=content, headers=key))
    assert [event["type"] for event in later] == ["image_generation.completed"]
    scripted.only("POST", PATH)
    assert len(await jobs(client)) == 1


async def test_the_pages_of_a_running_job_show_its_newest_preview_to_its_owner_only(
    scripted: Upstream, scripted_studio: Studio, caller: httpx.AsyncClient
) -> None:
    gate = asyncio.Semaphore(2)
    scripted.on("POST", PATH, sse(partial(0), partial(1, JPEG), completed(), gate=gate))
    email = new_email("owner")
    owner = await scripted_studio.user_in_browser(email, direct=True)
    client = await scripted_studio.user(email)
    form = {"model": PAINTER, "prompt": "A lighthouse", "mode": "text"}
    assert (await owner.send_form("/generate/image", form)).status_code == 303
    (job,) = await jobs(client)
    source = f"/jobs/{job['id']}/preview?n=1"
    for page in (f"/jobs/{job['id']}", f"/jobs/{job['id']}/card"):
        await eventually(functools.partial(owner.get, page), lambda answer: f'src="{source}"' in answer.text)
    shown = await owner.get(source)
    assert (shown.headers["content-type"], shown.headers["cache-control"]) == ("image/jpeg", "no-store")
    assert shown.content == base64.b64decode(JPEG)
    stranger = await scripted_studio.user_in_browser(new_email("stranger"), direct=True)
    assert (await stranger.get(source)).status_code == 404
    assert (await scripted_studio.direct_browser().get(source)).status_code in (303, 401)
    gate.release()
    gate.release()
    await ended_job(client, job["id"])
    assert (await owner.get(source)).status_code == 404
    assert source not in (await owner.get(f"/jobs/{job['id']}")).text
