"""An action and its audit log entry are atomic: if the entry cannot be written, the action has no effect."""

from typing import Any

import pytest

from app.audit import repository
from app.audit.schemas import Actor
from app.base import clock
from app.base.errors import Unready
from tests.admin.conftest import OrdinaryUser
from tests.jobs.conftest import FakeClock
from tests.kit import eventually, read_job
from tests.studio import Studio

ANN = Actor("ann", "ann@studio.example")


async def test_without_its_audit_entry_no_job_is_cancelled_retried_or_timed_out(
    admin_studio: Studio, bob: OrdinaryUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, jobs = admin_studio.program.admin, admin_studio.program.jobs
    monkeypatch.setattr(jobs.live, "to_poll", lambda _: [])  # else the worker would time it out first
    cancelled, processing = await bob.video("[stuck] a boat"), await bob.video("[stuck] a boat")
    await bob.client.post(f"/api/v1/jobs/{cancelled}/cancel")

    async def accepted() -> bool:
        job = jobs.live.find(processing)
        return job is not None and job.upstream_job is not None

    await eventually(accepted, bool)
    fake_clock = FakeClock()
    monkeypatch.setattr(clock, "now", fake_clock.now)
    fake_clock.advance(admin_studio.program.settings.job_timeout_seconds + 1)
    entries = (await admin.log()).total

    def fail(*_: Any) -> None:
        raise Unready("The entry cannot be written.")

    with monkeypatch.context() as patch:
        patch.setattr(repository, "add_any", fail)
        for action in (admin.time_out(ANN), admin.cancel(ANN, processing), admin.retry(ANN, cancelled)):
            with pytest.raises(Unready):
                await action
    assert (await read_job(bob.client, processing))["status"] == "processing"
    assert (await bob.client.get("/api/v1/jobs")).json()["total"] == 2
    assert (await admin.log()).total == entries
    assert await admin.time_out(ANN) == 1
    assert (await read_job(bob.client, processing))["status"] == "failed"
    log = await admin.log()
    assert log.total == entries + 1
    assert (log.items[0].action, log.items[0].subject, log.items[0].detail) == ("jobs.timed_out", None, {"count": 1})
