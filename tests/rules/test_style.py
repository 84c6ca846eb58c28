"""Types and style are checked with the tests, so that one command says whether the tree is sound."""

import subprocess
import sys

import pytest

from tests.rules.source import ROOT


@pytest.mark.parametrize(
    "command",
    [["mypy"], ["ruff", "check", "app", "tests"], ["ruff", "format", "--check", "app", "tests"]],
    ids=" ".join,
)
def test_the_tree_is_sound(command: list[str]) -> None:
    outcome = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
