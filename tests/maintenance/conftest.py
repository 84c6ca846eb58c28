"""Fixtures: a used data folder and its backup, created once per worker and copied for each test that damages them, and
the commands of the command line."""

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

from app import VERSION
from app.base.data_dir import DataDir
from app.db.migrate import MIGRATIONS
from app.jobs import execution
from app.maintenance.service import Maintenance, offline_maintenance
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

HOLDINGS = "2 users, 9 jobs"  # the content of the data folder in reports
QUEUED = "[overloaded] a video in the queue"  # the prompt of Bob's job that is still queued


async def use(studio: Studio) -> None:
    """Jobs of all kinds, uploads, chats and keys of two users: completed, failed, cancelled, retried, queued."""
    ann, bob = await studio.user(), await studio.user("bob@studio.example")
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
    browser = await studio.user_in_browser()
    await browser.send_form("/chat", {"text": "Hello there", "model": TEXT_MODEL})
    await ann.post("/api/v1/users/me/keys", json={"name": "laptop"})
    body = {"model": VIDEO_MODEL, "prompt": QUEUED, **SHORT_VIDEO}
    with retries_in_an_hour():
        queued = (await bob.post("/api/v1/generate/video", json=body)).json()
        await until_retry_is_scheduled(bob, queued)


@contextlib.contextmanager
def retries_in_an_hour() -> Iterator[None]:
    """Retries are scheduled in an hour, so that the jobs stay queued."""
    with patch.object(execution, "FIRST_RETRY_DELAY", 3600.0), patch.object(execution, "MAX_RETRY_DELAY", 3600.0):
        yield


async def until_retry_is_scheduled(client: httpx.AsyncClient, job: Json) -> None:
    """After the first attempt has failed."""
    await eventually(lambda: read_job(client, job["id"]), lambda now: (now["status"], now["attempts"]) == ("queued", 1))


@pytest_asyncio.fixture(scope="session")
async def used_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a stopped instance that was used; read-only."""
    folder = tmp_path_factory.mktemp("used")
    async with running(folder) as studio:
        await use(studio)
    return folder / "data"


@pytest.fixture
def data(used_data: Path, tmp_path: Path) -> Path:
    """A copy of the data folder that a test may damage."""
    return shutil.copytree(used_data, tmp_path / "data")


@pytest_asyncio.fixture(scope="session")
async def made_backup(used_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the data folder; read-only."""
    folder = tmp_path_factory.mktemp("backup")
    async with maintenance(shutil.copytree(used_data, folder / "data")) as offline:
        assert (await offline.backup(str(folder / "backup"))).ok
    return folder / "backup"


@pytest.fixture
def backup(made_backup: Path, tmp_path: Path) -> Path:
    """A copy of the backup that a test may damage."""
    return shutil.copytree(made_backup, tmp_path / "backup")


@asynccontextmanager
async def maintenance(data: Path) -> AsyncIterator[Maintenance]:
    """Backup and doctor without a serving instance."""
    async with offline_maintenance(DataDir(data), MIGRATIONS, program=VERSION) as maintenance:
        yield maintenance


class Outcome(NamedTuple):
    """The exit code of a command and the lines of each stream; `err` is without log lines."""

    code: int
    out: list[str]
    err: list[str]


class Command(Protocol):
    """Runs `python -m app` with these arguments on the data folder below `folder`."""

    async def __call__(self, folder: Path, *arguments: str, cwd: Path = ROOT) -> Outcome: ...


@pytest_asyncio.fixture(scope="session")
async def command() -> AsyncIterator[Command]:
    """Runs in one interpreter for all tests, because starting one takes a second of CPU time."""
    async with resident_commands() as commands:

        async def run(folder: Path, *arguments: str, cwd: Path = ROOT) -> Outcome:
            result = await commands.run(folder, *arguments, cwd=cwd)
            err = [line for line in result.err.splitlines() if not line.startswith("{")]
            return Outcome(result.code, result.out.splitlines(), err)

        yield run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 32 MB."""
    with mounted(tmp_path / "small", megabytes=32) as folder:
        yield folder
