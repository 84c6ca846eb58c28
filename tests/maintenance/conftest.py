"""A data folder that was in use and a backup of it: made once per worker, copied for each test that damages them; and the
commands of the command line."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol
from unittest.mock import patch

import httpx
import pytest
import pytest_asyncio

from app.base.data_dir import DataDir
from app.jobs import service as jobs_service
from app.main import MIGRATIONS, VERSION
from app.maintenance.service import Maintenance, alone
from tests.commands import resident_commands
from tests.disks import mounted
from tests.kit import (
    IMAGE_MODEL,
    SHORT_VIDEO,
    TEXT_MODEL,
    VIDEO_MODEL,
    Json,
    eventually,
    generated_image,
    png,
    read_job,
    uploaded_asset,
)
from tests.processes import ROOT
from tests.studio import Studio, running

HOLDINGS = "2 people, 9 jobs"  # what the data folder has, as reports say it
QUEUED = "[overloaded] a video in the queue"  # the prompt of Bob's job that is still queued


async def use(studio: Studio) -> None:
    """Jobs of all kinds, uploads, chats and keys of two users: completed, failed, cancelled, retried, queued."""
    ann, bob = await studio.person(), await studio.person("bob@studio.example")
    await generated_image(ann, "a lighthouse")
    await generated_image(bob, "a harbour")
    body = {"model": VIDEO_MODEL, "prompt": "[stamp] waves", **SHORT_VIDEO}
    video = (await ann.post("/api/v1/generate/video", json=body)).json()
    await studio.finished(ann, video["id"])
    upload = await uploaded_asset(ann, png(300, 200, "navy"))
    assert upload["kind"] == "image"
    await ann.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": "three words"})
    rejected = await ann.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": "[refuse] three words"})
    assert rejected.status_code == 400, rejected.text
    headers = {"Idempotency-Key": "once"}
    await ann.post("/api/v1/generate/image", json={"model": IMAGE_MODEL, "prompt": "once"}, headers=headers)
    body = {"model": VIDEO_MODEL, "prompt": "[overloaded] [stamp] later", **SHORT_VIDEO}
    cancelled = (await bob.post("/api/v1/generate/video", json=body)).json()
    await eventually(lambda: read_job(bob, cancelled["id"]), lambda job: job["status"] == "queued")
    await bob.post(f"/api/v1/jobs/{cancelled['id']}/cancel")
    retried = (await bob.post(f"/api/v1/jobs/{cancelled['id']}/retry")).json()
    await studio.finished(bob, retried["id"])
    messages = [{"role": "user", "content": "Hello"}]
    await ann.post("/api/v1/ai/chat", json={"model": TEXT_MODEL, "messages": messages})
    browser = await studio.person_in_browser()
    await browser.send_form("/chat", {"text": "Hello there", "model": TEXT_MODEL})
    await ann.post("/api/v1/users/me/keys", json={"name": "laptop"})
    body = {"model": VIDEO_MODEL, "prompt": QUEUED, **SHORT_VIDEO}
    with retries_in_an_hour():
        queued = (await bob.post("/api/v1/generate/video", json=body)).json()
        await until_retry_is_scheduled(bob, queued)


@contextlib.contextmanager
def retries_in_an_hour() -> Iterator[None]:
    """What must be tried again meanwhile is tried again in an hour, so that it stays in the queue."""
    with patch.object(jobs_service, "FIRST_WAIT", 3600.0), patch.object(jobs_service, "MAX_WAIT", 3600.0):
        yield


async def until_retry_is_scheduled(client: httpx.AsyncClient, job: Json) -> None:
    """After the first attempt has failed."""
    await eventually(lambda: read_job(client, job["id"]), lambda now: (now["status"], now["attempts"]) == ("queued", 1))


@pytest_asyncio.fixture(scope="session")
async def used_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a program that was used and has stopped; not to be changed."""
    folder = tmp_path_factory.mktemp("used")
    async with running(folder) as studio:
        await use(studio)
    return folder / "data"


@pytest.fixture
def data(used_data: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    return shutil.copytree(used_data, tmp_path / "data")


@pytest_asyncio.fixture(scope="session")
async def made_backup(used_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it; not to be changed."""
    folder = tmp_path_factory.mktemp("backup")
    async with upkeep(shutil.copytree(used_data, folder / "data")) as offline:
        assert (await offline.backup(str(folder / "backup"))).ok
    return folder / "backup"


@pytest.fixture
def backup(made_backup: Path, tmp_path: Path) -> Path:
    """A copy of the backup that may be damaged."""
    return shutil.copytree(made_backup, tmp_path / "backup")


@asynccontextmanager
async def upkeep(data: Path) -> AsyncIterator[Maintenance]:
    """Backups and the doctor where no program serves."""
    async with alone(DataDir(data), MIGRATIONS, program=VERSION) as upkeep:
        yield upkeep


class Outcome(NamedTuple):
    """Of a command: its exit code, and the lines on each stream; `err` without the lines of the log."""

    code: int
    out: list[str]
    err: list[str]


class Command(Protocol):
    """Runs `python -m app` with these arguments on the data folder below `folder`."""

    async def __call__(self, folder: Path, *arguments: str, cwd: Path = ROOT) -> Outcome: ...


@pytest_asyncio.fixture(scope="session")
async def command() -> AsyncIterator[Command]:
    """In an interpreter that is kept, because to start one takes a second of processor time."""
    async with resident_commands() as commands:

        async def run(folder: Path, *arguments: str, cwd: Path = ROOT) -> Outcome:
            result = await commands.run(folder, *arguments, cwd=cwd)
            err = [line for line in result.err.splitlines() if not line.startswith("{")]
            return Outcome(result.code, result.out.splitlines(), err)

        yield run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 32 MB."""
    with mounted(tmp_path / "small", megabytes=32) as folder:
        yield folder
