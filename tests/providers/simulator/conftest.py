"""Simulators to call: one at full speed for nearly everything, one with delays for what is about time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.simulator.caller import Caller, serving


@pytest.fixture(scope="session")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """One simulator without delays, shared by every test: prompts must differ where the submit log is read."""
    with serving(tmp_path_factory.mktemp("simulator")) as caller:
        yield caller


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Caller]:
    """A simulator without delays and without a past."""
    with serving(tmp_path) as caller:
        yield caller


@pytest.fixture(scope="session")
def unhurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A simulator at a tenth of the usual delays."""
    with serving(tmp_path_factory.mktemp("unhurried"), speed=0.1) as caller:
        yield caller
