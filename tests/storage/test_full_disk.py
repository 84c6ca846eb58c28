"""A full disk: no partial file stays, no stored file is harmed, and the caller gets an error."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.base.disk_full import DiskFull
from app.storage import media
from app.storage.files import Files
from tests.storage import full_disk, samples

EXPECTED = {
    "outcomes": dict.fromkeys(("upload", "becomes.jpg", "becomes.mp4", "becomes.png", "becomes.webp"), "full"),
    "partial files": [],
    "temporary files": [],
    "the early file is intact": True,
    "only the early file is stored": True,
}


def mounted(path: Path, options: str) -> Iterator[Path]:
    if shutil.which("mount") is None:
        pytest.skip("cannot mount a small disk here: no mount command")
    path.mkdir()
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, text=True)
    if mounting.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounting.stderr.strip() or 'not permitted'}")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB with as much free space as `full_disk` needs."""
    for path in mounted(tmp_path / "disk", "size=1m"):
        (path / "ballast").write_bytes(bytes(1024 * 1024 - full_disk.FREE))
        yield path


@pytest.fixture
def disk_with_few_inodes(tmp_path: Path) -> Iterator[Path]:
    """A disk with free space, but only for ten files and folders."""
    yield from mounted(tmp_path / "disk", "size=1m,nr_inodes=10")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sources")
    full_disk.write_sources(folder)
    return sorted(folder.iterdir())


async def test_on_a_full_disk_everything_is_refused_or_complete(small_disk: Path, sources: list[Path]) -> None:
    assert await full_disk.run(small_disk / "data", sources) == EXPECTED


def test_at_the_limit_for_file_sizes_everything_is_refused_or_complete(tmp_path: Path, sources: list[Path]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.storage.full_disk", tmp_path / "data", sources[0].parent, str(full_disk.FREE)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == EXPECTED


async def test_a_file_that_cannot_be_renamed_stays_where_it_was(disk_with_few_inodes: Path) -> None:
    stored, temporary = disk_with_few_inodes / "media", disk_with_few_inodes / "tmp"
    stored.mkdir()
    temporary.mkdir()
    files = Files(stored, temporary)
    async with files.folder() as folder:
        (folder / "a").write_bytes(samples.png())
        with pytest.raises(FileNotFoundError):
            await files.store(folder / "b", ".png")
        for number in range(10):
            try:
                (folder / f"filler{number}").touch()
            except OSError:
                break
        with pytest.raises(DiskFull, match="disk is full"):
            await files.store(folder / "a", ".png")
        assert (folder / "a").read_bytes() == samples.png()
    assert [key async for key in files.keys()] == []  # noqa: SIM118
    files.close()


async def test_a_temporary_folder_on_a_full_disk_is_refused(disk_with_few_inodes: Path) -> None:
    files = Files(disk_with_few_inodes, disk_with_few_inodes)
    for number in range(10):
        try:
            (disk_with_few_inodes / f"filler{number}").touch()
        except OSError:
            break
    with pytest.raises(DiskFull):
        async with files.folder():
            pytest.fail("there was space for a folder")
    files.close()


def test_a_jpeg_whose_last_bytes_do_not_fit_is_not_taken_for_complete(small_disk: Path, tmp_path: Path) -> None:
    """Pillow by itself writes to the file descriptor and ignores how much was written."""
    (tmp_path / "a.jpg").write_bytes(samples.encoded(samples.noise((500, 300)), "JPEG", quality=90))
    path, facts = media.clean(tmp_path / "a.jpg", tmp_path)
    whole = path.read_bytes()
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    room = (len(whole) - 1) // 4096 * 4096
    assert 0 < room < facts.bytes < free
    (small_disk / "more ballast").write_bytes(bytes(free - room))
    with pytest.raises(DiskFull):
        media.clean(tmp_path / "a.jpg", small_disk)
    assert sorted(path.name for path in small_disk.iterdir()) == ["ballast", "more ballast"]
