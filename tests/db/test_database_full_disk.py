"""A full disk: no acknowledged write is lost, no rejected one is executed, and the database recovers on its own once there is
space."""

import asyncio
import functools
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.db.duckdb.database import EmbeddedDatabase
from tests.base.children import run_in_child
from tests.db.full_database import play
from tests.disks import fill, give_back, mounted
from tests.kit import IMAGE_MODEL, Json, error_of, eventually, generated_image, submit_log
from tests.studio import Studio, running

BOUND = 300  # seconds; only a broken product needs them


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", megabytes=32) as folder:
        yield folder


@pytest.mark.parametrize("checkpoint_bytes", [100_000_000, 300_000], ids=["growing log", "checkpoint"])
async def test_a_database_on_a_full_disk_rejects_writes_loses_nothing_and_recovers(
    tmp_path: Path, checkpoint_bytes: int
) -> None:
    """Both while the write-ahead log grows, and during a checkpoint, when the engine fails."""
    code, report = await run_in_child(play, tmp_path, checkpoint_bytes)
    assert code == 0
    assert report.acknowledged > 100
    assert (report.lost, report.came_back, report.healthy) == ([], [], True)
    assert report.rejections == ["DiskFull"]
    assert report.wrong_reads == 0
    assert report.right_reads > 50, "stored data can be read all the time"
    assert (report.generation > 0) == (checkpoint_bytes == 300_000)


async def request_image(client: httpx.AsyncClient, prompt: str) -> httpx.Response:
    body = {"model": IMAGE_MODEL, "prompt": prompt}
    return await client.post("/api/v1/generate/image", json=body, headers={"Prefer": "respond-async"})


async def rejected_prompts(client: httpx.AsyncClient, small_disk: Path) -> list[str]:
    """Request images until five requests were rejected because the disk is full; the prompts of those."""
    prompts: list[str] = []
    number = 0
    async with asyncio.timeout(BOUND):
        while len(prompts) < 5:
            fill(small_disk)
            number += 1
            prompt = f"number {number} " + "x" * 3000
            answer = await request_image(client, prompt)
            if answer.status_code not in (200, 202):
                message = error_of(answer, 503, "SERVICE_UNAVAILABLE")["message"]
                assert "disk is full, so nothing was saved" in message
                prompts.append(prompt)
    return prompts


async def states_by_prompt(client: httpx.AsyncClient) -> dict[str, str]:
    """Every job's state by its prompt."""
    found: dict[str, str] = {}
    cursor = ""
    while True:
        page: Json = (await client.get(f"/api/v1/jobs?limit=100{cursor}")).json()
        found |= {job["prompt"]: job["status"] for job in page["items"]}
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


async def check_in_order(studio: Studio) -> None:
    result = await studio.program.maintenance.examine()
    assert result.ok, result.text


async def test_a_request_on_a_full_disk_is_rejected_and_never_executed(small_disk: Path) -> None:
    async with running(small_disk) as studio:
        ann = await studio.user()
        earlier = await generated_image(ann)
        rejected = await rejected_prompts(ann, small_disk)
        assert (await ann.get(earlier["assets"][0]["url"])).status_code == 200
        assert (await studio.client().get("/health")).status_code == 200
        assert (await ann.get("/api/v1/jobs")).status_code == 200

        (small_disk / "ballast").unlink()
        assert (await generated_image(ann, "after space was freed"))["status"] == "completed"
        found = await eventually(
            lambda: states_by_prompt(ann), lambda found: not {"queued", "processing"} & set(found.values())
        )
        assert not set(rejected) & set(found), "what was rejected is not there"
        assert not set(rejected) & {str(submit["prompt"]) for submit in submit_log(studio)}, "and was never sent"
        await check_in_order(studio)
    async with running(small_disk) as studio:
        ann = await studio.user()
        assert set(await states_by_prompt(ann)) == set(found)


async def test_a_database_whose_engine_fails_on_a_full_disk_is_reopened_while_the_server_runs(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Checkpoint after every write, even without free space.
    database_type = functools.partial(EmbeddedDatabase, checkpoint_bytes=1, checkpoint_free_bytes=-(10**12))
    monkeypatch.setattr("app.main.EmbeddedDatabase", database_type)
    async with running(small_disk) as studio:
        ann = await studio.user()
        await generated_image(ann)
        database = studio.program.database
        assert isinstance(database, EmbeddedDatabase)
        accepted: list[str] = []
        async with asyncio.timeout(BOUND):
            fill(small_disk)
            while not database.generation:
                answer = await request_image(ann, f"number {len(accepted)}")
                if answer.status_code in (200, 202):
                    accepted.append(answer.json()["id"])
                else:
                    error_of(answer, 503, "SERVICE_UNAVAILABLE")
                    give_back(small_disk, 16_384)  # enough for a job in the log, too little for a checkpoint
        (small_disk / "ballast").unlink()
        assert await eventually(lambda: asyncio.sleep(0, database.healthy), bool)
        for id in accepted:
            assert (await studio.finished(ann, id))["status"] in ("completed", "failed")
        assert (await generated_image(ann, "after that"))["status"] == "completed"
        assert (await studio.client().get("/health")).status_code == 200
        await check_in_order(studio)
