"""The states of a job and the transitions between them, and that a restart loses nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest

from app.base import clock
from app.base.errors import Conflict, Missing
from app.db.database import Database
from app.jobs import list_repository
from app.jobs.execution import MAX_ATTEMPTS
from app.jobs.poll_schedule import PollSchedule
from app.jobs.schemas import Job, JobStatus
from app.jobs.service import Jobs
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Pending, Retryable, UpstreamJob
from tests.jobs.conftest import FakeClock, OpenJobs, new_job
from tests.kit import Cases

UPSTREAM_JOB = UpstreamJob("up-1", "/api/v1/videos/up-1")
REFUSED = Failed(code=ErrorCode.PROVIDER_REFUSED, message="The provider refused this prompt.")
BUSY = Retryable(code=ErrorCode.PROVIDER_UNREACHABLE, message="The provider is busy.")


def polled(state: str = "pending", progress: int | None = None) -> Pending:
    """A poll outcome: the provider is still processing."""
    return Pending(upstream_job=UPSTREAM_JOB, state=state, progress=progress)


async def claimed_job(jobs: Jobs, job: Job | None = None) -> Job:
    """A job that is being submitted."""
    await jobs.enqueue(job or new_job())
    (claimed,) = await jobs.execution.claim(1)
    return claimed


async def test_an_accepted_job_is_on_disk_and_survives_a_restart(jobs: Jobs, open_jobs: OpenJobs) -> None:
    job = (await jobs.enqueue(new_job(params={"duration": 4}))).job
    restarted = open_jobs()
    await restarted.execution.rescue()
    found = await restarted.find("ann", job.id)
    assert msgspec.structs.replace(found, estimate=job.estimate) == job
    assert restarted.live.has_waiting()


async def test_jobs_are_claimed_oldest_first_and_only_once(jobs: Jobs) -> None:
    ids = [(await jobs.enqueue(new_job())).job.id for _ in range(5)]
    first = [job.id for job in await jobs.execution.claim(3)]
    second = [job.id for job in await jobs.execution.claim(3)]
    assert (first, second) == (ids[:3], ids[3:])
    assert await jobs.execution.claim(3) == []


async def test_claiming_counts_as_an_attempt_and_polling_does_not(jobs: Jobs) -> None:
    job = await claimed_job(jobs)
    assert (job.status, job.attempts) == (JobStatus.PROCESSING, 1)
    for state in ("pending", "in_progress", "in_progress"):
        await jobs.execution.record_progress(jobs.live.find(job.id) or job, polled(state))
    found = await jobs.find("ann", job.id)
    assert (found.attempts, found.upstream_state, found.upstream_job) == (1, "in_progress", UPSTREAM_JOB)


async def test_the_providers_job_id_is_stored_before_anything_else_is_done_with_it(
    jobs: Jobs, open_jobs: OpenJobs
) -> None:
    job = await claimed_job(jobs)
    await jobs.execution.record_progress(job, polled())
    restarted = open_jobs()
    await restarted.execution.rescue()
    assert [polled.upstream_job for polled in restarted.live.to_poll(9)] == []  # not due yet
    found = restarted.live.find(job.id)
    assert found is not None
    assert found.upstream_job == UPSTREAM_JOB
    assert found.run_at is not None


async def test_a_submit_whose_outcome_is_unknown_after_a_crash_fails_and_is_not_repeated(
    jobs: Jobs, open_jobs: OpenJobs
) -> None:
    job = await claimed_job(jobs)
    restarted = open_jobs()
    await restarted.execution.rescue()
    found = await restarted.find("ann", job.id)
    assert found.status is JobStatus.FAILED
    assert found.error is not None
    assert found.error.code is ErrorCode.OUTCOME_UNKNOWN
    assert "not sent again" in found.error.message
    assert not restarted.live.has_waiting()
    assert await restarted.execution.claim(10) == []


async def test_a_retryable_failure_is_retried_later_and_fails_after_the_last_attempt(
    jobs: Jobs, fake_clock: FakeClock
) -> None:
    job = await claimed_job(jobs)
    waits = []
    for attempt in range(1, MAX_ATTEMPTS[Kind.VIDEO]):
        await jobs.execution.schedule_retry(job, BUSY)
        waiting = await jobs.find("ann", job.id)
        assert (waiting.status, waiting.attempts) == (JobStatus.QUEUED, attempt)
        assert waiting.run_at is not None
        waits.append((waiting.run_at - clock.now()).total_seconds())
        assert not jobs.live.has_waiting(), "it is not due yet"
        assert await jobs.execution.claim(1) == []
        fake_clock.advance(waits[-1])
        (job,) = await jobs.execution.claim(1)
    await jobs.execution.schedule_retry(job, BUSY)
    failed = await jobs.find("ann", job.id)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.code is ErrorCode.PROVIDER_UNREACHABLE
    assert waits == sorted(waits), "each wait is longer than the one before"


async def test_a_job_that_waits_for_its_retry_is_not_polled(open_jobs: OpenJobs) -> None:
    polls = PollSchedule()
    jobs = open_jobs(polls=polls)
    job = await claimed_job(jobs)
    await jobs.execution.record_progress(job, polled())
    assert polls.next_due() is not None
    await jobs.execution.schedule_retry(jobs.live.find(job.id) or job, BUSY)
    assert polls.next_due() is None


async def test_a_retry_waits_as_long_as_the_provider_asks(jobs: Jobs, fake_clock: FakeClock) -> None:
    job = await claimed_job(jobs)
    await jobs.execution.schedule_retry(job, msgspec.structs.replace(BUSY, wait=90))
    due = (await jobs.find("ann", job.id)).run_at
    assert due is not None
    assert due - fake_clock.now() == timedelta(seconds=90)


async def test_the_next_poll_comes_as_soon_as_the_provider_suggests_and_as_late_as_it_asks(
    open_jobs: OpenJobs, fake_clock: FakeClock
) -> None:
    table: list[tuple[float | None, float | None, float]] = [
        (None, None, 15),
        (1, None, 1),
        (100, None, 15),
        (None, 90, 90),
        (1, 90, 90),
    ]
    with Cases() as cases:
        for within, wait, expected in table:
            jobs = open_jobs(poll_interval=15)
            job = await claimed_job(jobs)
            pending = Pending(upstream_job=UpstreamJob(job.id), state="running", poll_within=within, wait=wait)
            await jobs.execution.record_progress(job, pending)
            with cases.case(within, wait):
                due = (await jobs.find("ann", job.id)).run_at
                assert due is not None
                assert due - fake_clock.now() == timedelta(seconds=expected)


async def test_a_completed_job_keeps_its_text_and_cost(jobs: Jobs) -> None:
    job = await claimed_job(jobs, new_job(kind=Kind.TEXT))
    await jobs.execution.complete(job, Completed(text="Once upon a time", cost_nano=6_100_000), [])
    done = await jobs.find("ann", job.id)
    assert (done.status, done.text, done.cost_nano, done.progress) == (
        JobStatus.COMPLETED,
        "Once upon a time",
        6_100_000,
        100,
    )
    assert done.ended_at is not None
    assert done.seconds is not None


async def test_an_unknown_cost_stays_unknown(jobs: Jobs) -> None:
    job = await claimed_job(jobs, new_job(kind=Kind.TEXT))
    await jobs.execution.complete(job, Completed(text="x"), [])
    assert (await jobs.find("ann", job.id)).cost_nano is None


async def test_a_late_outcome_never_changes_a_cancelled_job(jobs: Jobs) -> None:
    answers: dict[str, Callable[[Job], Awaitable[object]]] = {
        "completed": lambda job: jobs.execution.complete(job, Completed(text="late", cost_nano=5), []),
        "failed": lambda job: jobs.execution.fail(job, REFUSED),
        "retryable": lambda job: jobs.execution.schedule_retry(job, BUSY),
        "pending": lambda job: jobs.execution.record_progress(job, polled()),
    }
    with Cases() as cases:
        for name, answer in answers.items():
            with cases.case(name):
                job = await claimed_job(jobs)
                await jobs.cancel("ann", job.id)
                await answer(job)
                found = await jobs.find("ann", job.id)
                assert (found.status, found.text, found.error) == (JobStatus.CANCELLED, None, None)
                assert jobs.live.find(job.id) is None
                assert await jobs.execution.claim(10) == []


async def test_the_cost_of_a_cancelled_job_is_recorded_when_it_becomes_known(jobs: Jobs) -> None:
    job = await claimed_job(jobs)
    await jobs.cancel("ann", job.id)
    await jobs.execution.complete(job, Completed(text="late", cost_nano=5), [])
    assert (await jobs.find("ann", job.id)).cost_nano == 5


async def test_an_ended_job_cannot_be_cancelled(jobs: Jobs) -> None:
    endings: dict[str, Callable[[Job], Awaitable[object]]] = {
        "completed": lambda job: jobs.execution.complete(job, Completed(text="x"), []),
        "failed": lambda job: jobs.execution.fail(job, REFUSED),
        "cancelled": lambda job: jobs.cancel("ann", job.id),
    }
    for status, end in endings.items():
        job = await claimed_job(jobs)
        await end(job)
        with pytest.raises(Conflict):
            await jobs.cancel("ann", job.id)
        assert (await jobs.find("ann", job.id)).status == status


async def test_of_a_concurrent_cancel_and_outcome_exactly_one_wins(jobs: Jobs) -> None:
    for _ in range(20):
        job = await claimed_job(jobs, new_job(kind=Kind.TEXT))
        results = await asyncio.gather(
            jobs.execution.complete(job, Completed(text="x"), []), jobs.cancel("ann", job.id), return_exceptions=True
        )
        found = await jobs.find("ann", job.id)
        if found.status is JobStatus.COMPLETED:
            assert isinstance(results[1], Conflict)
        else:
            assert found.status is JobStatus.CANCELLED
            assert found.text is None
        assert jobs.live.find(job.id) is None


async def test_a_job_past_its_deadline_is_failed(jobs: Jobs) -> None:
    job = await claimed_job(jobs)
    started = clock.now() - timedelta(seconds=1801)
    await jobs.execution.record_progress(msgspec.structs.replace(job, started_at=started), polled())
    found = await jobs.find("ann", job.id)
    assert found.error is not None
    assert found.error.code is ErrorCode.TIMED_OUT


async def test_a_retry_is_a_new_job_linked_to_the_old_one(jobs: Jobs) -> None:
    job = await claimed_job(jobs, new_job(params={"duration": 4}, system_prompt="be brief"))
    await jobs.execution.fail(job, REFUSED)
    retried = (await jobs.retry("ann", job.id)).job
    assert retried.id != job.id
    assert (retried.retry_of, retried.status, retried.attempts) == (job.id, JobStatus.QUEUED, 0)
    assert (retried.prompt, retried.params, retried.system_prompt) == (job.prompt, job.params, job.system_prompt)
    assert retried.upstream_job is None


async def test_a_retry_after_a_full_disk_fetches_the_paid_result(jobs: Jobs) -> None:
    job = await claimed_job(jobs)
    await jobs.execution.record_progress(job, polled())
    await jobs.execution.fail(job, Failed(code=ErrorCode.STORAGE_FULL, message="The disk is full."))
    retried = (await jobs.retry("ann", job.id)).job
    assert retried.upstream_job == UPSTREAM_JOB


async def test_only_a_failed_or_cancelled_job_can_be_retried(jobs: Jobs) -> None:
    completed, processing = await claimed_job(jobs), await claimed_job(jobs)
    await jobs.execution.complete(completed, Completed(text="x"), [])
    queued = (await jobs.enqueue(new_job())).job
    for job, status in ((queued, "queued"), (processing, "processing"), (completed, "completed")):
        assert (await jobs.find("ann", job.id)).status == status
        with pytest.raises(Conflict):
            await jobs.retry("ann", job.id)


async def test_a_job_of_another_user_is_missing_exactly_like_an_unknown_id(jobs: Jobs) -> None:
    theirs = (await jobs.enqueue(new_job(owner="bob"))).job
    messages = []
    for id in (theirs.id, "invented"):
        for method in (jobs.find, jobs.cancel, jobs.retry, jobs.delete):
            with pytest.raises(Missing) as missing:
                await method("ann", id)
            messages.append(missing.value.message)
    assert len(set(messages)) == 1
    assert (await jobs.find("bob", theirs.id)).status is JobStatus.QUEUED


async def test_waiting_ends_when_the_job_does(jobs: Jobs) -> None:
    job = await claimed_job(jobs, new_job(kind=Kind.TEXT))
    waiting = asyncio.create_task(jobs.wait("ann", job.id, 300))
    await asyncio.sleep(0)
    await jobs.execution.complete(job, Completed(text="x"), [])
    assert (await waiting).status is JobStatus.COMPLETED


async def test_waiting_returns_the_unfinished_job_after_its_time(jobs: Jobs) -> None:
    job = (await jobs.enqueue(new_job())).job
    assert (await jobs.wait("ann", job.id, 0.01)).status is JobStatus.QUEUED


async def test_a_deleted_job_is_missing_until_it_is_restored(jobs: Jobs) -> None:
    job = await claimed_job(jobs)
    with pytest.raises(Conflict, match="still in progress"):
        await jobs.delete("ann", job.id)
    await jobs.execution.complete(job, Completed(text="x", cost_nano=7), [])
    await jobs.delete("ann", job.id)
    with pytest.raises(Missing):
        await jobs.find("ann", job.id)
    assert (await jobs.newest("ann")).items == []
    assert (await jobs.restore("ann", job.id)).cost_nano == 7


async def test_a_list_is_newest_first_filtered_by_kind_and_status_in_pages(jobs: Jobs) -> None:
    videos = [(await jobs.enqueue(new_job())).job.id for _ in range(5)]
    text = (await jobs.enqueue(new_job(kind=Kind.TEXT))).job
    await jobs.enqueue(new_job(owner="bob"))
    page = await jobs.newest("ann", kinds=[Kind.VIDEO], limit=2)
    assert ([job.id for job in page.items], page.total) == (videos[:2:-1], 5)
    rest = await jobs.newest("ann", kinds=[Kind.VIDEO], before=page.next, limit=10)
    assert ([job.id for job in rest.items], rest.next) == (videos[2::-1], None)
    assert [job.id for job in (await jobs.newest("ann", kinds=[Kind.TEXT])).items] == [text.id]
    assert (await jobs.newest("ann", statuses=[JobStatus.FAILED])).items == []


async def test_polling_the_card_of_an_unfinished_job_reads_nothing_from_the_database(
    jobs: Jobs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await claimed_job(jobs)
    await jobs.find("ann", job.id)  # loads the durations of earlier jobs

    async def refuse(*_: object) -> None:
        raise AssertionError("the database was read")

    monkeypatch.setattr(database, "read", refuse)
    assert (await jobs.find("ann", job.id)).status is JobStatus.PROCESSING


async def test_the_database_rejects_an_ended_job_without_an_end_time(database: Database, jobs: Jobs) -> None:
    job = (await jobs.enqueue(new_job())).job
    with pytest.raises(Exception, match="CHECK"):
        await database.write(lambda tx: tx.execute("jobs", "update jobs set status = 'failed' where id = $1", job.id))
    assert (await database.read(list_repository.unfinished_any))[0].status is JobStatus.QUEUED
