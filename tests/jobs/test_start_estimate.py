"""When a queued job will be started, as far as past jobs tell."""

from datetime import datetime, timedelta

from app.jobs.scheduler import MAX_RUNNING_PER_USER, MAX_SENDING_PER_USER
from app.jobs.schemas import Job
from app.jobs.service import Jobs
from app.jobs.start_estimate import starts_at
from app.providers.contract import Completed, Kind, Pending, UpstreamJob
from tests.jobs.conftest import FakeClock, new_job
from tests.kit import Cases

NOW = datetime(2026, 12, 1, 10)


def test_a_job_starts_when_enough_of_those_before_it_have_ended() -> None:
    table: list[tuple[str, list[int], int, int, float | None, float | None]] = [
        # seconds until each running job ends, slots, jobs ahead, seconds that each takes, seconds until the start
        ("nothing runs", [], 2, 0, None, 0),
        ("there is one more slot", [30], 2, 0, None, 0),
        ("all slots are in use", [30, 50], 2, 0, 60, 30),
        ("one is ahead", [30, 50], 2, 1, 60, 50),
        ("two are ahead", [30, 50], 2, 2, 60, 90),
        ("five are ahead", [30, 50], 2, 5, 60, 170),
        ("those ahead fill the free slots", [], 2, 2, 60, 60),
        ("a running job is overdue", [-20, 50], 2, 0, 60, 0),
        ("nothing is known of the model", [30, 50], 2, 0, None, None),
        ("the estimate is rounded up", [23, 50], 2, 0, 60, 30),
    ]
    with Cases() as cases:
        for name, ends, slots, ahead, seconds, expected in table:
            with cases.case(name):
                found = starts_at(NOW, [NOW + timedelta(seconds=end) for end in ends], slots, ahead, seconds)
                assert found == (None if expected is None else NOW + timedelta(seconds=expected))


async def completed(jobs: Jobs, clock: FakeClock, seconds: float, kind: Kind = Kind.VIDEO) -> None:
    """As many past jobs as an estimate needs, each of which took so long."""
    for _ in range(3):
        await jobs.enqueue(new_job("eve", kind))
    for job in await jobs.execution.claim(3):
        clock.advance(seconds)
        await jobs.execution.complete(job, Completed(text="x"), [])
        clock.advance(-seconds)


async def queued(jobs: Jobs, number: int, kind: Kind = Kind.VIDEO) -> list[Job]:
    return [(await jobs.enqueue(new_job(kind=kind))).job for _ in range(number)]


async def test_a_user_who_has_as_many_running_jobs_as_allowed_sees_when_the_next_one_starts(
    jobs: Jobs, fake_clock: FakeClock
) -> None:
    await completed(jobs, fake_clock, 60)
    await queued(jobs, MAX_RUNNING_PER_USER)
    for number, job in enumerate(await jobs.execution.claim(MAX_RUNNING_PER_USER)):
        await jobs.execution.record_progress(job, Pending(upstream_job=UpstreamJob(f"up-{number}"), state="pending"))
    fake_clock.advance(20)
    first, *_, last = await queued(jobs, MAX_RUNNING_PER_USER + 1)
    waits = []
    for job in (first, last):
        estimate = (await jobs.find("ann", job.id)).estimate
        assert estimate.median == 60
        assert estimate.starts_at is not None
        waits.append((estimate.starts_at - fake_clock.now()).total_seconds())
    assert 40 <= waits[0] < 50
    assert 100 <= waits[1] < 110


async def test_a_provider_that_answers_at_once_does_not_keep_the_next_job_waiting(
    jobs: Jobs, fake_clock: FakeClock
) -> None:
    """Images are carried out while they are sent, unless the provider has a queue of its own."""
    await completed(jobs, fake_clock, 60, Kind.IMAGE)
    await queued(jobs, MAX_SENDING_PER_USER, Kind.IMAGE)
    sent, *_ = await jobs.execution.claim(MAX_SENDING_PER_USER)
    (job,) = await queued(jobs, 1, Kind.IMAGE)
    waits = (await jobs.find("ann", job.id)).estimate.starts_at
    assert waits is not None
    assert waits > fake_clock.now()
    await jobs.execution.record_progress(sent, Pending(upstream_job=UpstreamJob("up"), state="pending"))
    starts = (await jobs.find("ann", job.id)).estimate.starts_at
    assert starts is not None
    assert starts <= fake_clock.now()
