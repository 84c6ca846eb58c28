"""The restart journey: Atelier is stopped or killed while a video is generated, and the video still arrives and is charged once.

The provider is the simulator in this process, so it outlives every Atelier. Whether something was charged twice is judged by
its log of submitted requests, never by the database of Atelier.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.providers.simulator.runtime import Runtime
from tests.kit import (
    IMAGE_MODEL,
    SHORT_VIDEO,
    VIDEO_MODEL,
    Json,
    check_job,
    decoded_video,
    ended_job,
    eventually,
    read_job,
)
from tests.processes import RunningProcess, atelier_process
from tests.studio import PASSWORD, Browser, running
from tests.trust import trust
from tests.upstream import Upstream, submission_is_stored, upstream

ACCOUNT = {"email": "ann@studio.example", "password": PASSWORD}
VIDEO = {"model": VIDEO_MODEL, "prompt": "a lighthouse that outlives us", **SHORT_VIDEO}
LONG_ENOUGH = 60.0  # seconds on the clock of the provider, in which every video is completed
BOUND = 300.0  # seconds; only a broken product takes this long


@asynccontextmanager
async def started(folder: Path, provider: Upstream) -> AsyncIterator[RunningProcess]:
    """An Atelier in a process of its own."""
    async with atelier_process(folder, settings=provider.settings) as process:
        yield await process.ready(seconds=BOUND)


@asynccontextmanager
async def signed_in(process: RunningProcess) -> AsyncIterator[httpx.AsyncClient]:
    """The API client of a user of this process, once the models are known."""
    async with httpx.AsyncClient(base_url=process.url, timeout=BOUND, trust_env=False, verify=trust()) as client:
        await client.post("/api/v1/auth/register", json=ACCOUNT)
        tokens = (await client.post("/api/v1/auth/login", json=ACCOUNT)).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"

        async def models() -> int:
            total: int = (await client.get("/api/v1/ai/models")).json()["total"]
            return total

        await eventually(models, lambda total: total > 0)
        yield client


async def submitted(process: RunningProcess, job: Json) -> None:
    """Wait until the timeline of the job says that the provider has accepted it."""
    async with Browser(base_url=process.url, timeout=BOUND, trust_env=False, verify=trust()) as browser:
        assert (await browser.send_form("/login", ACCOUNT)).status_code == 303

        async def page() -> str:
            return (await browser.get(f"/jobs/{job['id']}")).text

        await eventually(page, lambda text: 'data-event="submitted"' in text)


async def accepted(provider: Upstream, count: int) -> None:
    """Wait until the provider has accepted this many requests."""
    await eventually(lambda: asyncio.sleep(0, provider.prompts()), lambda prompts: len(prompts) == count)


async def check_video(client: httpx.AsyncClient, job: Json) -> None:
    check_job(job)
    assert (job["status"], job["error"]) == ("completed", None)
    [asset] = job["assets"]
    media = await client.get(asset["url"])
    assert media.status_code == 200
    codec, width, height, seconds, _ = decoded_video(media.content)
    assert (codec, width, height) == ("h264", 360, 360)
    assert seconds == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_video_in_progress_arrives_after_a_restart_and_is_charged_once(
    tmp_path: Path, signal_number: signal.Signals
) -> None:
    """After the kill the provider completes it while Atelier is down, after the graceful stop once Atelier is back."""
    async with upstream(tmp_path) as provider:
        async with started(tmp_path, provider) as process:
            async with signed_in(process) as client:
                job = (await client.post("/api/v1/generate/video", json=VIDEO)).json()
                await submitted(process, job)
            code = await process.stopped(signal_number, seconds=BOUND)
            assert code == (0 if signal_number == signal.SIGTERM else -signal.SIGKILL)
        if signal_number == signal.SIGKILL:
            provider.clock.advance(LONG_ENOUGH)
        async with provider.atelier(tmp_path) as studio:
            ann = await studio.user(ACCOUNT["email"])
            if signal_number == signal.SIGTERM:
                assert (await read_job(ann, job["id"]))["status"] == "processing"
                provider.clock.advance(LONG_ENOUGH)
            await check_video(ann, await ended_job(ann, job["id"]))
        assert len(provider.prompts()) == 1


async def test_a_video_is_generated_once_however_often_atelier_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it submits, as soon as it is back, and while it downloads."""
    downloading, released = asyncio.Event(), asyncio.Event()
    render_once = Runtime.render_once

    async def held(runtime: Runtime, *args: Any, **kwargs: Any) -> Any:
        downloading.set()
        await released.wait()
        return await render_once(runtime, *args, **kwargs)

    monkeypatch.setattr(Runtime, "render_once", held)
    async with upstream(tmp_path) as provider:
        async with started(tmp_path, provider) as process:
            async with signed_in(process) as client:
                job = (await client.post("/api/v1/generate/video", json=VIDEO)).json()
                await accepted(provider, 1)
            await process.stopped(signal.SIGKILL, seconds=BOUND)
        provider.clock.advance(LONG_ENOUGH)
        async with started(tmp_path, provider) as process:
            await process.stopped(signal.SIGKILL, seconds=BOUND)
        async with started(tmp_path, provider) as process:
            async with signed_in(process) as client:
                await eventually(
                    lambda: read_job(client, job["id"]), lambda job: job["status"] == "failed" or downloading.is_set()
                )
            await process.stopped(signal.SIGKILL, seconds=BOUND)
        released.set()
        async with provider.atelier(tmp_path) as studio:
            ann = await studio.user(ACCOUNT["email"])
            ended = await ended_job(ann, job["id"])
            assert len(provider.prompts()) == 1
            if ended["status"] == "failed":  # killed before the answer to the submit was stored
                assert ended["error"]["code"] == "OUTCOME_UNKNOWN"
            else:
                await check_video(ann, ended)
            assert (await ann.get("/api/v1/assets")).json()["total"] == len(ended["assets"])


async def test_a_request_with_an_unknown_outcome_is_reported_and_never_sent_again_by_itself(tmp_path: Path) -> None:
    """An image cannot be polled: killed while it is generated, it may or may not have been charged."""
    async with upstream(tmp_path) as provider:
        async with started(tmp_path, provider) as process:
            async with signed_in(process) as client:
                body = {"model": IMAGE_MODEL, "prompt": "[stuck] a lighthouse"}
                answer = await client.post("/api/v1/generate/image", json=body, headers={"Prefer": "respond-async"})
                image = answer.json()
                await accepted(provider, 1)
                waiting = {**VIDEO, "prompt": "[overloaded] refused at first"}
                video = (await client.post("/api/v1/generate/video", json=waiting)).json()
                await eventually(
                    lambda: read_job(client, video["id"]), lambda job: job["status"] == "queued" and job["attempts"] > 0
                )
            await process.stopped(signal.SIGKILL, seconds=BOUND)
        async with provider.atelier(tmp_path) as studio:
            ann = await studio.user(ACCOUNT["email"])
            job = await read_job(ann, image["id"])
            check_job(job)
            assert (job["status"], job["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
            # A job that was only waiting in the queue is sent after the restart as usual.
            await accepted(provider, 2)
            provider.clock.advance(LONG_ENOUGH)
            await check_video(ann, await ended_job(ann, video["id"]))
            assert len([prompt for prompt in provider.prompts() if "[stuck]" in prompt]) == 1
            retry = await ann.post(f"/api/v1/jobs/{image['id']}/retry")  # only when the user asks for it
            assert (retry.status_code, retry.json()["retry_of"]) == (201, image["id"])


async def test_a_video_cancelled_before_a_restart_stays_cancelled_and_its_cost_is_recorded(tmp_path: Path) -> None:
    async with upstream(tmp_path) as provider:
        async with started(tmp_path, provider) as process:
            async with signed_in(process) as client:
                job = (await client.post("/api/v1/generate/video", json=VIDEO)).json()
                await submitted(process, job)
                await client.post(f"/api/v1/jobs/{job['id']}/cancel")
            assert await process.stopped(seconds=BOUND) == 0
        provider.clock.advance(LONG_ENOUGH)
        async with provider.atelier(tmp_path) as studio:
            ann = await studio.user(ACCOUNT["email"])
            settled = await eventually(lambda: read_job(ann, job["id"]), lambda job: job["cost_usd"] is not None)
            assert (settled["status"], settled["assets"]) == ("cancelled", [])
            assert len(provider.prompts()) == 1


async def test_the_built_in_simulator_keeps_its_videos_over_a_restart(tmp_path: Path) -> None:
    """Without a key the provider stops with Atelier; the requests that it has accepted are kept in the data folder."""
    log = tmp_path / "data" / "simulator" / "submits.jsonl"
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="0.3") as studio:
        ann = await studio.user(ACCOUNT["email"])
        job = (await ann.post("/api/v1/generate/video", json=VIDEO)).json()
        await submission_is_stored(studio, ann, job)
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="0.3") as studio:
        ann = await studio.user(ACCOUNT["email"])
        await check_video(ann, await ended_job(ann, job["id"]))
    assert len(log.read_text().splitlines()) == 1
