"""A disk that is full while a result is stored: one clear failure, nothing lost, nothing charged twice.

The data folder is on a small file system of its own, which takes permission to mount (root, not in every container). The
simulator has its folder elsewhere.
"""

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.disks import fill, mounted
from tests.kit import (
    IMAGE_TO_VIDEO_MODEL,
    MULTI_IMAGE_MODEL,
    SHORT_IMAGE_TO_VIDEO,
    Json,
    check_job,
    ended_job,
    error_of,
    eventually,
    generated_image,
    read_job,
    uploaded_asset,
)
from tests.studio import Studio, running, served_simulator

FREE = 300_000  # bytes: enough for the database to record what happened, not enough for a result
# With noise as input the results have megabytes, whatever the simulator makes of a prompt.
IMAGES = {"model": MULTI_IMAGE_MODEL, "prompt": "large images", "n": 2}
VIDEO = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "a large video", **SHORT_IMAGE_TO_VIDEO}


def noise(width: int = 480, height: int = 480) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), os.urandom(width * height * 3)).save(file, "PNG", compress_level=0)
    return file.getvalue()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", megabytes=48) as folder:
        yield folder


def occupy(folder: Path) -> None:
    """Leave at most FREE bytes; call it again while something runs, because the database may release space."""
    state = os.statvfs(folder)
    with (folder / "ballast").open("ab", buffering=0) as file:
        file.write(bytes(max(0, state.f_bavail * state.f_frsize - FREE)))


async def ended_on_full_disk(client: httpx.AsyncClient, job_id: str, folder: Path) -> Json:
    async def job() -> Json:
        occupy(folder)
        return await read_job(client, job_id)

    return await eventually(job, lambda job: job["completed_at"] is not None)


async def jobs_of(client: httpx.AsyncClient) -> list[Json]:
    items: list[Json] = (await client.get("/api/v1/jobs")).json()["items"]
    return items


def temporary_files(folder: Path) -> list[Path]:
    return [file for file in (folder / "data" / "tmp").rglob("*") if file.is_file()]


def release(folder: Path) -> None:
    (folder / "ballast").unlink()


@asynccontextmanager
async def studio_on(small: Path, simulator: Path) -> AsyncIterator[tuple[Studio, httpx.AsyncClient]]:
    async with (
        served_simulator(simulator) as url,
        running(small, OPENROUTER_BASE_URL=f"{url}/api/v1", OPENROUTER_API_KEY="any") as studio,
    ):
        await studio.program.catalog.filled.wait()
        yield studio, await studio.user()


async def test_a_video_that_does_not_fit_fails_clearly_and_a_retry_fetches_it_without_a_second_charge(
    small: Path, tmp_path: Path
) -> None:
    async with studio_on(small, tmp_path / "simulator") as (_, client):
        earlier = await generated_image(client, "[stamp] earlier")
        before = (await client.get(earlier["assets"][0]["url"])).content
        input_id = (await uploaded_asset(client, noise()))["id"]
        occupy(small)
        requested = await client.post("/api/v1/generate/video", json={**VIDEO, "image_asset_id": input_id})
        job = await ended_on_full_disk(client, requested.json()["id"], small)
        check_job(job)
        assert (job["status"], job["error"]["code"]) == ("failed", "STORAGE_FULL")
        assert job["error"]["message"].endswith(".")
        assert str(small) not in job["error"]["message"]
        assert "Errno" not in job["error"]["message"]

        assert (await client.get("/health")).status_code == 200
        assert (await client.get(earlier["assets"][0]["url"])).content == before
        assert {one["id"] for one in await jobs_of(client)} == {job["id"], earlier["id"]}

        release(small)
        retry = await client.post(f"/api/v1/jobs/{job['id']}/retry")
        assert retry.status_code == 201
        second = await ended_job(client, retry.json()["id"])
        assert second["status"] == "completed", second["error"]
        assert second["assets"][0]["bytes"] > 2 * FREE
        assert (await client.get(second["assets"][0]["url"])).status_code == 200
        submits = [json.loads(line) for line in (tmp_path / "simulator" / "submits.jsonl").read_text().splitlines()]
        assert len([one for one in submits if one["prompt"] == VIDEO["prompt"]]) == 1


async def test_images_that_do_not_fit_fail_clearly_and_leave_no_file_behind(small: Path, tmp_path: Path) -> None:
    async with studio_on(small, tmp_path / "simulator") as (_, client):
        earlier = await uploaded_asset(client, noise())
        occupy(small)
        call = asyncio.ensure_future(
            client.post(
                "/api/v1/generate/image",
                json={**IMAGES, "image_asset_id": earlier["id"]},
                headers={"Prefer": "wait=120"},
            )
        )
        [listed] = await eventually(lambda: jobs_of(client), lambda jobs: len(jobs) == 1)
        job = await ended_on_full_disk(client, listed["id"], small)
        error = error_of(await call, 502, "UPSTREAM_ERROR")
        assert error["details"]["code"] == "STORAGE_FULL"
        assert error["details"]["job_id"] == job["id"]
        assert (job["status"], job["error"]["code"]) == ("failed", "STORAGE_FULL")
        assert (await client.get(earlier["url"])).status_code == 200
        assert temporary_files(small) == []
        release(small)
        assert (await generated_image(client))["status"] == "completed"


async def test_an_upload_that_does_not_fit_is_refused_and_leaves_no_file_behind(small: Path, tmp_path: Path) -> None:
    async with studio_on(small, tmp_path / "simulator") as (_, client):
        earlier = await uploaded_asset(client)
        big = noise(1200, 1000)
        occupy(small)
        upload = await client.post("/api/v1/assets", files={"file": ("a.png", big)})
        assert upload.status_code in (503, 507)
        error_of(upload, upload.status_code)
        assert "Errno" not in upload.text
        assert (await client.get(earlier["url"])).status_code == 200
        assert (await client.get("/health")).status_code == 200
        assert temporary_files(small) == []
        release(small)
        assert (await uploaded_asset(client, big))["width"] == 1200


async def test_after_a_disk_without_a_free_byte_everything_works_again(small: Path, tmp_path: Path) -> None:
    async with studio_on(small, tmp_path / "simulator") as (studio, client):
        earlier = await generated_image(client, "[stamp] earlier")
        input_id = (await uploaded_asset(client, noise()))["id"]
        fill(small)
        for _ in range(3):
            answer = await client.post("/api/v1/generate/video", json={**VIDEO, "image_asset_id": input_id})
            fill(small)
            if answer.status_code != 202:
                assert answer.status_code in (500, 503)
                error = error_of(answer, answer.status_code)
                assert "Errno" not in error["message"]
        assert (await client.get(earlier["assets"][0]["url"])).status_code == 200
        assert (await client.get("/api/v1/jobs")).status_code == 200
        release(small)

        bob = await studio.user("bob@studio.example")
        assert (await generated_image(bob))["status"] == "completed"
        assert (await client.get("/health")).status_code == 200
        for job in await jobs_of(client):
            assert (await ended_job(client, job["id"]))["status"] in ("completed", "failed")
    # After a restart all confirmed data is there.
    async with studio_on(small, tmp_path / "simulator") as (_, client):
        found = (await client.get("/api/v1/jobs", params={"limit": 100})).json()["items"]
        assert earlier["id"] in {job["id"] for job in found}
        assert (await client.get(earlier["assets"][0]["url"])).status_code == 200
