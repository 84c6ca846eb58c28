"""Types and style are checked with the tests, so that one command says whether the tree is sound.

mypy and ruff keep caches; where CI keeps them is set in `.ci/run`.
"""

import os
import subprocess
import sys

import pytest

from tests.rules.source import ROOT


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)


def test_types_are_sound() -> None:
    outcome = _run("mypy")
    if outcome.returncode not in (0, 1):  # it found no errors but failed itself, maybe on a cache that was cut off
        outcome = _run("mypy", f"--cache-dir={os.devnull}")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_style_is_sound(command: str) -> None:
    outcome = _run("ruff", *command.split(), "app", "tests")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
