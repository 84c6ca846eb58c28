"""File systems that are too small, which takes permission to mount (root, not in every container)."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    """The new folder, as a file system of its own; skips the test without permission."""
    folder.mkdir()
    options = f"size={megabytes}m"
    outcome = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True)
    if outcome.returncode:
        pytest.skip(f"no permission to mount a small disk: {outcome.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Take all room there is with a file `ballast`, and take it again whenever this is called."""
    with contextlib.suppress(OSError), (folder / "ballast").open("ab", buffering=0) as file:
        while True:
            room = os.statvfs(folder)
            if not file.write(bytes(max(1, min(1_000_000, room.f_bavail * room.f_frsize)))):
                return


def give_back(folder: Path, size: int) -> None:
    """Give back so many bytes of that."""
    ballast = folder / "ballast"
    os.truncate(ballast, ballast.stat().st_size - size)
