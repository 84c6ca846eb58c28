"""A data folder in which people have worked: made once, copied for every test that spoils it."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.base.folder import Folder
from app.main import MIGRATIONS, VERSION
from app.upkeep.service import Upkeep, alone
from tests.api.kit import CLIP, PICTURE, SHORT, TEXT, eventually, pictured, png, read_job, uploaded
from tests.studio import running


async def live_a_little(folder: Path) -> None:
    """Pictures, clips, texts and talks of two people: done, failed, cancelled, retried, deleted."""
    async with running(folder) as studio:
        ann, bob = await studio.person(), await studio.person("bob@studio.example")
        await pictured(ann, "a lighthouse")
        await pictured(bob, "a harbour")
        clip = (await ann.post("/api/v1/generate/video", json={"model": CLIP, "prompt": "waves", **SHORT})).json()
        await studio.finished(ann, clip["id"])
        start = await uploaded(ann, png(300, 200, "navy"))
        assert start["kind"] == "image"
        await ann.post("/api/v1/generate/text", json={"model": TEXT, "prompt": "three words"})
        refused = await ann.post("/api/v1/generate/text", json={"model": TEXT, "prompt": "[refuse] three words"})
        assert refused.status_code == 400, refused.text
        keyed = {"Idempotency-Key": "once"}
        await ann.post("/api/v1/generate/image", json={"model": PICTURE, "prompt": "once"}, headers=keyed)
        waiting = {"model": CLIP, "prompt": "[overloaded] later", **SHORT}
        queued = (await bob.post("/api/v1/generate/video", json=waiting)).json()
        await eventually(lambda: read_job(bob, queued["id"]), lambda job: job["status"] == "queued")
        await bob.post(f"/api/v1/jobs/{queued['id']}/cancel")
        retried = (await bob.post(f"/api/v1/jobs/{queued['id']}/retry")).json()
        await studio.finished(bob, retried["id"])
        await ann.post("/api/v1/ai/chat", json={"model": TEXT, "messages": [{"role": "user", "content": "Hello"}]})
        browser = await studio.person_in_browser()
        await browser.send_form("/chat", {"text": "Hello there", "model": TEXT})
        await ann.post("/api/v1/users/me/keys", json={"name": "laptop"})


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder; not to be touched."""
    folder = tmp_path_factory.mktemp("lived")
    asyncio.run(live_a_little(folder))
    return folder / "data"


@pytest.fixture
def data(lived: Path, tmp_path: Path) -> Path:
    """A copy of it that may be spoilt."""
    return shutil.copytree(lived, tmp_path / "data")


@asynccontextmanager
async def upkeep(data: Path) -> AsyncIterator[Upkeep]:
    """Backups and the doctor where no studio serves."""
    async with alone(Folder(data), MIGRATIONS, program=VERSION) as upkeep:
        yield upkeep


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 32 MB, which takes permission to mount (root, not in every container)."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no permission to mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
