"""The inputs of a job: they are stored with it, read with it, and known to the worker also after a restart."""

import pytest

from app.db.database import Database
from app.db.transaction import Tables, Transaction
from app.jobs.schemas import GenerationType, Job, JobInput, JobInputRole
from app.jobs.service import Jobs
from app.providers.contract import ErrorCode, Failed, Pending, UpstreamJob
from tests.jobs.conftest import OpenJobs, new_job

INPUTS = (
    JobInput(JobInputRole.FIRST_FRAME, "asset-1"),
    JobInput(JobInputRole.LAST_FRAME, "asset-2"),
    JobInput(JobInputRole.REFERENCE, "asset-1", 0.5),
)
FAILED = Failed(code=ErrorCode.PROVIDER_FAILED, message="The provider failed.")


def job_with_inputs() -> Job:
    type = GenerationType.IMAGE_TO_VIDEO
    return new_job(generation_type=type, inputs=INPUTS, batch_id="batch", clip_id="clip", plan_id="plan")


def links(job: Job) -> tuple[str | None, str | None, str | None]:
    return job.batch_id, job.clip_id, job.plan_id


async def test_a_job_keeps_its_inputs_in_every_state_and_passes_them_on_to_a_retry(jobs: Jobs) -> None:
    await jobs.enqueue(job_with_inputs())
    (job,) = await jobs.execution.claim(1)
    assert job.inputs == INPUTS, "the worker needs them"
    await jobs.execution.record_progress(job, Pending(upstream_job=UpstreamJob("up-1"), state="running"))
    processing = await jobs.find("ann", job.id)
    assert (processing.upstream_state, processing.inputs) == ("running", INPUTS)
    await jobs.execution.fail(job, FAILED)
    failed = await jobs.find("ann", job.id)
    assert (failed.inputs, links(failed)) == (INPUTS, ("batch", "clip", "plan"))
    retried = await jobs.find("ann", (await jobs.retry("ann", job.id)).job.id)
    assert (retried.inputs, links(retried)) == (INPUTS, ("batch", "clip", "plan"))


async def test_a_restart_knows_the_inputs_of_queued_jobs(jobs: Jobs, open_jobs: OpenJobs) -> None:
    await jobs.enqueue(job_with_inputs())
    restarted = open_jobs()
    await restarted.execution.rescue()
    (job,) = await restarted.execution.claim(1)
    assert job.inputs == INPUTS


async def test_the_inputs_of_a_list_of_jobs_are_read_by_one_query(
    jobs: Jobs, open_jobs: OpenJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        await jobs.enqueue(job_with_inputs() if number % 2 else new_job())
    queries = []
    rows = Transaction.rows

    def counted(self: Transaction, tables: Tables, sql: str, *parameters: object) -> object:
        if tables == "job_inputs":
            queries.append(sql)
        return rows(self, tables, sql, *parameters)

    monkeypatch.setattr(Transaction, "rows", counted)
    page = await open_jobs().newest("ann")
    assert [job.inputs for job in page.items] == [(), INPUTS, (), INPUTS, (), INPUTS, (), INPUTS, ()]
    assert len(queries) == 1


async def test_a_job_of_a_type_without_inputs_cannot_have_any(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match="text_to_video"):
        await jobs.enqueue(new_job(inputs=INPUTS))


async def test_an_erased_job_leaves_no_inputs(jobs: Jobs, database: Database) -> None:
    job = (await jobs.enqueue(job_with_inputs())).job
    await jobs.cancel("ann", job.id)
    await database.write(jobs.all.erase, [job.id])
    assert await database.read(lambda tx: tx.value("job_inputs", "select count(*) from job_inputs")) == 0
