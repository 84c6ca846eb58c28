"""Packages of others in virtual environments of their own, so that nothing of theirs comes near the product's packages.

Each is made once, kept below `tests/.environments` (git ignores it), and shared by all test processes. For the openai package
that takes 9 seconds of processor time: our own pip installs it, and only what is imported is compiled, when it is imported.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

HOME: Final = Path(__file__).resolve().parent / ".environments"
TIMEOUT: Final = 900  # seconds for one installation


class EnvironmentFailed(Exception):
    """The environment could not be made."""


def environment(package: str, version: str, extra: str = "", others: Sequence[str] = ()) -> Path:
    """The folder with the programs of an environment that has this package, and `others` as pip names them. Makes the
    environment when it is not there yet, under a lock. Blocks."""
    HOME.mkdir(exist_ok=True)
    folder = HOME / f"{package}-{version}-python{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    with open(HOME / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / "complete"
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run("-m", "venv", "--without-pip", folder)
            options = ("-q", "--disable-pip-version-check", "--no-compile")
            _run("-m", "pip", "--python", python, "install", *options, f"{package}{extra}=={version}", *others)
            complete.touch()
    return folder / "bin"


def _run(*arguments: str | Path) -> None:
    try:
        outcome = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise EnvironmentFailed(f"{' '.join(map(str, arguments[:3]))} took too long") from exc
    if outcome.returncode:
        raise EnvironmentFailed(outcome.stderr[-1000:])
