"""A disk that is full while a result is stored: one clear failure, nothing lost, nothing paid twice.

The data folder lies on a small file system of its own, which takes permission to mount (root, not in every container).
"""

import contextlib
import io
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.api.kit import CLIP, COUNTED, Json, check_job, eventually, pictured, problem, read_job, uploaded
from tests.api.processes import Running, provider
from tests.journeys.test_restart import beside, submits
from tests.studio import Studio, running

ROOM = 300_000  # bytes: enough for the database to write down what happened, not enough for a result
PICTURES = {"model": COUNTED, "prompt": "a lighthouse", "n": 4, "image_size": "2K"}
LARGE = {"model": CLIP, "prompt": "a large clip", "resolution": "1080p", "aspect_ratio": "16:9", "duration": 6}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with 48 MB in all."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no permission to mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, left: int) -> None:
    """Take all room but `left` bytes, and take it again whenever this is called."""
    with (folder / "ballast").open("ab", buffering=0) as file:
        while (room := os.statvfs(folder)).f_bavail * room.f_frsize > left:
            size = min(1_000_000, room.f_bavail * room.f_frsize - left)
            with contextlib.suppress(OSError):
                file.write(bytes(max(size, 1)))


def leftovers(folder: Path) -> list[Path]:
    return [file for file in (folder / "data" / "tmp").rglob("*") if file.is_file()]


def empty(folder: Path) -> None:
    (folder / "ballast").unlink()


@asynccontextmanager
async def studio_on(small: Path, upstream: Running) -> AsyncIterator[tuple[Studio, httpx.AsyncClient]]:
    async with running(small, **beside(upstream)) as studio:
        client = await studio.person()

        async def offered() -> int:
            total: int = (await client.get("/api/v1/ai/models")).json()["total"]
            return total

        await eventually(offered, lambda total: total > 0)
        yield studio, client


async def ended(client: httpx.AsyncClient, job: Json) -> Json:
    return await eventually(
        lambda: read_job(client, job["id"]), lambda now: now["completed_at"] is not None, seconds=40
    )


async def test_a_clip_that_finds_no_room_fails_clearly_and_comes_by_retry_without_a_second_charge(
    small: Path, tmp_path: Path
) -> None:
    async with provider(tmp_path) as upstream, studio_on(small, upstream) as (_, client):
        earlier = await pictured(client, "made before")
        before = (await client.get(earlier["assets"][0]["url"])).content
        fill(small, ROOM)
        job = await ended(client, (await client.post("/api/v1/generate/video", json=LARGE)).json())
        check_job(job)
        assert (job["status"], job["error"]["code"]) == ("failed", "STORAGE_FULL")
        assert job["error"]["message"].endswith(".")
        assert str(small) not in job["error"]["message"]
        assert "Errno" not in job["error"]["message"]

        assert (await client.get("/health")).status_code == 200
        assert (await client.get(earlier["assets"][0]["url"])).content == before
        assert {one["id"] for one in (await client.get("/api/v1/jobs")).json()["items"]} == {job["id"], earlier["id"]}

        empty(small)
        retry = await client.post(f"/api/v1/jobs/{job['id']}/retry")
        assert retry.status_code == 201
        again = await ended(client, retry.json())
        assert again["status"] == "completed", again["error"]
        assert (await client.get(again["assets"][0]["url"])).status_code == 200
        assert len([one for one in await submits(upstream) if one["prompt"] == LARGE["prompt"]]) == 1


async def test_pictures_that_find_no_room_fail_clearly_and_leave_none_of_it_occupied(
    small: Path, tmp_path: Path
) -> None:
    async with provider(tmp_path) as upstream, studio_on(small, upstream) as (_, client):
        earlier = await uploaded(client)
        fill(small, ROOM)
        answer = await client.post("/api/v1/generate/image", json=PICTURES, timeout=12)
        error = problem(answer, 502, "UPSTREAM_ERROR")
        assert error["details"]["code"] == "STORAGE_FULL"
        job = await read_job(client, error["details"]["job_id"])
        assert (job["status"], job["error"]["code"]) == ("failed", "STORAGE_FULL")
        assert (await client.get(earlier["url"])).status_code == 200
        assert leftovers(small) == []
        empty(small)
        assert (await pictured(client))["status"] == "completed"


async def test_an_upload_that_finds_no_room_is_refused_and_leaves_none_of_it_occupied(
    small: Path, tmp_path: Path
) -> None:
    async with provider(tmp_path) as upstream, studio_on(small, upstream) as (_, client):
        earlier = await uploaded(client)
        noise = Image.frombytes("RGB", (1200, 1000), os.urandom(3_600_000))
        big = io.BytesIO()
        noise.save(big, "PNG", compress_level=0)
        fill(small, ROOM)
        upload = await client.post("/api/v1/assets", files={"file": ("a.png", big.getvalue())})
        assert upload.status_code in (503, 507)
        problem(upload, upload.status_code)
        assert "Errno" not in upload.text
        assert (await client.get(earlier["url"])).status_code == 200
        assert (await client.get("/health")).status_code == 200
        assert leftovers(small) == []
        empty(small)
        assert (await uploaded(client, big.getvalue()))["width"] == 1200


async def test_with_not_one_byte_left_nothing_breaks_for_good(small: Path, tmp_path: Path) -> None:
    async with provider(tmp_path) as upstream, studio_on(small, upstream) as (studio, client):
        earlier = await pictured(client, "made before")
        fill(small, 0)
        for _ in range(3):
            answer = await client.post("/api/v1/generate/video", json=LARGE)
            fill(small, 0)
            if answer.status_code != 202:
                assert answer.status_code in (500, 503)
                error = problem(answer, answer.status_code)
                assert "Errno" not in error["message"]
        assert (await client.get(earlier["assets"][0]["url"])).status_code == 200
        assert (await client.get("/api/v1/jobs")).status_code == 200
        empty(small)

        fresh = await studio.person("bob@studio.example")
        assert (await pictured(fresh))["status"] == "completed"
        assert (await client.get("/health")).status_code == 200
        for job in (await client.get("/api/v1/jobs")).json()["items"]:
            assert (await ended(client, job))["status"] in ("completed", "failed")
    # And the next start finds everything that was promised before.
    async with provider(tmp_path / "again") as upstream, studio_on(small, upstream) as (_, client):
        found = (await client.get("/api/v1/jobs", params={"limit": 100})).json()["items"]
        assert earlier["id"] in {job["id"] for job in found}
        assert (await client.get(earlier["assets"][0]["url"])).status_code == 200
