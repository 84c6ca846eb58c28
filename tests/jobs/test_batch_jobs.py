"""The jobs of a batch: added together, and not started while the batch is paused, also after a restart."""

import asyncio

from app.base.ids import uuid7
from app.db.duckdb.database import EmbeddedDatabase
from app.jobs.schemas import Job, JobStatus
from app.jobs.service import Jobs
from app.providers.contract import ErrorCode, Retryable
from tests.jobs.conftest import OpenJobs, new_job

BUSY = Retryable(code=ErrorCode.PROVIDER_BUSY, message="The provider is busy.")


async def added(jobs: Jobs, count: int = 3) -> list[Job]:
    """The jobs of a new batch."""
    batch = uuid7()
    found = [new_job(batch_id=batch, batch_position=position) for position in range(count)]
    assert await jobs.of_batches.enqueue(found, batch, None, None, lambda tx: None) is None
    return found


async def set_paused(database: EmbeddedDatabase, jobs: Jobs, job: Job, paused: bool) -> None:
    await database.write(jobs.of_batches.set_paused, job.owner_id, job.batch_id or "", paused)


async def test_a_paused_job_is_not_started_also_after_a_restart(
    database: EmbeddedDatabase, open_jobs: OpenJobs
) -> None:
    jobs = open_jobs()
    batch = await added(jobs)
    await set_paused(database, jobs, batch[0], True)
    for running in (jobs, restarted := open_jobs()):
        if running is restarted:
            await running.execution.rescue()
        assert not running.live.has_waiting()
        assert await running.execution.claim(10) == []
        assert running.live.longest_wait() == 0
    other = new_job()
    await restarted.enqueue(other)
    assert [job.id for job in await restarted.execution.claim(10)] == [other.id]
    await set_paused(database, restarted, batch[0], False)
    assert [job.id for job in await restarted.execution.claim(10)] == [job.id for job in batch]


async def test_a_job_that_has_to_be_queued_again_waits_with_its_paused_batch(
    database: EmbeddedDatabase, jobs: Jobs
) -> None:
    batch = await added(jobs, 2)
    [started] = await jobs.execution.claim(1)
    await set_paused(database, jobs, batch[0], True)
    await jobs.execution.schedule_retry(started, BUSY)
    again = await jobs.find(started.owner_id, started.id)
    assert (again.status, again.paused) == (JobStatus.QUEUED, True)
    assert jobs.live.next_due() is None


async def test_a_job_that_was_chosen_just_before_its_batch_was_paused_is_not_started(
    database: EmbeddedDatabase, jobs: Jobs
) -> None:
    batch = await added(jobs)
    _, claimed = await asyncio.gather(set_paused(database, jobs, batch[0], True), jobs.execution.claim(1))
    assert claimed == []
