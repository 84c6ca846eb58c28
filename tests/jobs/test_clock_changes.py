"""The system clock is changed while jobs are in progress."""

import asyncio
import time
from pathlib import Path

import pytest

from app.base import clock
from tests.kit import eventually, generated_image, read_job, requested_video
from tests.upstream import submission_is_stored, upstream


class SystemClock:
    """The system clock, `ahead` of real time by that many seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> int:
        return time.time_ns() + int(self.ahead * 1e9)


@pytest.fixture
def system_clock(monkeypatch: pytest.MonkeyPatch) -> SystemClock:
    system_clock = SystemClock()
    monkeypatch.setattr(clock, "system", clock.Clock(wall=system_clock))
    return system_clock


async def test_jobs_in_progress_end_within_minutes_whatever_the_clock_is_set_to(
    tmp_path: Path, system_clock: SystemClock
) -> None:
    async with upstream(tmp_path) as provider, provider.atelier(tmp_path) as studio:
        ann = await studio.user()
        key = (await ann.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"]
        ann = studio.client(key)  # an access token would expire
        for ahead in (-3600.0, 1200.0):
            video = await requested_video(ann, f"[stamp] in progress {ahead}")
            later = await requested_video(ann, f"[overloaded] [stamp] to be sent again {ahead}")
            await submission_is_stored(studio, ann, video)
            await eventually(lambda id=later["id"]: read_job(ann, id), lambda job: job["attempts"] == 1)  # type: ignore[misc]
            system_clock.ahead = ahead
            await eventually(lambda prompt=later["prompt"]: asyncio.sleep(0, prompt in provider.prompts()), bool)  # type: ignore[misc]
            provider.clock.advance(60)
            for job in (video, later):
                assert (await studio.finished(ann, job["id"]))["status"] == "completed"
            owner = (await ann.get("/api/v1/users/me")).json()["id"]
            timeline = await studio.program.jobs.events(owner, video["id"])
            assert timeline[-1].event == "completed"
            assert (await studio.client().get("/health")).status_code == 200
        image = asyncio.create_task(generated_image(ann, "[stamp] after that"))
        await provider.clock.sleeping(1)
        provider.clock.advance(60)
        assert (await image)["status"] == "completed"
        assert (await studio.program.maintenance.examine()).ok


async def test_a_video_whose_deadline_passes_in_a_jump_fails_and_a_retry_fetches_it_without_a_second_charge(
    tmp_path: Path, system_clock: SystemClock
) -> None:
    async with upstream(tmp_path) as provider, provider.atelier(tmp_path) as studio:
        ann = await studio.user()
        key = (await ann.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"]
        ann = studio.client(key)
        video = await requested_video(ann, "[stamp] a long way")
        await submission_is_stored(studio, ann, video)
        system_clock.ahead = 7200
        ended = await studio.finished(ann, video["id"])
        assert (ended["status"], ended["error"]["code"]) == ("failed", "TIMED_OUT")
        retried = (await ann.post(f"/api/v1/jobs/{video['id']}/retry")).json()
        provider.clock.advance(60)
        assert (await studio.finished(ann, retried["id"]))["status"] == "completed"
        assert len(provider.prompts()) == 1
