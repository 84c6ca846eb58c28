"""What may follow what in a job's life, and that a restart forgets nothing."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from app.base import clock
from app.base.database import Database
from app.base.errors import Conflict, Missing
from app.jobs import repository, service
from app.jobs.schemas import Job, Status
from app.jobs.service import Jobs
from app.providers.contract import Again, Done, ErrorCode, Kind, Later, Never, Ticket
from tests.jobs.conftest import Reopen, a_job

TICKET = Ticket("up-1", "/api/v1/videos/up-1")
REFUSED = Never(code=ErrorCode.PROVIDER_REFUSED, message="The provider refused this prompt.")
BUSY = Again(code=ErrorCode.PROVIDER_UNREACHABLE, message="The provider is busy.")


def _later(state: str = "pending", progress: int | None = None) -> Later:
    return Later(ticket=TICKET, state=state, progress=progress)


async def _claimed(jobs: Jobs, job: Job | None = None) -> Job:
    await jobs.enqueue(job or a_job())
    (claimed,) = await jobs.claim(1)
    return claimed


async def test_an_accepted_job_is_on_disk_and_survives_a_restart(jobs: Jobs, reopen: Reopen) -> None:
    job = (await jobs.enqueue(a_job(params={"duration": 4}))).job
    again = reopen()
    await again.rescue()
    found = await again.find("ann", job.id)
    assert msgspec.structs.replace(found, outlook=job.outlook) == job
    assert again.waiting()


async def test_jobs_are_claimed_oldest_first_and_only_once(jobs: Jobs) -> None:
    ids = [(await jobs.enqueue(a_job())).job.id for _ in range(5)]
    first = [job.id for job in await jobs.claim(3)]
    second = [job.id for job in await jobs.claim(3)]
    assert (first, second) == (ids[:3], ids[3:])
    assert await jobs.claim(3) == []


async def test_claiming_counts_as_an_attempt_and_polling_does_not(jobs: Jobs) -> None:
    job = await _claimed(jobs)
    assert (job.status, job.attempts) == (Status.PROCESSING, 1)
    for state in ("pending", "in_progress", "in_progress"):
        await jobs.go_on(jobs.current(job.id) or job, _later(state))
    polled = await jobs.find("ann", job.id)
    assert (polled.attempts, polled.upstream_state, polled.ticket) == (1, "in_progress", TICKET)


async def test_a_ticket_is_on_disk_before_anything_else_is_done_with_it(jobs: Jobs, reopen: Reopen) -> None:
    job = await _claimed(jobs)
    await jobs.go_on(job, _later())
    again = reopen()
    await again.rescue()
    assert [polled.ticket for polled in again.to_poll(9)] == []  # not due yet
    restarted = again.current(job.id)
    assert restarted is not None
    assert restarted.ticket == TICKET
    assert restarted.due is not None


async def test_after_a_kill_a_submit_of_unknown_fate_is_failed_and_never_sent_again(jobs: Jobs, reopen: Reopen) -> None:
    job = await _claimed(jobs)
    again = reopen()
    await again.rescue()
    found = await again.find("ann", job.id)
    assert found.status is Status.FAILED
    assert found.error is not None
    assert found.error.code is ErrorCode.OUTCOME_UNKNOWN
    assert "not sent again" in found.error.message
    assert not again.waiting()
    assert await again.claim(10) == []


async def test_what_did_not_happen_is_tried_again_later_and_given_up_after_the_last_attempt(jobs: Jobs) -> None:
    job = await _claimed(jobs)
    waits = []
    for attempt in range(1, service.ATTEMPTS[Kind.VIDEO]):
        await jobs.again(job, BUSY)
        waiting = await jobs.find("ann", job.id)
        assert (waiting.status, waiting.attempts) == (Status.QUEUED, attempt)
        assert waiting.due is not None
        waits.append((waiting.due - clock.now()).total_seconds())
        assert not jobs.waiting(), "it is not due yet"
        assert await jobs.claim(1) == []
        await _make_due(jobs, waiting)
        (job,) = await jobs.claim(1)
    await jobs.again(job, BUSY)
    failed = await jobs.find("ann", job.id)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error.code is ErrorCode.PROVIDER_UNREACHABLE
    assert waits == sorted(waits), "each wait is longer than the one before"


async def test_what_was_put_off_after_a_poll_is_not_polled_while_it_waits(jobs: Jobs) -> None:
    job = await _claimed(jobs)
    await jobs.go_on(job, _later())
    assert jobs._rounds.next_due() is not None
    await jobs.again(jobs.current(job.id) or job, BUSY)
    assert jobs._rounds.next_due() is None


async def test_the_providers_own_wish_to_wait_is_honoured(jobs: Jobs) -> None:
    job = await _claimed(jobs)
    await jobs.again(job, msgspec.structs.replace(BUSY, wait=90))
    due = (await jobs.find("ann", job.id)).due
    assert due is not None
    assert (due - clock.now()).total_seconds() > 80


async def test_a_completed_job_keeps_its_text_and_cost(jobs: Jobs) -> None:
    job = await _claimed(jobs, a_job(kind=Kind.TEXT))
    await jobs.complete(job, Done(text="Once upon a time", cost_nano=6_100_000), [])
    done = await jobs.find("ann", job.id)
    assert (done.status, done.text, done.cost_nano, done.progress) == (
        Status.COMPLETED,
        "Once upon a time",
        6_100_000,
        100,
    )
    assert done.ended_at is not None
    assert done.seconds is not None


async def test_an_unknown_cost_stays_unknown(jobs: Jobs) -> None:
    job = await _claimed(jobs, a_job(kind=Kind.TEXT))
    await jobs.complete(job, Done(text="x"), [])
    assert (await jobs.find("ann", job.id)).cost_nano is None


@pytest.mark.parametrize("late", ["complete", "fail", "again", "go_on"])
async def test_a_late_answer_never_overturns_a_cancel(jobs: Jobs, late: str) -> None:
    job = await _claimed(jobs)
    await jobs.cancel("ann", job.id)
    answers = {"complete": Done(text="late", cost_nano=5), "fail": REFUSED, "again": BUSY, "go_on": _later()}
    if late == "complete":
        await jobs.complete(job, Done(text="late", cost_nano=5), [])
    else:
        await getattr(jobs, late)(job, answers[late])
    found = await jobs.find("ann", job.id)
    assert (found.status, found.text, found.error) == (Status.CANCELLED, None, None)
    assert jobs.current(job.id) is None
    assert await jobs.claim(10) == []


async def test_what_a_cancelled_job_turns_out_to_have_cost_is_still_settled(jobs: Jobs) -> None:
    job = await _claimed(jobs)
    await jobs.cancel("ann", job.id)
    await jobs.complete(job, Done(text="late", cost_nano=5), [])
    assert (await jobs.find("ann", job.id)).cost_nano == 5


@pytest.mark.parametrize("ending", ["complete", "fail", "cancel"])
async def test_a_final_job_cannot_be_cancelled(jobs: Jobs, ending: str) -> None:
    job = await _claimed(jobs)
    if ending == "complete":
        await jobs.complete(job, Done(text="x"), [])
    elif ending == "fail":
        await jobs.fail(job, REFUSED)
    else:
        await jobs.cancel("ann", job.id)
    with pytest.raises(Conflict):
        await jobs.cancel("ann", job.id)


async def test_a_cancel_and_an_answer_at_the_same_moment_have_one_winner(jobs: Jobs) -> None:
    for _ in range(20):
        job = await _claimed(jobs, a_job(kind=Kind.TEXT))
        results = await asyncio.gather(
            jobs.complete(job, Done(text="x"), []), jobs.cancel("ann", job.id), return_exceptions=True
        )
        found = await jobs.find("ann", job.id)
        if found.status is Status.COMPLETED:
            assert isinstance(results[1], Conflict)
        else:
            assert found.status is Status.CANCELLED
            assert found.text is None
        assert jobs.current(job.id) is None


async def test_a_job_past_its_deadline_is_failed(jobs: Jobs) -> None:
    job = await _claimed(jobs)
    started = clock.now() - timedelta(seconds=1801)
    await jobs.go_on(msgspec.structs.replace(job, started_at=started), _later())
    found = await jobs.find("ann", job.id)
    assert found.error is not None
    assert found.error.code is ErrorCode.TIMED_OUT


async def test_a_retry_is_a_new_job_linked_to_the_old_one(jobs: Jobs) -> None:
    job = await _claimed(jobs, a_job(params={"duration": 4}, system_prompt="be brief"))
    await jobs.fail(job, REFUSED)
    retried = (await jobs.retry("ann", job.id)).job
    assert retried.id != job.id
    assert (retried.retry_of, retried.status, retried.attempts) == (job.id, Status.QUEUED, 0)
    assert (retried.prompt, retried.params, retried.system_prompt) == (job.prompt, job.params, job.system_prompt)
    assert retried.ticket is None


async def test_a_retry_after_a_full_disk_asks_for_the_result_that_was_paid_for(jobs: Jobs) -> None:
    job = await _claimed(jobs)
    await jobs.go_on(job, _later())
    await jobs.fail(job, Never(code=ErrorCode.STORAGE_FULL, message="The disk is full."))
    retried = (await jobs.retry("ann", job.id)).job
    assert retried.ticket == TICKET


@pytest.mark.parametrize("status", ["queued", "processing", "completed"])
async def test_only_a_failed_or_cancelled_job_can_be_retried(jobs: Jobs, status: str) -> None:
    job = (await jobs.enqueue(a_job())).job if status == "queued" else await _claimed(jobs)
    if status == "completed":
        await jobs.complete(job, Done(text="x"), [])
    with pytest.raises(Conflict):
        await jobs.retry("ann", job.id)


async def test_a_strangers_job_is_missing_exactly_like_an_invented_one(jobs: Jobs) -> None:
    theirs = (await jobs.enqueue(a_job(owner="bob"))).job
    messages = []
    for id in (theirs.id, "invented"):
        for verb in (jobs.find, jobs.cancel, jobs.retry, jobs.delete):
            with pytest.raises(Missing) as missing:
                await verb("ann", id)
            messages.append(missing.value.message)
    assert len(set(messages)) == 1
    assert (await jobs.find("bob", theirs.id)).status is Status.QUEUED


async def test_waiting_ends_when_the_job_does(jobs: Jobs) -> None:
    job = await _claimed(jobs, a_job(kind=Kind.TEXT))
    waiting = asyncio.create_task(jobs.wait("ann", job.id, 30))
    await asyncio.sleep(0)
    await jobs.complete(job, Done(text="x"), [])
    async with asyncio.timeout(5):
        assert (await waiting).status is Status.COMPLETED


async def test_waiting_gives_back_the_unfinished_job_after_its_time(jobs: Jobs) -> None:
    job = (await jobs.enqueue(a_job())).job
    assert (await jobs.wait("ann", job.id, 0.01)).status is Status.QUEUED


async def test_a_deleted_job_is_gone_until_it_is_brought_back(jobs: Jobs) -> None:
    job = await _claimed(jobs)
    with pytest.raises(Conflict, match="still being made"):
        await jobs.delete("ann", job.id)
    await jobs.complete(job, Done(text="x", cost_nano=7), [])
    await jobs.delete("ann", job.id)
    with pytest.raises(Missing):
        await jobs.find("ann", job.id)
    assert (await jobs.newest("ann")).items == []
    assert (await jobs.restore("ann", job.id)).cost_nano == 7


async def test_lists_are_newest_first_by_kind_and_state_in_pages(jobs: Jobs) -> None:
    videos = [(await jobs.enqueue(a_job())).job.id for _ in range(5)]
    text = (await jobs.enqueue(a_job(kind=Kind.TEXT))).job
    await jobs.enqueue(a_job(owner="bob"))
    page = await jobs.newest("ann", kinds=[Kind.VIDEO], limit=2)
    assert ([job.id for job in page.items], page.total) == (videos[:2:-1], 5)
    rest = await jobs.newest("ann", kinds=[Kind.VIDEO], before=page.next, limit=10)
    assert ([job.id for job in rest.items], rest.next) == (videos[2::-1], None)
    assert [job.id for job in (await jobs.newest("ann", kinds=[Kind.TEXT])).items] == [text.id]
    assert (await jobs.newest("ann", statuses=[Status.FAILED])).items == []


async def test_a_card_that_polls_costs_no_database_read(
    jobs: Jobs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await _claimed(jobs)
    await jobs.find("ann", job.id)  # the first question learns what such jobs took before

    async def refuse(*_: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(database, "read", refuse)
    assert (await jobs.find("ann", job.id)).status is Status.PROCESSING


async def test_the_timeline_says_what_happened_in_order(jobs: Jobs) -> None:
    job = await _claimed(jobs)
    await jobs.go_on(job, _later("pending"))
    await jobs.go_on(jobs.current(job.id) or job, _later("in_progress"))
    await jobs.fail(job, REFUSED)
    events = await jobs.events("ann", job.id)
    assert [event.what for event in events] == ["queued", "started", "submitted", "polled", "failed"]
    assert await jobs.events("bob", job.id) == []


async def test_the_database_itself_refuses_an_end_without_a_time(database: Database, jobs: Jobs) -> None:
    job = (await jobs.enqueue(a_job())).job
    with pytest.raises(Exception, match="CHECK"):
        await database.write(lambda tx: tx.execute("update jobs set status = 'failed' where id = $1", job.id))
    assert (await database.read(repository.unfinished_any))[0].status is Status.QUEUED


async def _make_due(jobs: Jobs, job: Job) -> None:
    """Let the time pass."""
    early = clock.now() - timedelta(seconds=1)
    await jobs._database.write(lambda tx: tx.execute("update jobs set due = $2 where id = $1", job.id, early))
    jobs._keep(msgspec.structs.replace(job, due=early))
