"""A job's timeline stores event codes and details, and every event has a sentence."""

from datetime import datetime

from app.jobs import timeline
from app.jobs.schemas import CancelStage, EventType, Job, JobEvent, LateResultPolicy
from app.jobs.service import Jobs
from app.providers.contract import Completed, ErrorCode, Failed, Pending, Retryable, UpstreamJob
from tests.jobs.conftest import FakeClock, OpenJobs, StoppableProvider, new_job

BUSY = Retryable(code=ErrorCode.PROVIDER_UNREACHABLE, message="The provider is busy.", wait=180)
DISK_FULL = Failed(code=ErrorCode.STORAGE_FULL, message="The disk is full.")
DONE = Completed(text="a text", cost_nano=5)


def polled(job: Job, state: str) -> Pending:
    """A poll outcome with this upstream state."""
    return Pending(upstream_job=UpstreamJob(f"upstream {job.id}"), state=state)


def line(event: EventType, **detail: object) -> timeline.TimelineEntry:
    return timeline.entry(JobEvent(at=datetime(2026, 11, 20, 12, 0), event=event, detail=detail))


async def codes(jobs: Jobs, job: Job) -> list[str]:
    return [event.event for event in await jobs.events(job.owner_id, job.id)]


async def submitted(jobs: Jobs, job: Job | None = None) -> Job:
    """A job that the provider has accepted."""
    await jobs.enqueue(job or new_job())
    (claimed,) = await jobs.execution.claim(1)
    await jobs.execution.record_progress(claimed, polled(claimed, "pending"))
    return jobs.live.snapshot().unfinished[claimed.id]


def test_every_event_and_every_stage_of_a_cancellation_has_a_sentence() -> None:
    assert [*timeline.SENTENCES] == [*EventType]
    assert all(sentence for sentence, _ in timeline.SENTENCES.values())
    assert [*timeline.CANCEL_STAGES] == [*CancelStage]
    assert all(timeline.CANCEL_STAGES.values())


def test_the_line_of_an_event_is_filled_in_from_its_detail() -> None:
    assert line(EventType.COMPLETED) == ("Completed", "")
    assert line(EventType.STARTED, attempt=2) == ("Started", "attempt 2")
    assert line(EventType.SUBMITTED, state="pending") == ("Submitted to the provider", "status: pending")
    assert line(EventType.FAILED, code="TIMED_OUT", message="Too {slow}.") == ("Failed", "Too {slow}.")
    assert line(EventType.CANCELLED, stage="not_submitted") == ("Cancelled", "before it was submitted")
    retry = line(EventType.RETRY_SCHEDULED, run_at="2026-11-20T12:03:00.000Z", code="TIMED_OUT", message="It is busy.")
    assert retry == ("Retry scheduled for 12:03:00", "It is busy.")


async def test_the_timeline_has_the_events_of_a_job_in_order_and_for_its_owner_only(jobs: Jobs) -> None:
    job = await submitted(jobs)
    await jobs.execution.record_progress(job, polled(job, "in_progress"))
    await jobs.execution.mark_downloaded(job)
    await jobs.execution.complete(job, DONE, [])
    assert [(event.event, event.detail) for event in await jobs.events("ann", job.id)] == [
        ("queued", {}),
        ("started", {"attempt": 1}),
        ("submitted", {"state": "pending"}),
        ("progressed", {"state": "in_progress"}),
        ("downloaded", {}),
        ("completed", {}),
    ]
    assert await jobs.events("bob", job.id) == []


async def test_the_timeline_of_a_retried_job_says_when_and_why(jobs: Jobs, fake_clock: FakeClock) -> None:
    await jobs.enqueue(new_job())
    (job,) = await jobs.execution.claim(1)
    await jobs.execution.schedule_retry(job, BUSY)
    fake_clock.advance(180)
    (job,) = await jobs.execution.claim(1)
    await jobs.execution.record_progress(job, polled(job, "pending"))
    await jobs.execution.fail(job, DISK_FULL)
    events = await jobs.events("ann", job.id)
    assert [event.event for event in events] == [
        "queued",
        "started",
        "retry_scheduled",
        "started",
        "submitted",
        "failed",
    ]
    assert events[2].detail == {
        "run_at": fake_clock.now().isoformat(timespec="milliseconds") + "Z",
        "code": "PROVIDER_UNREACHABLE",
        "message": "The provider is busy.",
    }
    assert events[3].detail == {"attempt": 2}
    assert events[5].detail == {"code": "STORAGE_FULL", "message": "The disk is full."}
    retry = (await jobs.retry("ann", job.id)).job
    await jobs.execution.claim(1)
    assert await codes(jobs, retry) == ["queued", "result_requested"], "nothing is submitted again"


async def test_every_event_that_the_service_writes_has_the_detail_that_its_sentence_needs(
    jobs: Jobs, open_jobs: OpenJobs
) -> None:
    finished = await submitted(jobs)
    await jobs.execution.record_progress(finished, polled(finished, "in_progress"))
    await jobs.execution.mark_downloaded(finished)
    await jobs.execution.complete(finished, DONE, [])

    not_submitted = (await jobs.enqueue(new_job())).job
    await jobs.user_queue.pause("ann", not_submitted.id, True)
    await jobs.user_queue.pause("ann", not_submitted.id, False)
    await jobs.cancel("ann", not_submitted.id)
    assert (await jobs.events("ann", not_submitted.id))[-1].detail == {"stage": "not_submitted"}

    kept = await submitted(jobs)
    await jobs.cancel("ann", kept.id, LateResultPolicy.KEEP)
    assert (await jobs.events("ann", kept.id))[-1].detail == {"stage": "submitted"}
    await jobs.execution.complete(kept, DONE, [])
    assert (await codes(jobs, kept))[-1] == "late_result_recorded"

    given_up = await submitted(jobs)
    await jobs.cancel("ann", given_up.id)
    await jobs.execution.fail(given_up, DISK_FULL)
    assert (await codes(jobs, given_up))[-1] == "follow_up_ended"

    unavailable = await submitted(jobs)
    await jobs.execution.schedule_retry(unavailable, BUSY)
    failed = await submitted(jobs)
    await jobs.execution.fail(failed, DISK_FULL)
    retry = (await jobs.retry("ann", failed.id)).job
    await jobs.execution.claim(1)

    stoppable = open_jobs({"stoppable": StoppableProvider()})
    stopped = await submitted(stoppable, new_job(provider="stoppable"))
    await stoppable.cancel("ann", stopped.id)
    assert (await codes(jobs, stopped))[-1] == "cancel_requested"
    await stoppable.execution.fail(stopped, DISK_FULL)
    assert (await jobs.events("ann", stopped.id))[-1].detail == {"stage": "stopped"}
    too_late = await submitted(stoppable, new_job(provider="stoppable"))
    await stoppable.cancel("ann", too_late.id)
    await stoppable.execution.complete(too_late, DONE, [])
    assert (await jobs.events("ann", too_late.id))[-1].detail == {"stage": "finished"}

    recovered = await submitted(jobs)
    await open_jobs().execution.rescue()
    assert (await codes(jobs, recovered))[-1] == "recovered"

    everything = (finished, not_submitted, kept, given_up, unavailable, failed, retry, stopped, too_late, recovered)
    events = [event for job in everything for event in await jobs.events("ann", job.id)]
    # MOVED needs two providers with the same model: see `tests/provider_accounts/test_fallback.py`.
    assert {event.event for event in events} == {*EventType} - {EventType.MOVED}
    assert all(timeline.entry(event).sentence for event in events)
