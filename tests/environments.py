"""Packages of others in virtual environments of their own, so that nothing of theirs comes near the product's packages.

Each is made once, kept below `tests/.environments` (git ignores it), and shared by all test processes.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HOME: Final = Path(__file__).resolve().parent / ".environments"
PATIENCE: Final = 900  # seconds for one installation


class Broken(Exception):
    """The environment could not be made."""


def made(package: str, version: str, extra: str = "") -> Path:
    """The folder with the programs of an environment that has this package. Makes the environment when it is not there
    yet, under a lock. Blocks."""
    HOME.mkdir(exist_ok=True)
    folder = HOME / f"{package}-{version}-python{sys.version_info.major}.{sys.version_info.minor}"
    with open(HOME / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = folder / "whole"
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", folder)
            wanted = f"{package}{extra}=={version}"
            _run(folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted)
            whole.touch()
    return folder / "bin"


def _run(*command: str | Path) -> None:
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise Broken(f"{command[1:4]} took too long") from error
    if outcome.returncode:
        raise Broken(outcome.stderr[-1000:])
