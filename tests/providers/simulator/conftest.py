"""Simulators: a shared one without delays, an empty one, and one with a manual clock."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.simulator.kit import ManualClock, SimulatorClient, serving


@pytest.fixture(scope="session")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorClient]:
    """One simulator without delays, shared by all tests: tests that read the submit log need unique prompts."""
    with serving(tmp_path_factory.mktemp("simulator")) as client:
        yield client


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[SimulatorClient]:
    """A simulator without delays that has not been used yet."""
    with serving(tmp_path) as client:
        yield client


@pytest.fixture(scope="session")
def simulator_in_manual_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SimulatorClient, ManualClock]]:
    clock = ManualClock()
    with serving(tmp_path_factory.mktemp("manual-time"), speed=1, clock=clock) as client:
        yield client, clock


@pytest.fixture
def timed(simulator_in_manual_time: tuple[SimulatorClient, ManualClock]) -> Iterator[SimulatorClient]:
    """A simulator with normal delays, controlled by `clock`."""
    client, clock = simulator_in_manual_time
    clock.slept.clear()
    yield client
    clock.allowed = float("inf")


@pytest.fixture
def clock(simulator_in_manual_time: tuple[SimulatorClient, ManualClock]) -> ManualClock:
    """The clock of `timed`."""
    return simulator_in_manual_time[1]
