"""A deed and its line in the audit log are one: where the line cannot be written, nothing was done."""

from pathlib import Path
from typing import Any

import pytest

from app.audit import repository
from app.audit.schemas import Actor
from app.base.errors import Unready
from app.jobs.schemas import Status
from tests.api.kit import eventually, read_job
from tests.studio import Studio, running

ANN = Actor("ann", "ann@studio.example")
STUCK = {"model": "alibaba/wan-2.6", "prompt": "[stuck] a boat"}


def _no_room(*_: Any) -> None:
    raise Unready("There is no room for this line.")


async def test_without_its_line_no_job_is_cancelled_tried_again_or_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, ATELIER_WORKER_SECONDS="600") as studio:
        await _deeds(studio, monkeypatch)


async def _deeds(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    bob, program = await studio.person("bob@studio.example"), studio.program
    under_way, ended = [(await bob.post("/api/v1/generate/video", json=STUCK)).json()["id"] for _ in range(2)]
    await bob.post(f"/api/v1/jobs/{ended}/cancel")
    await eventually(lambda: read_job(bob, under_way), lambda job: job["status"] == "processing")
    await eventually(lambda: _ticket(studio, under_way), bool)
    program.jobs._timeout = 0  # nobody looks after it for ten minutes, so that it is the admin who gives it up
    with monkeypatch.context() as without:
        without.setattr(repository, "add_any", _no_room)
        for deed in (
            program.admin.time_out(ANN),
            program.admin.cancel(ANN, under_way),
            program.admin.retry(ANN, ended),
        ):
            with pytest.raises(Unready):
                await deed
    assert (await read_job(bob, under_way))["status"] == "processing"
    assert (await bob.get("/api/v1/jobs")).json()["total"] == 2
    assert (await program.admin.log()).total == 0
    assert await program.admin.time_out(ANN) == 1
    assert (await read_job(bob, under_way))["status"] == Status.FAILED
    [line] = (await program.admin.log()).items
    assert line.subject == "1 jobs"


async def _ticket(studio: Studio, id: str) -> object:
    return studio.program.jobs._live[id].ticket
