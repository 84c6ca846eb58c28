"""A whole program with fal as its only provider."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import uvicorn

from app.providers.simulator.app import build as build_simulator
from app.web.server import HttpServer, listening, serving
from tests.kit import (
    Cases,
    Json,
    ended_job,
    error_of,
    eventually,
    image_bytes,
    read_job,
    uploaded_asset,
    validation_error,
)
from tests.studio import Studio, running, served_simulator
from tests.trust import trust
from tests.upstream import submission_is_stored, upstream

MODEL = "fal:fal-ai/flux/dev"
ANIMATION = "fal:fal-ai/stable-video"
INPAINTING = "fal:fal-ai/flux-pro/v1/fill"
ORIGIN = "https://studio.example.org"


def started(folder: Path, url: str, *, public_url: str = "") -> AbstractAsyncContextManager[Studio]:
    """A program whose provider is at this URL."""
    return running(
        folder,
        FAL_KEY="id:secret",
        FAL_QUEUE_URL=f"{url}/fal/queue",
        FAL_REST_URL=f"{url}/fal/rest",
        ATELIER_PUBLIC_URL=public_url,
    )


@asynccontextmanager
async def atelier(folder: Path, url: str) -> AsyncIterator[Studio]:
    """A program whose provider is at this URL, once it knows the models."""
    async with started(folder, url) as studio:
        async with asyncio.timeout(300):
            await studio.program.catalog.filled.wait()
        yield studio


async def requested_image(client: httpx.AsyncClient, prompt: str = "[stamp] a lighthouse", n: int = 1) -> Json:
    body = {"model": MODEL, "prompt": prompt, "n": n}
    answer = await client.post("/api/v1/generate/image", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    return job


async def test_images_and_videos_are_generated_by_models_with_a_prefix(tmp_path: Path) -> None:
    async with served_simulator(tmp_path / "provider") as url, atelier(tmp_path, url) as studio:
        ann = await studio.user()
        listed = (await ann.get("/api/v1/ai/models", params={"limit": 100})).json()["items"]
        assert {MODEL, ANIMATION} <= {model["id"] for model in listed}
        assert {model["provider"] for model in listed} == {"fal"}
        image = await ended_job(ann, (await requested_image(ann))["id"])
        assert (image["status"], image["provider"], len(image["assets"])) == ("completed", "fal", 1)
        assert image["cost_usd"] == "0.035"
        estimate = await ann.post("/api/v1/generate/estimate", json={"model": MODEL, "prompt": "a boat", "n": 3})
        assert estimate.json()["cost_usd"] == {"min": "0.105", "max": "0.105"}
        without_image = {"model": "fal:fal-ai/flux-pro/kontext", "prompt": "[stamp] at night"}
        validation_error(await ann.post("/api/v1/generate/image", json=without_image), "image")
        asset = await uploaded_asset(ann)
        body = {"model": ANIMATION, "image_asset_id": asset["id"]}
        answer = await ann.post("/api/v1/generate/video/from-image", json=body)
        video = await ended_job(ann, answer.json()["id"])
        assert (video["status"], [asset["kind"] for asset in video["assets"]]) == ("completed", ["video"]), video


async def test_a_failure_is_explained_to_the_user(tmp_path: Path) -> None:
    codes = {"nsfw": "PROVIDER_REFUSED", "invalid": "REQUEST_REJECTED", "gone": "PROVIDER_EXPIRED"}
    codes |= {"private": "RESULT_INVALID", "badmedia": "RESULT_INVALID"}
    async with served_simulator(tmp_path / "provider") as url, atelier(tmp_path, url) as studio:
        ann = await studio.user()
        with Cases() as cases:
            for command, code in codes.items():
                with cases.case(command):
                    job = await ended_job(ann, (await requested_image(ann, f"[{command}] [stamp]"))["id"])
                    assert (job["status"], job["error"]["code"]) == ("failed", code)


async def test_a_job_of_which_one_image_is_blocked_is_completed_and_says_so(tmp_path: Path) -> None:
    async with served_simulator(tmp_path / "provider") as url, atelier(tmp_path, url) as studio:
        ann = await studio.user("ann@studio.example")
        job = await ended_job(ann, (await requested_image(ann, "[nsfw-one] [stamp] waves", n=3))["id"])
        assert (job["status"], len(job["assets"]), job["error"]) == ("completed", 2, None)
        (warning,) = job["warnings"]
        assert (warning["index"], warning["code"]) == (0, "PROVIDER_REFUSED")
        browser = await studio.user_in_browser("ann@studio.example")
        for path in ("/jobs", f"/jobs/{job['id']}", f"/library/{job['assets'][0]['id']}", f"/admin/jobs/{job['id']}"):
            text = " ".join(re.sub("<[^>]*>", "", (await browser.get(path)).text).split())
            assert "Image 1 is missing" in text, path
            assert warning["message"] in text, path


async def test_a_submitted_job_survives_a_restart_and_is_submitted_once(tmp_path: Path) -> None:
    async with upstream(tmp_path) as provider:
        async with atelier(tmp_path, provider.url) as studio:
            ann = await studio.user("ann@studio.example")
            job = await requested_image(ann)
            await submission_is_stored(studio, ann, job)
        async with atelier(tmp_path, provider.url) as studio:
            ann = await studio.user("ann@studio.example")
            provider.clock.advance(60)
            assert (await ended_job(ann, job["id"]))["status"] == "completed"
    assert provider.prompts() == ["[stamp] a lighthouse"]


async def test_a_cancel_is_forwarded_to_the_queue(tmp_path: Path) -> None:
    async with upstream(tmp_path) as provider, atelier(tmp_path, provider.url) as studio:
        ann = await studio.user()
        job = await requested_image(ann)
        await submission_is_stored(studio, ann, job)
        await ann.post(f"/api/v1/jobs/{job['id']}/cancel")
        assert (await ended_job(ann, job["id"]))["status"] == "cancelled"
        provider.clock.advance(60)
        assert (await read_job(ann, job["id"]))["assets"] == []


@asynccontextmanager
async def with_webhooks(folder: Path) -> AsyncIterator[tuple[Studio, httpx.AsyncClient]]:
    """A program with a public URL and a provider that sends webhooks; yields a client of the provider too."""
    listener = listening("127.0.0.1", 0)
    listener.listen()  # so that the first request waits for the simulator, which needs the program's address
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with started(folder, origin, public_url=ORIGIN) as studio:
        simulator = build_simulator(folder / "provider", 0, webhook_to=studio.url)
        server = HttpServer(uvicorn.Config(simulator, lifespan="on", log_config=None, access_log=False))
        task = asyncio.create_task(server.serve([listener]))
        assert await serving(server, task)
        try:
            async with httpx.AsyncClient(base_url=origin, trust_env=False, verify=trust()) as client:
                yield studio, client
        finally:
            simulator.state.runtime.abort_requests()
            server.should_exit = True
            await task


async def test_a_signed_webhook_is_accepted_and_a_forged_one_is_not(tmp_path: Path) -> None:
    async with with_webhooks(tmp_path) as (studio, provider):
        await studio.program.catalog.filled.wait()
        ann = await studio.user()
        job = await requested_image(ann)
        assert (await ended_job(ann, job["id"]))["status"] == "completed"

        async def sent() -> list[Json]:
            attempts: list[Json] = (await provider.get("/simulator/webhooks")).json()
            return attempts

        (webhook,) = await eventually(sent, lambda found: len(found) == 1)
        assert webhook["status"] == 204
        assert webhook["path"].startswith(f"/webhooks/fal/{job['id']}-")
        forged = {"X-Fal-Webhook-Request-Id": "1", "X-Fal-Webhook-Timestamp": "1", "X-Fal-Webhook-Signature": "00"}
        error_of(await studio.client().post(webhook["path"], content=b"{}", headers=forged), 401)


async def test_an_image_is_changed_where_a_mask_says(tmp_path: Path) -> None:
    async with served_simulator(tmp_path / "provider") as url, atelier(tmp_path, url) as studio:
        ann = await studio.user()
        image = (await uploaded_asset(ann, image_bytes("PNG", 256, 256)))["id"]
        mask = (await uploaded_asset(ann, image_bytes("PNG", 256, 256, "white")))["id"]
        small = (await uploaded_asset(ann, image_bytes("PNG", 128, 256, "white")))["id"]
        body = {"model": INPAINTING, "prompt": "[stamp] a boat", "image_asset_id": image}
        without = await ann.post("/api/v1/generate/image", json=body)
        assert "requires a mask" in error_of(without, 400)["message"]
        other = await ann.post("/api/v1/generate/image", json={**body, "mask_asset_id": small})
        message = error_of(other, 400)["message"]
        assert "128 × 256" in message
        assert "256 × 256" in message
        answer = await ann.post("/api/v1/generate/image", json={**body, "mask_asset_id": mask})
        assert answer.status_code in (200, 202), answer.text
        job = await ended_job(ann, answer.json()["id"])
        assert (job["status"], job["generation_type"]) == ("completed", "inpainting"), job
        assert [each["role"] for each in job["inputs"]] == ["image", "mask"]
