"""Cancellation: before the submit, at a provider that can cancel, and too late. In the last case the cost is still
recorded, and the result is kept or discarded as the user chose. A late outcome never changes a cancelled job's
status."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from app.base import clock
from app.base.errors import Conflict
from app.db.database import Database
from app.jobs.schemas import Job, JobStatus, LateResultPolicy
from app.jobs.service import Jobs
from app.library.schemas import Asset, AssetKind, Origin
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Outcome, Pending, Retryable, UpstreamJob
from app.services import Application
from tests.jobs.conftest import FakeClock, OpenJobs, StoppableProvider, new_job
from tests.kit import (
    IMAGE_MODEL,
    SHORT_VIDEO,
    TEXT_MODEL,
    VIDEO_MODEL,
    Cases,
    Json,
    ended_job,
    eventually,
    new_email,
    read_job,
    submit_log,
    validation_error,
)
from tests.studio import Studio, running

UPSTREAM_JOB = UpstreamJob("up-1", "/api/v1/videos/up-1")
BUSY = Retryable(code=ErrorCode.PROVIDER_FAILED, message="The provider is busy.")
FAILED = Failed(code=ErrorCode.PROVIDER_FAILED, message="The provider failed.", cost_nano=3)
DONE = Completed(text="a text", cost_nano=5)


def pending(state: str = "pending") -> Pending:
    return Pending(upstream_job=UPSTREAM_JOB, state=state)


async def submitting(jobs: Jobs, job: Job | None = None) -> Job:
    """A job that is being submitted: the provider has not answered."""
    await jobs.enqueue(job or new_job())
    (claimed,) = await jobs.execution.claim(1)
    return claimed


async def accepted(jobs: Jobs, job: Job | None = None) -> Job:
    """A video that the provider has accepted."""
    claimed = await submitting(jobs, job)
    await jobs.execution.record_progress(claimed, pending())
    current = jobs.live.find(claimed.id)
    assert current is not None
    return current


async def settlements(database: Database, job: Job) -> list[tuple[str, int | None]]:
    """The ledger entries of this job after its hold."""
    rows = await database.read(
        lambda tx: tx.rows(
            "ledger", "select entry, spent_nano from ledger where subject_id = $1 order by happened_at", job.id
        )
    )
    return [(row["entry"], row["spent_nano"]) for row in rows[1:]]


def asset_of(job: Job) -> Asset:
    return Asset(
        id=f"asset of {job.id}",
        owner_id=job.owner_id,
        kind=AssetKind.VIDEO,
        origin=Origin.GENERATED,
        mime="video/mp4",
        bytes=1,
        width=1,
        height=1,
        key="aa/bb/clip.mp4",
        job_id=job.id,
        created_at=clock.now(),
    )


# Before the submit


async def test_a_job_cancelled_in_the_queue_costs_nothing(jobs: Jobs, database: Database) -> None:
    job = (await jobs.enqueue(new_job())).job
    cancelled = await jobs.cancel("ann", job.id)
    assert (cancelled.status, cancelled.cost_nano) == (JobStatus.CANCELLED, 0)
    assert await settlements(database, job) == [("settlement", 0)]
    assert await jobs.execution.claim(5) == []


# During the submit


async def test_a_video_cancelled_during_its_submit_is_polled_until_its_cost_is_known(
    jobs: Jobs, database: Database
) -> None:
    for late in LateResultPolicy:
        job = await submitting(jobs)
        assert (await jobs.cancel("ann", job.id, late)).status is JobStatus.CANCELLED
        await jobs.execution.record_progress(job, pending())
        (waiting,) = jobs.live.snapshot().awaiting_late_result.values()
        assert (waiting.id, waiting.upstream_job) == (job.id, UPSTREAM_JOB)
        await jobs.execution.complete(waiting, DONE, [asset_of(job)])
        found = await jobs.find("ann", job.id)
        assert (found.status, found.cost_nano, len(found.assets)) == (
            JobStatus.CANCELLED,
            5,
            int(late is LateResultPolicy.KEEP),
        )
        assert await settlements(database, job) == [("settlement", None), ("correction", 5)]
        assert jobs.live.next_due() is None


async def test_a_video_cancelled_during_its_submit_is_polled_after_a_restart_too(
    jobs: Jobs, open_jobs: OpenJobs
) -> None:
    job = await submitting(jobs)
    await jobs.cancel("ann", job.id, LateResultPolicy.KEEP)
    await jobs.execution.record_progress(job, pending())
    restarted = open_jobs()
    await restarted.execution.rescue()
    (waiting,) = restarted.live.to_poll(10)
    assert (waiting.id, waiting.upstream_job) == (job.id, UPSTREAM_JOB)
    assert await restarted.execution.complete(waiting, DONE, [asset_of(job)])
    found = await restarted.find("ann", job.id)
    assert (found.status, found.cost_nano, len(found.assets)) == (JobStatus.CANCELLED, 5, 1)


async def test_a_cancelled_job_whose_submit_fails_costs_nothing(jobs: Jobs, database: Database) -> None:
    job = await submitting(jobs)
    await jobs.cancel("ann", job.id)
    await jobs.execution.schedule_retry(job, BUSY)
    found = await jobs.find("ann", job.id)
    assert (found.status, found.cost_nano) == (JobStatus.CANCELLED, 0)
    assert await settlements(database, job) == [("settlement", None), ("correction", 0)]


async def test_a_cancelled_submit_that_a_crash_interrupted_is_not_awaited_after_the_restart(
    jobs: Jobs, open_jobs: OpenJobs
) -> None:
    """An image job has no upstream job to poll: its cost stays unknown, which is not zero."""
    job = await submitting(jobs, new_job(kind=Kind.IMAGE))
    await jobs.cancel("ann", job.id, LateResultPolicy.KEEP)
    restarted = open_jobs()
    await restarted.execution.rescue()
    found = await restarted.find("ann", job.id)
    assert (found.status, found.cost_nano, found.late_result_policy) == (JobStatus.CANCELLED, None, None)
    assert restarted.live.to_poll(10) == []


# After the submit, at a provider that cannot cancel


async def test_every_late_outcome_records_the_cost_once_and_ends_the_follow_up(jobs: Jobs, database: Database) -> None:
    for outcome, cost, text in ((DONE, 5, "a text"), (FAILED, 3, None), (BUSY, 0, None)):
        job = await accepted(jobs)
        await jobs.cancel("ann", job.id, LateResultPolicy.KEEP)
        for _ in range(2):  # twice, as after a restart between the response and its commit
            await answer(jobs, job, outcome)
            found = await jobs.find("ann", job.id)
            assert (found.status, found.error, found.late_result_policy) == (JobStatus.CANCELLED, None, None)
            assert (found.cost_nano, found.text) == (cost, text)
            assert await settlements(database, job) == [("settlement", None), ("correction", cost)]


async def test_a_late_result_without_a_price_leaves_the_cost_unknown(jobs: Jobs, database: Database) -> None:
    job = await accepted(jobs)
    await jobs.cancel("ann", job.id)
    await jobs.execution.complete(job, Completed(text="a text"), [])
    assert (await jobs.find("ann", job.id)).cost_nano is None
    assert await settlements(database, job) == [("settlement", None)]


async def test_the_deadline_ends_the_follow_up_of_a_cancelled_job(jobs: Jobs) -> None:
    job = await accepted(jobs)
    await jobs.cancel("ann", job.id, LateResultPolicy.KEEP)
    await jobs.execution.record_progress(
        msgspec.structs.replace(job, started_at=clock.now() - timedelta(seconds=1700)), pending()
    )
    assert jobs.live.next_due() is not None
    await jobs.execution.record_progress(
        msgspec.structs.replace(job, started_at=clock.now() - timedelta(seconds=1801)), pending()
    )
    assert jobs.live.next_due() is None
    found = await jobs.find("ann", job.id)
    assert (found.status, found.cost_nano, found.late_result_policy) == (JobStatus.CANCELLED, None, None)


async def test_a_late_result_of_a_deleted_job_is_not_kept(jobs: Jobs, database: Database) -> None:
    job = await accepted(jobs)
    await jobs.cancel("ann", job.id, LateResultPolicy.KEEP)
    await jobs.delete("ann", job.id)
    assert not await jobs.execution.complete(job, DONE, [asset_of(job)])
    assert await settlements(database, job) == [("settlement", None), ("correction", 5)]


async def test_an_outcome_for_an_ended_job_does_not_reopen_it(jobs: Jobs, database: Database) -> None:
    """An admin ends an overdue job while it is being polled; the poll then reports no change."""
    job = await accepted(jobs)
    assert await database.write(jobs.all.time_out, [job]) == 1
    assert await database.write(jobs.all.time_out, [job]) == 0
    await jobs.execution.record_progress(job, pending())
    assert jobs.live.find(job.id) is None
    assert jobs.live.to_poll(10) == []
    assert (await jobs.find("ann", job.id)).status is JobStatus.FAILED


# At a provider that can cancel


@pytest.fixture
def stoppable(open_jobs: OpenJobs) -> Jobs:
    return open_jobs({"stoppable": StoppableProvider()})


async def test_a_job_whose_provider_was_asked_to_stop_is_cancelled_when_the_provider_answers(
    stoppable: Jobs, database: Database
) -> None:
    for outcome, cost in ((FAILED, 3), (BUSY, 0)):
        job = await accepted(stoppable, new_job(provider="stoppable"))
        requested = await stoppable.cancel("ann", job.id)
        assert (requested.status, requested.cancel_requested, requested.run_at) == (JobStatus.PROCESSING, True, None)
        await answer(stoppable, job, outcome)
        found = await stoppable.find("ann", job.id)
        assert (found.status, found.error, found.cost_nano) == (JobStatus.CANCELLED, None, cost)
        assert await settlements(database, job) == [("settlement", cost)]
        with pytest.raises(Conflict):
            await stoppable.cancel("ann", job.id)


async def test_a_result_that_arrives_after_the_request_to_stop_is_kept_or_discarded_as_the_user_chose(
    stoppable: Jobs, database: Database
) -> None:
    for late, status in ((LateResultPolicy.KEEP, JobStatus.COMPLETED), (LateResultPolicy.DISCARD, JobStatus.CANCELLED)):
        job = await accepted(stoppable, new_job(provider="stoppable"))
        await stoppable.cancel("ann", job.id, late)
        kept = await stoppable.execution.complete(job, DONE, [asset_of(job)])
        found = await stoppable.find("ann", job.id)
        assert (kept, found.status) == (late is LateResultPolicy.KEEP, status)
        assert (found.cost_nano, len(found.assets)) == (5, int(kept))
        assert await settlements(database, job) == [("settlement", 5)]


async def test_a_poll_that_began_before_the_request_to_stop_does_not_undo_it(
    stoppable: Jobs, open_jobs: OpenJobs
) -> None:
    job = await accepted(stoppable, new_job(provider="stoppable"))
    await stoppable.cancel("ann", job.id)
    await stoppable.execution.record_progress(job, pending())
    current = stoppable.live.find(job.id)
    assert current is not None
    assert current.cancel_requested
    restarted = open_jobs()
    await restarted.execution.rescue()
    assert [found.cancel_requested for found in restarted.live.snapshot().unfinished.values()] == [True]


async def answer(jobs: Jobs, job: Job, outcome: Outcome) -> None:
    """Record an outcome as the worker does."""
    match outcome:
        case Completed():
            await jobs.execution.complete(job, outcome, [])
        case Failed():
            await jobs.execution.fail(job, outcome)
        case Retryable():
            await jobs.execution.schedule_retry(job, outcome)
        case Pending():
            await jobs.execution.record_progress(job, outcome)


# Over HTTP, with the worker and the simulator


@pytest_asyncio.fixture(scope="module")
async def studio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """A separate application for this file, because the tests pause its worker and count its files."""
    async with running(tmp_path_factory.mktemp("cancel")) as studio:
        yield studio


@pytest.fixture
async def ann(studio: Studio) -> httpx.AsyncClient:
    return await studio.user(new_email("ann"), direct=True)


@contextmanager
def paused(program: Application, monkeypatch: pytest.MonkeyPatch, method: str) -> Iterator[None]:
    """The worker finds nothing to `claim` or `to_poll` while the block runs."""
    jobs = program.jobs

    def nothing(_: int) -> list[Job]:
        return []

    async def nothing_async(limit: int) -> list[Job]:
        return nothing(limit)

    with monkeypatch.context() as patch:
        if method == "claim":
            patch.setattr(jobs.execution, method, nothing_async)
        else:
            patch.setattr(jobs.live, method, nothing)
        yield
    program.jobs.live.wake.set()


@contextmanager
def held_submits(
    program: Application, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Hold back the outcomes of submits until the second event is set; the first is set once one has arrived."""
    arrived, release = asyncio.Event(), asyncio.Event()
    provider = program.providers["openrouter"]
    submit = provider.submit

    async def held(*request: Any) -> Outcome:
        outcome = await submit(*request)
        arrived.set()
        await release.wait()
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(provider, "submit", held)
        try:
            yield arrived, release
        finally:
            release.set()


async def generate(client: httpx.AsyncClient, kind: str, prompt: str) -> Json:
    body = {
        "text": {"model": TEXT_MODEL, "prompt": prompt},
        "image": {"model": IMAGE_MODEL, "prompt": prompt},
        "video": {"model": VIDEO_MODEL, "prompt": prompt, **SHORT_VIDEO},
    }[kind]
    answer = await client.post(f"/api/v1/generate/{kind}", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    return job


async def submitted_video(studio: Studio, client: httpx.AsyncClient, prompt: str) -> Json:
    """A video that the provider has accepted."""
    job = await generate(client, "video", prompt)

    async def current() -> Job | None:
        return studio.program.jobs.live.find(job["id"])

    await eventually(current, lambda now: now is not None and now.upstream_job is not None)
    return job


async def with_cost(client: httpx.AsyncClient, job: Json) -> Json:
    """The job once its cost is known."""
    return await eventually(lambda: read_job(client, job["id"]), lambda now: now["cost_usd"] is not None)


def submits(studio: Studio, prompt: str) -> int:
    return sum(entry["prompt"] == prompt for entry in submit_log(studio))


def stored_files(studio: Studio) -> int:
    return sum(path.is_file() for path in studio.program.data_dir.media.rglob("*"))


async def stored_files_become(studio: Studio, count: int) -> None:
    """Wait until so many files are stored: two for each asset, itself and its thumbnail."""

    async def stored() -> int:
        return stored_files(studio)

    await eventually(stored, lambda now: now == count)


async def test_a_job_cancelled_in_the_queue_is_never_submitted(
    studio: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("image", "video"):
        with paused(studio.program, monkeypatch, "claim"):
            job = await generate(ann, kind, f"unwanted {kind}")
            answer = await ann.post(f"/api/v1/jobs/{job['id']}/cancel")
            assert (answer.status_code, answer.json()["status"], answer.json()["cost_usd"]) == (200, "cancelled", "0")
        await ended_job(ann, (await generate(ann, kind, f"[stamp] wanted {kind}"))["id"])
        assert (submits(studio, f"unwanted {kind}"), submits(studio, f"[stamp] wanted {kind}")) == (0, 1)


async def test_a_video_at_the_provider_is_cancelled_at_once_and_its_cost_is_recorded_later(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    for keep in (True, False):
        ann, before, prompt = (
            await studio.user(new_email("ann"), direct=True),
            stored_files(studio),
            f"[stamp] a video {keep}",
        )
        with paused(studio.program, monkeypatch, "to_poll"):
            job = await submitted_video(studio, ann, prompt)
            answer = await ann.post(f"/api/v1/generate/videos/{job['id']}/cancel", json={"keep_result": keep})
            assert answer.status_code == 200, answer.text
            cancelled = answer.json()
            assert (cancelled["status"], cancelled["cost_usd"], cancelled["assets"]) == ("cancelled", None, [])
        settled = await with_cost(ann, job)
        assert settled["status"] == "cancelled"
        assert float(settled["cost_usd"]) > 0
        assert len(settled["assets"]) == int(keep)
        assert (await ann.get("/api/v1/assets")).json()["total"] == int(keep)
        await stored_files_become(studio, before + 2 * int(keep))
        assert submits(studio, prompt) == 1
        if keep:
            assert (await ann.get(settled["assets"][0]["url"])).status_code == 200


async def test_an_image_at_the_provider_is_cancelled_at_once_and_its_cost_is_recorded_later(
    studio: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for keep in (True, False):
        before, prompt = stored_files(studio), f"[stamp] an image {keep}"
        with held_submits(studio.program, monkeypatch) as (arrived, release):
            job = await generate(ann, "image", prompt)
            await arrived.wait()
            answer = await ann.post(f"/api/v1/jobs/{job['id']}/cancel", json={"keep_result": keep})
            assert answer.json()["status"] == "cancelled"
            release.set()
            settled = await with_cost(ann, job)
        assert (settled["status"], len(settled["assets"])) == ("cancelled", int(keep))
        await stored_files_become(studio, before + 2 * int(keep))
        assert submits(studio, prompt) == 1


async def test_a_text_that_arrives_after_the_cancellation_is_kept_when_the_user_chose_so(
    studio: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_submits(studio.program, monkeypatch) as (arrived, release):
        body = {"model": TEXT_MODEL, "prompt": "a late text"}
        request = asyncio.create_task(ann.post("/api/v1/generate/text", json=body))
        await arrived.wait()
        [job] = (await ann.get("/api/v1/jobs")).json()["items"]
        await ann.post(f"/api/v1/jobs/{job['id']}/cancel", json={"keep_result": True})
        assert (await request).status_code == 502
        release.set()
        settled = await with_cost(ann, job)
    assert settled["status"] == "cancelled"
    assert settled["text"]


async def test_a_job_cancelled_between_its_start_and_its_submit_is_not_submitted(
    studio: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has claimed the job and waits for a temporary folder when the cancellation arrives."""
    reached, release = asyncio.Event(), asyncio.Event()
    files = studio.program.files
    folder = files.folder

    @asynccontextmanager
    async def held_folder() -> AsyncIterator[Path]:
        reached.set()
        await release.wait()
        async with folder() as path:
            yield path

    monkeypatch.setattr(files, "folder", held_folder)
    job = await generate(ann, "image", "cancelled before the submit")
    await reached.wait()
    assert (await read_job(ann, job["id"]))["status"] == "processing"
    assert (await ann.post(f"/api/v1/jobs/{job['id']}/cancel")).json()["status"] == "cancelled"
    release.set()
    settled = await with_cost(ann, job)
    assert (settled["status"], settled["cost_usd"]) == ("cancelled", "0")
    assert submits(studio, "cancelled before the submit") == 0


async def test_the_cost_of_a_cancelled_video_is_recorded_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as studio:
        ann = await studio.user(direct=True)
        with paused(studio.program, monkeypatch, "to_poll"):
            job = await submitted_video(studio, ann, "[stamp] a video")
            await ann.post(f"/api/v1/jobs/{job['id']}/cancel", json={"keep_result": True})
            await studio.program.worker.stop(0)
    async with running(tmp_path) as studio:
        ann = await studio.user(direct=True)
        settled = await with_cost(ann, job)
        assert (settled["status"], len(settled["assets"])) == ("cancelled", 1)
        assert submits(studio, "[stamp] a video") == 1


async def test_a_cost_that_never_arrives_is_not_awaited_beyond_the_deadline(
    studio: Studio, ann: httpx.AsyncClient, fake_clock: FakeClock
) -> None:
    job = await submitted_video(studio, ann, "[stuck] a video that never ends")
    await ann.post(f"/api/v1/jobs/{job['id']}/cancel", json={"keep_result": True})

    async def awaited() -> bool:
        fake_clock.advance(1)  # the next poll becomes due
        return job["id"] in studio.program.jobs.live.snapshot().awaiting_late_result

    assert await awaited()
    fake_clock.advance(studio.program.settings.job_timeout_seconds)
    await eventually(awaited, lambda still: not still)
    settled = await read_job(ann, job["id"])
    assert (settled["status"], settled["cost_usd"], settled["error"]) == ("cancelled", None, None)


async def test_the_page_offers_the_same_choice(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    for form in ({}, {"keep_result": "on"}):
        email = new_email("ann")
        browser, ann = await studio.user_in_browser(email, direct=True), await studio.user(email, direct=True)
        with paused(studio.program, monkeypatch, "to_poll"):
            job = await submitted_video(studio, ann, "[stamp] a video")
            answer = await browser.send_form(f"/jobs/{job['id']}/cancel", form)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job['id']}")
        settled = await with_cost(ann, job)
        assert (settled["status"], len(settled["assets"])) == ("cancelled", len(form))


async def test_an_invalid_body_is_rejected_and_cancels_nothing(
    studio: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Content-Type": "application/json"}
    with paused(studio.program, monkeypatch, "claim"), Cases() as cases:
        for path in ("jobs", "generate/videos", "generate/video"):
            job = await generate(ann, "video", "wanted")
            cancel = f"/api/v1/{path}/{job['id']}/cancel"
            for content in (b'{"keep_result": "yes"}', b'{"keep": true}', b"[]", b"{", b"\xff"):
                with cases.case(path, content):
                    validation_error(await ann.post(cancel, content=content, headers=headers))
                    assert (await read_job(ann, job["id"]))["status"] == "queued"
            with cases.case(path, "no body, then an empty object"):
                statuses = [
                    (await ann.post(cancel, content=body, headers=headers)).status_code for body in (b"", b"{}")
                ]
                assert statuses == [200, 409], "both mean the same; the second finds the job cancelled"
