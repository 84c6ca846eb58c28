"""The server is killed (SIGKILL) at every kind of crash point of a job and restarted while the provider keeps running:
nothing may be lost or paid for twice, files and rows must match, and the ledger must be exact.

This is a selection with every kind of crash point at least once; `python -m tests.crash` runs all of them.
"""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from tests.crash import matrix
from tests.crash.matrix import CrashLab
from tests.crash.scenarios import SCENARIOS


def transaction(function: str) -> tuple[str, ...]:
    """The crash points of a transaction."""
    return tuple(f"transaction.{step} {function}" for step in ("requested", "executed", "committed", "acknowledged"))


POINTS: dict[str, tuple[str, ...]] = {
    "upload": (
        "media.inspected",
        "media.cleaned",
        "file.renamed #2",
        *transaction("add"),
        "temp_folder.released",
    ),
    # One provider request, whose response is the result
    "image": (
        *transaction("enqueue"),
        "ledger.hold_written",
        *transaction("claim"),
        "temp_folder.created",
        "provider.submit_started",
        "connection.opened submit",
        "request.sent submit",
        "response.started submit",
        "response.read submit",
        "provider.submit_answered",
        "media.inspected",
        "media.thumbnail_created",
        "file.received",
        "file.hashed",
        "file.synced",
        "file.renamed",
        "folder.synced",
        "file.stored",
        "file.renamed #2",
        "temp_folder.released",
        "temp_folder.removed",
        *transaction("complete"),
        "assets.written",
        "ledger.settlement_written",
    ),
    "text": ("request.sent submit", "transaction.committed complete"),
    # The provider is busy at first
    "retried text": transaction("schedule_retry"),
    # A submit, polls, a download
    "video": (
        "request.sent submit",
        "provider.submit_answered",
        *transaction("record_progress"),
        "provider.poll_started",
        "request.sent poll",
        "response.started poll",
        "response.read poll #4",
        "provider.poll_answered #2",
        *transaction("mark_downloaded"),
        "file.renamed",
        "transaction.committed complete",
    ),
    "image to video": ("transaction.executed complete",),
    # A job in fal's queue
    "fal image": (
        "request.sent submit",
        "response.read submit",
        "provider.submit_answered",
        "transaction.executed record_progress",
        "transaction.committed record_progress",
        "request.sent poll",
        "provider.poll_answered",
        "transaction.committed mark_downloaded",
        "transaction.committed complete",
    ),
    "failed video": transaction("fail"),
    "batch": transaction("enqueue_all"),
    "paused batch": (*transaction("set_paused"), *transaction("cancel_queued")),
    "cancelled in queue": ("transaction.requested cancel", "transaction.committed cancel"),
    "cancelled at provider": (
        "transaction.executed cancel",
        "transaction.acknowledged cancel",
        "ledger.correction_written",
        "transaction.committed complete",
    ),
}
# Killed, and killed again during the recovery.
TWICE = [
    *(("video", "transaction.committed record_progress", point) for point in transaction("rescue")),
    ("image", "request.sent submit", "transaction.committed fail"),
    ("fal image", "transaction.committed record_progress", "provider.poll_answered"),
    ("video", "media.inspected", "temp_folders.cleanup_started"),
    ("video", "file.renamed", "orphans.sweep_started"),
    ("image", "transaction.requested complete", "file.removal_started"),
    ("image", "transaction.requested complete", "file.removed"),
    ("video", "transaction.committed mark_downloaded", "transaction.committed complete"),
]
# Each crash after something was sent ends up to sixteen jobs, whose outcome is unknown; the others end none.
LARGE_BATCH = (
    "transaction.acknowledged enqueue_all",
    "transaction.requested claim",
    "transaction.committed claim",
    "request.sent submit #5",
    "transaction.acknowledged claim",
    "transaction.committed complete #3",
    "transaction.requested claim",
    "response.read submit #2",
    "transaction.committed claim",
    "transaction.requested claim",
)
# These may not occur: a request without a body reuses an open connection.
OPTIONAL = {"connection.opened poll"}


def kind(point: str) -> str:
    """The point without its number."""
    return re.sub(r" #\d+$", "", point)


def spread(name: str, runs: Sequence[tuple[str, ...]]) -> list[Any]:
    """The runs in small groups, which xdist distributes to free workers."""
    groups = (pytest.mark.xdist_group(f"{name} {index // matrix.RUNS}") for index in range(len(runs)))
    return [pytest.param(*run, marks=group) for run, group in zip(runs, groups, strict=True)]


@pytest_asyncio.fixture(scope="session")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CrashLab]:
    async with matrix.crash_lab(tmp_path_factory.mktemp("crash")) as lab:
        yield lab


@pytest.mark.xdist_group("crash")
async def test_every_kind_of_crash_point_is_in_the_matrix(lab: CrashLab) -> None:
    recorded = await lab.record(SCENARIOS)
    unknown = {scenario: set(points) - set(recorded[scenario]) for scenario, points in POINTS.items()}
    assert not any(unknown.values()), f"these points do not occur: {unknown}"
    covered = {kind(point) for points in POINTS.values() for point in points}
    found = {kind(point) for points in recorded.values() for point in points}
    assert not found - covered - OPTIONAL, "no test kills the server at these points"


@pytest.mark.parametrize(
    ("scenario", "point"),
    spread("crash", [(scenario, point) for scenario, points in POINTS.items() for point in points]),
)
async def test_nothing_is_lost_by_a_crash(lab: CrashLab, scenario: str, point: str) -> None:
    outcome = await lab.crash(scenario, point)
    assert outcome.crashed == [True], outcome.log
    assert outcome.faults == []


@pytest.mark.parametrize(("scenario", "point", "then"), spread("second crash", TWICE))
async def test_nothing_is_lost_by_a_second_crash_during_recovery(
    lab: CrashLab, scenario: str, point: str, then: str
) -> None:
    outcome = await lab.crash(scenario, point, then)
    assert outcome.crashed == [True, True], outcome.log
    assert outcome.faults == []


@pytest.mark.xdist_group("crash")
async def test_a_batch_that_is_killed_again_and_again_is_paid_once(lab: CrashLab) -> None:
    outcome = await lab.crash("large batch", *LARGE_BATCH)
    assert outcome.crashed == [True] * len(LARGE_BATCH), outcome.log
    assert outcome.faults == []
