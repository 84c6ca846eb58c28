"""The restart journey: Atelier is killed while a clip is being made, the provider goes on, and the clip still arrives.

The provider is the simulator as a process of its own, so that it outlives Atelier. Whether money was spent twice is judged
by its log of submits, never by ours.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.kit import CLIP, PICTURE, Json, check_job, eventually, read_job, watched
from tests.api.processes import Running, atelier, provider
from tests.studio import PASSWORD, Browser
from tests.trust import trust

PERSON = {"email": "ann@studio.example", "password": PASSWORD}
ASKED = {
    "model": CLIP,
    "prompt": "a lighthouse that outlives us",
    "resolution": "360p",
    "aspect_ratio": "1:1",
    "duration": 1,
}


def beside(upstream: Running) -> dict[str, str]:
    return {"OPENROUTER_BASE_URL": f"{upstream.url}/api/v1", "OPENROUTER_API_KEY": "anything"}


async def submits(upstream: Running) -> list[Json]:
    async with httpx.AsyncClient(trust_env=False, verify=trust()) as http:
        found: list[Json] = (await http.get(f"{upstream.url}/simulator/submits")).json()
        return found


@asynccontextmanager
async def signed_in(studio: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=studio.url, timeout=20, trust_env=False, verify=trust()) as http:
        await http.post("/api/v1/auth/register", json=PERSON)
        tokens = (await http.post("/api/v1/auth/login", json=PERSON)).json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

        async def offered() -> int:
            total: int = (await http.get("/api/v1/ai/models")).json()["total"]
            return total

        await eventually(offered, lambda total: total > 0)
        yield http


async def until_it_has_a_ticket(studio: Running, job_id: str) -> None:
    """Until its timeline says that the provider has taken it on: before, nobody knows what became of it."""
    async with Browser(base_url=studio.url, timeout=20, trust_env=False, verify=trust()) as browser:
        assert (await browser.send_form("/login", PERSON)).status_code == 303

        async def page() -> str:
            return (await browser.get(f"/jobs/{job_id}")).text.lower()

        await eventually(page, lambda text: "submitted" in text)


async def check_clip(http: httpx.AsyncClient, job: Json) -> None:
    check_job(job)
    assert (job["status"], job["error"]) == ("completed", None)
    [asset] = job["assets"]
    media = await http.get(asset["url"])
    assert media.status_code == 200
    codec, width, height, seconds, _ = watched(media.content)
    assert (codec, width, height) == ("h264", 360, 360)
    assert seconds == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_clip_under_way_arrives_after_a_restart_and_is_paid_for_once(
    tmp_path: Path, how: signal.Signals
) -> None:
    async with provider(tmp_path, speed="0.3") as upstream:
        async with atelier(tmp_path, settings=beside(upstream)) as studio:
            await studio.ready()
            async with signed_in(studio) as http:
                job = (await http.post("/api/v1/generate/video", json=ASKED)).json()
                await until_it_has_a_ticket(studio, job["id"])
            code = await studio.stopped(how)
            assert code == (0 if how == signal.SIGTERM else -signal.SIGKILL)

        async with atelier(tmp_path, settings=beside(upstream)) as studio:
            await studio.ready()
            async with signed_in(studio) as http:
                now = await read_job(http, job["id"])
                assert now["status"] in ("processing", "completed")
                done = await eventually(
                    lambda: read_job(http, job["id"]), lambda now: now["completed_at"] is not None, seconds=60
                )
                await check_clip(http, done)
                assert len(await submits(upstream)) == 1
            assert await studio.stopped() == 0


async def test_killed_again_and_again_it_is_still_one_clip(tmp_path: Path) -> None:
    """At moments nobody chose: while it is submitted, polled, downloaded, stored."""
    async with provider(tmp_path, speed="0.1") as upstream:
        async with atelier(tmp_path, settings=beside(upstream)) as studio:
            await studio.ready()
            async with signed_in(studio) as http:
                job = (await http.post("/api/v1/generate/video", json=ASKED)).json()
                await eventually(lambda: submits(upstream), lambda sent: len(sent) == 1)
            await studio.stopped(signal.SIGKILL)
        for pause in (0.0, 0.1, 0.3, 0.6):
            async with atelier(tmp_path, settings=beside(upstream)) as studio:
                await studio.ready()
                await asyncio.sleep(pause)  # the moment of death, not a synchronisation
                await studio.stopped(signal.SIGKILL)
        async with atelier(tmp_path, settings=beside(upstream)) as studio:
            await studio.ready()
            async with signed_in(studio) as http:
                done = await eventually(
                    lambda: read_job(http, job["id"]), lambda now: now["completed_at"] is not None, seconds=30
                )
                assert len(await submits(upstream)) == 1
                if done["status"] == "failed":  # killed between the submit and the word that it was taken
                    assert done["error"]["code"] == "OUTCOME_UNKNOWN"
                else:
                    await check_clip(http, done)
                assert (await http.get("/api/v1/assets")).json()["total"] == len(done["assets"])


async def test_a_call_whose_outcome_nobody_knows_is_told_so_and_never_sent_again_by_itself(tmp_path: Path) -> None:
    """A picture has no ticket: killed while it is being made, it may or may not have been charged."""
    async with provider(tmp_path) as upstream:
        async with atelier(tmp_path, settings=beside(upstream)) as studio:
            await studio.ready()
            async with signed_in(studio) as http:
                body = {"model": PICTURE, "prompt": "[stuck] a lighthouse"}
                job = (await http.post("/api/v1/generate/image", json=body, headers={"Prefer": "respond-async"})).json()
                await eventually(lambda: submits(upstream), lambda sent: len(sent) == 1)
                waiting = {**ASKED, "prompt": "[overloaded] turned away at first"}
                queued = (await http.post("/api/v1/generate/video", json=waiting)).json()
                await eventually(
                    lambda: read_job(http, queued["id"]), lambda now: now["status"] == "queued" and now["attempts"] > 0
                )
            await studio.stopped(signal.SIGKILL)

        async with atelier(tmp_path, settings=beside(upstream)) as studio:
            await studio.ready()
            async with signed_in(studio) as http:
                now = await read_job(http, job["id"])
                check_job(now)
                assert (now["status"], now["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
                # What only waited in the queue is sent after the restart, as if nothing had happened.
                done = await eventually(
                    lambda: read_job(http, queued["id"]), lambda now: now["completed_at"] is not None, seconds=40
                )
                await check_clip(http, done)
                sent = [one["prompt"] for one in await submits(upstream)]
                assert len([prompt for prompt in sent if "[stuck]" in str(prompt)]) == 1
                retry = await http.post(f"/api/v1/jobs/{job['id']}/retry")  # only when a person asks
                assert (retry.status_code, retry.json()["retry_of"]) == (201, job["id"])


async def test_a_clip_cancelled_before_the_restart_stays_cancelled_and_its_cost_is_still_settled(
    tmp_path: Path,
) -> None:
    async with provider(tmp_path, speed="0.1") as upstream:
        async with atelier(tmp_path, settings=beside(upstream)) as studio:
            await studio.ready()
            async with signed_in(studio) as http:
                job = (await http.post("/api/v1/generate/video", json=ASKED)).json()
                await eventually(lambda: submits(upstream), lambda sent: len(sent) == 1)
                await eventually(lambda: read_job(http, job["id"]), lambda now: now["status"] == "processing")
                await http.post(f"/api/v1/jobs/{job['id']}/cancel")
            assert await studio.stopped() == 0
        async with atelier(tmp_path, settings=beside(upstream)) as studio:
            await studio.ready()
            async with signed_in(studio) as http:
                settled = await eventually(
                    lambda: read_job(http, job["id"]), lambda now: now["cost_usd"] is not None, seconds=30
                )
                assert (settled["status"], settled["assets"]) == ("cancelled", [])
                assert len(await submits(upstream)) == 1


async def test_the_built_in_simulator_does_not_forget_either(tmp_path: Path) -> None:
    """Without a key the provider dies with Atelier; what it had taken is kept in the data folder."""
    settings = {"ATELIER_SIMULATOR_SPEED": "0.3"}
    log = tmp_path / "data" / "simulator" / "submits.jsonl"

    def sent() -> int:
        return len(log.read_text().splitlines()) if log.exists() else 0

    async def submitted() -> int:
        return sent()

    async with atelier(tmp_path, settings=settings) as studio:
        await studio.ready()
        async with signed_in(studio) as http:
            job = (await http.post("/api/v1/generate/video", json=ASKED)).json()
            await eventually(submitted, lambda number: number == 1)
        await studio.stopped(signal.SIGTERM)
    async with atelier(tmp_path, settings=settings) as studio:
        await studio.ready()
        async with signed_in(studio) as http:
            done = await eventually(
                lambda: read_job(http, job["id"]), lambda now: now["completed_at"] is not None, seconds=60
            )
            await check_clip(http, done)
        assert sent() == 1
        assert await studio.stopped() == 0
