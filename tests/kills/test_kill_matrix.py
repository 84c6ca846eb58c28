"""The program is killed (SIGKILL) at every kind of moment on the way of a job, started again beside a provider that went
on, and nothing is lost, nothing paid for twice, no file without a row, no row without a file, and the books agree.

The moments are found by instrumentation (`boundaries`), not by waiting. Here is a selection in which every kind of moment
comes at least once; `python -m tests.kills` goes through all of them.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kills import matrix
from tests.kills.matrix import Theatre

WRITES = ("asked", "written, not committed", "committed", "known")
MOMENTS = [
    # An upload
    *(f"upload: {what}" for what in ("looked at", "cleaned", "store renamed #2", "folder to be removed")),
    *(f"upload: asset {step}" for step in WRITES),
    # A picture: no ticket, one call
    *(f"picture: {verb} {step}" for verb in ("job", "start", "end") for step in WRITES),
    "picture: hold written",
    "picture: folder made",
    *(f"picture: submit {step}" for step in ("begins", "connected", "sent", "answer begun", "answer read")),
    "picture: submit answered",
    "picture: looked at",
    "picture: thumbnail made",
    *(f"picture: store {step}" for step in ("asked", "hashed", "synced", "renamed", "done")),
    "picture: folder synced",
    "picture: store renamed #2",
    "picture: folder to be removed",
    "picture: folder removed",
    "picture: asset written",
    "picture: settlement written",
    # A text, and one that is turned away at first
    "words: submit sent",
    "words: end committed",
    *(f"busy: second try {step}" for step in WRITES),
    # A clip: a ticket, polls, a download
    *(f"clip: submit {step}" for step in ("sent", "answered")),
    *(f"clip: state {step}" for step in WRITES),
    *(f"clip: poll {step}" for step in ("begins", "sent", "answer begun", "answer read #4", "answered #2")),
    *(f"clip: download {step}" for step in WRITES),
    "clip: store renamed",
    "clip: end committed",
    # A clip that starts from the upload
    "moving: end written, not committed",
    # A clip that fails at the provider
    *(f"broken: failure {step}" for step in WRITES),
    # Cancelled in the queue; cancelled at the provider, with the result to be kept
    *(f"early: cancel {step}" for step in ("asked", "committed")),
    "unwanted: cancel written, not committed",
    "unwanted: cancel known",
    "unwanted: correction written",
    "unwanted: end committed",
]
# Killed, and once more while the next start puts things in order.
TWICE = [
    *(("clip: state committed", f"clip: rescue {step}") for step in WRITES),
    ("picture: submit sent", "picture: failure committed"),
    ("clip: looked at", "start: temporary folder to be cleared"),
    ("clip: store renamed", "start: orphans to be swept"),
    ("picture: end asked", "start: file removal asked"),
    ("picture: end asked", "start: file removal done"),
    ("clip: download committed", "clip: end committed"),
]
# These come or not, depending on whether a connection is still open: a request with a body always has one of its own.
CHANCE = {"poll connected"}
AT_START = {"temporary folder to be cleared", "temporary folder cleared", "orphans to be swept", "orphans swept"}


def kind(moment: str) -> str:
    """What happens, whoever's it is and however often."""
    return re.sub(r" #\d+$", "", moment.partition(": ")[2])


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    folder: Path = tmp_path_factory.mktemp("kills")
    with matrix.opened(folder) as found:
        yield found


async def test_every_kind_of_moment_is_in_the_matrix(theatre: Theatre) -> None:
    moments = await matrix.recorded(theatre)
    assert len(moments) == len(set(moments))
    assert set(MOMENTS) <= set(moments)
    missing = {kind(moment) for moment in moments} - {kind(moment) for moment in MOMENTS} - CHANCE - AT_START
    assert not missing, "there are moments at which nobody is killed"
    assert len(set(MOMENTS)) >= 30


@pytest.mark.parametrize("moment", MOMENTS)
async def test_killed_at(theatre: Theatre, moment: str) -> None:
    outcome = await matrix.killed(theatre, moment)
    assert outcome.faults == []
    assert outcome.struck == [True]


@pytest.mark.parametrize(("moment", "then"), TWICE)
async def test_killed_and_once_more_at_the_next_start(theatre: Theatre, moment: str, then: str) -> None:
    outcome = await matrix.killed(theatre, moment, then)
    assert outcome.faults == []
    assert outcome.struck == [True, True]
