"""A cancel has three honest ends: nothing was sent, the provider was asked to stop, or it is too late, and then the bill is
still settled and the result kept or thrown away as the person chose. Nothing that comes late overturns it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from app.base import clock
from app.base.database import Database
from app.base.errors import Conflict
from app.jobs.schemas import Job, Late, Status
from app.jobs.service import Jobs
from app.library.schemas import Asset, AssetKind, Origin
from app.main import Program
from app.providers.contract import Again, Done, ErrorCode, Kind, Later, Never, Outcome, Ticket
from tests.api.kit import CLIP, PICTURE, SHORT, TEXT, Json, eventually, invalid, read_job, submits
from tests.jobs.conftest import Reopen, a_job
from tests.studio import Studio, running

TICKET = Ticket("up-1", "/api/v1/videos/up-1")
BUSY = Again(code=ErrorCode.PROVIDER_FAILED, message="The provider is busy.")
FAILED = Never(code=ErrorCode.PROVIDER_FAILED, message="The provider failed.", cost_nano=3)
DONE = Done(text="made", cost_nano=5)


def later(state: str = "pending") -> Later:
    return Later(ticket=TICKET, state=state)


async def sent(jobs: Jobs, job: Job | None = None) -> Job:
    """A job that is being sent: no ticket yet."""
    await jobs.enqueue(job or a_job())
    (claimed,) = await jobs.claim(1)
    return claimed


async def taken(jobs: Jobs, job: Job | None = None) -> Job:
    """A clip whose ticket is known."""
    claimed = await sent(jobs, job)
    await jobs.go_on(claimed, later())
    current = jobs.current(claimed.id)
    assert current is not None
    return current


async def spent(database: Database, job: Job) -> list[tuple[str, int | None]]:
    """The ledger's entries of this job after its hold."""
    rows = await database.read(
        lambda tx: tx.rows("select entry, spent_nano from ledger where subject_id = $1 order by happened_at", job.id)
    )
    return [(row["entry"], row["spent_nano"]) for row in rows[1:]]


def an_asset(job: Job) -> Asset:
    return Asset(
        id=f"asset of {job.id}",
        owner_id=job.owner_id,
        kind=AssetKind.VIDEO,
        origin=Origin.MADE,
        mime="video/mp4",
        bytes=1,
        width=1,
        height=1,
        key="aa/bb/clip.mp4",
        job_id=job.id,
        created_at=clock.now(),
    )


# Before it was sent


async def test_a_job_cancelled_in_the_queue_has_cost_nothing(jobs: Jobs, database: Database) -> None:
    job = (await jobs.enqueue(a_job())).job
    cancelled = await jobs.cancel("ann", job.id)
    assert (cancelled.status, cancelled.cost_nano) == (Status.CANCELLED, 0)
    assert await spent(database, job) == [("settlement", 0)]
    assert await jobs.claim(5) == []


# While it is being sent


@pytest.mark.parametrize("late", Late)
async def test_a_clip_cancelled_while_it_is_being_sent_is_followed_to_its_bill(
    jobs: Jobs, database: Database, late: Late
) -> None:
    job = await sent(jobs)
    assert (await jobs.cancel("ann", job.id, late)).status is Status.CANCELLED
    await jobs.go_on(job, later())
    (waiting,) = jobs._late.values()
    assert waiting.ticket == TICKET
    await jobs.complete(waiting, DONE, [an_asset(job)])
    found = await jobs.find("ann", job.id)
    assert (found.status, found.cost_nano, len(found.assets)) == (Status.CANCELLED, 5, int(late is Late.KEEP))
    assert await spent(database, job) == [("settlement", None), ("correction", 5)]
    assert jobs.next_due() is None


async def test_a_clip_cancelled_while_it_is_being_sent_is_followed_after_a_restart_too(
    jobs: Jobs, reopen: Reopen
) -> None:
    job = await sent(jobs)
    await jobs.cancel("ann", job.id, Late.KEEP)
    await jobs.go_on(job, later())
    again = reopen()
    await again.rescue()
    (waiting,) = again.to_poll(10)
    assert (waiting.id, waiting.ticket) == (job.id, TICKET)
    assert await again.complete(waiting, DONE, [an_asset(job)])
    found = await again.find("ann", job.id)
    assert (found.status, found.cost_nano, len(found.assets)) == (Status.CANCELLED, 5, 1)


async def test_what_was_cancelled_and_turns_out_not_to_have_happened_has_cost_nothing(
    jobs: Jobs, database: Database
) -> None:
    job = await sent(jobs)
    await jobs.cancel("ann", job.id)
    await jobs.again(job, BUSY)
    found = await jobs.find("ann", job.id)
    assert (found.status, found.cost_nano) == (Status.CANCELLED, 0)
    assert await spent(database, job) == [("settlement", None), ("correction", 0)]


async def test_a_call_that_went_down_with_us_is_waited_for_no_longer(jobs: Jobs, reopen: Reopen) -> None:
    """A picture has no ticket: what it cost stays unknown, which is not nothing."""
    job = await sent(jobs, a_job(kind=Kind.IMAGE))
    await jobs.cancel("ann", job.id, Late.KEEP)
    again = reopen()
    await again.rescue()
    found = await again.find("ann", job.id)
    assert (found.status, found.cost_nano, found.late) == (Status.CANCELLED, None, None)
    assert again.to_poll(10) == []


# After it was sent, at a provider that cannot be told


@pytest.mark.parametrize(
    ("answer", "cost", "text"), [(DONE, 5, "made"), (FAILED, 3, None), (BUSY, 0, None)], ids=["done", "never", "again"]
)
async def test_whatever_comes_late_settles_the_bill_and_ends_the_waiting(
    jobs: Jobs, database: Database, answer: Outcome, cost: int, text: str | None
) -> None:
    job = await taken(jobs)
    await jobs.cancel("ann", job.id, Late.KEEP)
    await _answer(jobs, job, answer)
    found = await jobs.find("ann", job.id)
    assert (found.status, found.cost_nano, found.text, found.error, found.late) == (
        Status.CANCELLED,
        cost,
        text,
        None,
        None,
    )
    assert await spent(database, job) == [("settlement", None), ("correction", cost)]
    await _answer(jobs, job, answer)  # once more, as after a restart between the answer and its being written down
    assert await spent(database, job) == [("settlement", None), ("correction", cost)]


async def test_a_late_result_without_a_price_leaves_the_cost_unknown(jobs: Jobs, database: Database) -> None:
    job = await taken(jobs)
    await jobs.cancel("ann", job.id)
    await jobs.complete(job, Done(text="made"), [])
    assert (await jobs.find("ann", job.id)).cost_nano is None
    assert await spent(database, job) == [("settlement", None)]


async def test_the_deadline_ends_the_waiting_for_a_bill(jobs: Jobs) -> None:
    job = await taken(jobs)
    await jobs.cancel("ann", job.id, Late.KEEP)
    await jobs.go_on(msgspec.structs.replace(job, started_at=clock.now() - timedelta(seconds=1700)), later())
    assert jobs.next_due() is not None
    await jobs.go_on(msgspec.structs.replace(job, started_at=clock.now() - timedelta(seconds=1801)), later())
    assert jobs.next_due() is None
    found = await jobs.find("ann", job.id)
    assert (found.status, found.cost_nano, found.late) == (Status.CANCELLED, None, None)


async def test_a_late_result_of_a_job_that_was_deleted_meanwhile_is_not_kept(jobs: Jobs, database: Database) -> None:
    job = await taken(jobs)
    await jobs.cancel("ann", job.id, Late.KEEP)
    await jobs.delete("ann", job.id)
    assert not await jobs.complete(job, DONE, [an_asset(job)])
    assert await spent(database, job) == [("settlement", None), ("correction", 5)]


async def test_an_answer_that_finds_its_job_ended_does_not_bring_it_back(jobs: Jobs, database: Database) -> None:
    """An admin gives up on what takes too long while it is being asked after; the answer says: nothing new."""
    job = await taken(jobs)
    assert await database.write(jobs.time_out, [job]) == 1
    assert await database.write(jobs.time_out, [job]) == 0
    await jobs.go_on(job, later())
    assert jobs.current(job.id) is None
    assert jobs.to_poll(10) == []
    assert (await jobs.find("ann", job.id)).status is Status.FAILED


# At a provider that can be told


class Obedient:
    """Takes clips, and says what it was asked to stop."""

    name = "obedient"
    can_cancel = True


@pytest.fixture
def obeyed(jobs: Jobs) -> Jobs:
    jobs._providers = {"obedient": Obedient()}  # type: ignore[dict-item]
    return jobs


@pytest.mark.parametrize("answer", [FAILED, BUSY], ids=["never", "again"])
async def test_a_provider_that_was_asked_to_stop_has_the_last_word_and_the_job_is_cancelled(
    obeyed: Jobs, database: Database, answer: Outcome
) -> None:
    job = await taken(obeyed, a_job(provider="obedient"))
    wished = await obeyed.cancel("ann", job.id)
    assert (wished.status, wished.cancel_requested, wished.due) == (Status.PROCESSING, True, None)
    await _answer(obeyed, job, answer)
    found = await obeyed.find("ann", job.id)
    cost = answer.cost_nano if isinstance(answer, Never) else 0
    assert (found.status, found.error, found.cost_nano) == (Status.CANCELLED, None, cost)
    assert await spent(database, job) == [("settlement", cost)]
    with pytest.raises(Conflict):
        await obeyed.cancel("ann", job.id)


@pytest.mark.parametrize("late", Late)
async def test_too_late_for_the_provider_means_kept_or_thrown_away_as_the_person_chose(
    obeyed: Jobs, database: Database, late: Late
) -> None:
    job = await taken(obeyed, a_job(provider="obedient"))
    await obeyed.cancel("ann", job.id, late)
    kept = await obeyed.complete(job, DONE, [an_asset(job)])
    found = await obeyed.find("ann", job.id)
    assert kept is (late is Late.KEEP)
    assert found.status is (Status.COMPLETED if late is Late.KEEP else Status.CANCELLED)
    assert (found.cost_nano, len(found.assets)) == (5, int(kept))
    assert await spent(database, job) == [("settlement", 5)]


async def test_a_poll_under_way_does_not_forget_the_wish(obeyed: Jobs, reopen: Reopen) -> None:
    job = await taken(obeyed, a_job(provider="obedient"))
    await obeyed.cancel("ann", job.id)
    await obeyed.go_on(job, later())  # asked before the wish, answered after it
    current = obeyed.current(job.id)
    assert current is not None
    assert current.cancel_requested
    again = reopen()
    await again.rescue()
    assert [found.cancel_requested for found in again._live.values()] == [True]


# Over HTTP, with the worker and the simulator


@contextmanager
def held(program: Program, monkeypatch: pytest.MonkeyPatch, verb: str) -> Iterator[None]:
    """The worker finds nothing to `claim` or `to_poll` while the block runs."""
    original: Callable[..., Any] = getattr(program.jobs, verb)

    def nothing(_: int) -> list[Job]:
        return []

    async def nothing_later(limit: int) -> list[Job]:
        return nothing(limit)

    with monkeypatch.context() as patch:
        patch.setattr(program.jobs, verb, nothing_later if asyncio.iscoroutinefunction(original) else nothing)
        yield
    program.jobs.wake.set()


async def ask(client: httpx.AsyncClient, kind: str, prompt: str) -> Json:
    body = {
        "text": {"model": TEXT, "prompt": prompt},
        "image": {"model": PICTURE, "prompt": prompt},
        "video": {"model": CLIP, "prompt": prompt, **SHORT},
    }[kind]
    answer = await client.post(f"/api/v1/generate/{kind}", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    return job


def sent_upstream(studio: Studio, prompt: str) -> int:
    return sum(one["prompt"] == prompt for one in submits(studio))


def stored(studio: Studio) -> int:
    return sum(path.is_file() for path in studio.program.folder.media.rglob("*"))


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_what_is_cancelled_in_the_queue_is_never_sent(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    ann = await studio.person()
    with held(studio.program, monkeypatch, "claim"):
        job = await ask(ann, kind, "unwanted")
        answer = await ann.post(f"/api/v1/jobs/{job['id']}/cancel")
        assert (answer.status_code, answer.json()["status"], answer.json()["cost_usd"]) == (200, "cancelled", "0")
    other = await ask(ann, kind, "wanted")
    await studio.finished(ann, other["id"])
    assert [one["prompt"] for one in submits(studio)] == ["wanted"]


@pytest.mark.parametrize("keep", [True, False])
async def test_a_clip_at_the_provider_is_cancelled_at_once_and_paid_for_later(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    ann = await studio.person()
    with held(studio.program, monkeypatch, "to_poll"):
        job = await ask(ann, "video", "a clip too many")
        await eventually(lambda: _current(studio, job), lambda now: now is not None and now.ticket is not None)
        answer = await ann.post(f"/api/v1/generate/videos/{job['id']}/cancel", json={"keep_result": keep})
        assert answer.status_code == 200, answer.text
        cancelled = answer.json()
        assert (cancelled["status"], cancelled["cost_usd"], cancelled["assets"]) == ("cancelled", None, [])
    settled = await eventually(lambda: read_job(ann, job["id"]), lambda now: now["cost_usd"] is not None)
    assert settled["status"] == "cancelled"
    assert float(settled["cost_usd"]) > 0
    assert len(settled["assets"]) == int(keep)
    assert (await ann.get("/api/v1/assets")).json()["total"] == int(keep)
    assert stored(studio) == 2 * int(keep), "the clip and its thumbnail, or nothing"
    assert sent_upstream(studio, "a clip too many") == 1
    if keep:
        assert (await ann.get(settled["assets"][0]["url"])).status_code == 200


@pytest.mark.parametrize("keep", [True, False])
async def test_a_picture_in_the_making_is_cancelled_at_once_and_paid_for_later(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    ann = await studio.person()
    with held_answers(studio.program, monkeypatch) as (arrived, release):
        job = await ask(ann, "image", "a picture too many")
        async with asyncio.timeout(20):
            await arrived.wait()
        answer = await ann.post(f"/api/v1/jobs/{job['id']}/cancel", json={"keep_result": keep})
        assert answer.json()["status"] == "cancelled"
        release.set()
        settled = await eventually(lambda: read_job(ann, job["id"]), lambda now: now["cost_usd"] is not None)
    assert (settled["status"], len(settled["assets"])) == ("cancelled", int(keep))
    await eventually(lambda: _stored(studio), lambda count: count == 2 * int(keep))
    assert sent_upstream(studio, "a picture too many") == 1


async def test_a_text_in_the_making_that_was_to_be_kept_is_kept(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await studio.person()
    with held_answers(studio.program, monkeypatch) as (arrived, release):
        body = {"model": TEXT, "prompt": "words too many"}
        asking = asyncio.create_task(ann.post("/api/v1/generate/text", json=body))
        async with asyncio.timeout(20):
            await arrived.wait()
        [job] = (await ann.get("/api/v1/jobs")).json()["items"]
        await ann.post(f"/api/v1/jobs/{job['id']}/cancel", json={"keep_result": True})
        assert (await asking).status_code == 502
        release.set()
        settled = await eventually(lambda: read_job(ann, job["id"]), lambda now: now["cost_usd"] is not None)
    assert settled["status"] == "cancelled"
    assert settled["text"]


async def test_a_job_cancelled_between_its_turn_and_its_sending_is_not_sent(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await studio.person()
    worker, reached, go = studio.program.worker, asyncio.Event(), asyncio.Event()
    request = worker._request

    async def slowly(job: Job) -> Any:
        reached.set()
        await go.wait()
        return await request(job)

    monkeypatch.setattr(worker, "_request", slowly)
    job = await ask(ann, "image", "changed my mind")
    async with asyncio.timeout(20):
        await reached.wait()
    assert (await ann.post(f"/api/v1/jobs/{job['id']}/cancel")).json()["status"] == "cancelled"
    go.set()
    settled = await eventually(lambda: read_job(ann, job["id"]), lambda now: now["cost_usd"] is not None)
    assert (settled["status"], settled["cost_usd"]) == ("cancelled", "0")
    assert submits(studio) == []


async def test_the_bill_of_a_cancelled_clip_is_settled_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as studio:
        ann = await studio.person()
        with held(studio.program, monkeypatch, "to_poll"):
            job = await ask(ann, "video", "a clip too many")
            await eventually(lambda: _current(studio, job), lambda now: now is not None and now.ticket is not None)
            await ann.post(f"/api/v1/jobs/{job['id']}/cancel", json={"keep_result": True})
            await studio.program.worker.stop(0)
    async with running(tmp_path) as studio:
        ann = await studio.person()
        settled = await eventually(lambda: read_job(ann, job["id"]), lambda now: now["cost_usd"] is not None)
        assert (settled["status"], len(settled["assets"])) == ("cancelled", 1)
        assert sent_upstream(studio, "a clip too many") == 1


async def test_a_bill_that_never_comes_is_given_up_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, ATELIER_JOB_TIMEOUT_SECONDS="1") as studio:
        ann = await studio.person()
        job = await ask(ann, "video", "[stuck] a clip without an end")
        await eventually(lambda: _current(studio, job), lambda now: now is not None and now.ticket is not None)
        await ann.post(f"/api/v1/jobs/{job['id']}/cancel", json={"keep_result": True})
        await eventually(lambda: _awaited(studio), lambda count: count == 0)
        settled = await read_job(ann, job["id"])
        assert (settled["status"], settled["cost_usd"], settled["error"]) == ("cancelled", None, None)


@pytest.mark.parametrize("field", [{}, {"keep_result": "on"}])
async def test_the_page_asks_the_same(studio: Studio, monkeypatch: pytest.MonkeyPatch, field: dict[str, str]) -> None:
    ann = await studio.person_in_browser()
    client = await studio.person()
    with held(studio.program, monkeypatch, "to_poll"):
        job = await ask(client, "video", "a clip too many")
        await eventually(lambda: _current(studio, job), lambda now: now is not None and now.ticket is not None)
        answer = await ann.send_form(f"/jobs/{job['id']}/cancel", field)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job['id']}")
    settled = await eventually(lambda: read_job(client, job["id"]), lambda now: now["cost_usd"] is not None)
    assert (settled["status"], len(settled["assets"])) == ("cancelled", len(field))


async def test_a_wrong_body_is_refused_and_cancels_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await studio.person()
    headers = {"Content-Type": "application/json"}
    with held(studio.program, monkeypatch, "claim"):
        for path in ("jobs", "generate/videos", "generate/video"):
            job = await ask(ann, "video", "wanted")
            cancel = f"/api/v1/{path}/{job['id']}/cancel"
            for content in (b'{"keep_result": "yes"}', b'{"keep": true}', b"[]", b"{", b"\xff"):
                invalid(await ann.post(cancel, content=content, headers=headers))
                assert (await read_job(ann, job["id"]))["status"] == "queued"
            statuses = [(await ann.post(cancel, content=body, headers=headers)).status_code for body in (b"", b"{}")]
            assert statuses == [200, 409], "no body and an empty one are the same; then it has ended"


@contextmanager
def held_answers(program: Program, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """What the provider answers to a submit is not passed on before the second event is set; the first says that it has
    arrived."""
    arrived, release = asyncio.Event(), asyncio.Event()
    provider = program.providers["openrouter"]
    submit = provider.submit

    async def slowly(*asked: Any) -> Outcome:
        outcome = await submit(*asked)
        arrived.set()
        await release.wait()
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(provider, "submit", slowly)
        try:
            yield arrived, release
        finally:
            release.set()


async def _answer(jobs: Jobs, job: Job, answer: Outcome) -> None:
    match answer:
        case Done():
            await jobs.complete(job, answer, [])
        case Never():
            await jobs.fail(job, answer)
        case Again():
            await jobs.again(job, answer)
        case Later():
            await jobs.go_on(job, answer)


async def _current(studio: Studio, job: Json) -> Job | None:
    return studio.program.jobs.current(job["id"])


async def _awaited(studio: Studio) -> int:
    return len(studio.program.jobs._late)


async def _stored(studio: Studio) -> int:
    return stored(studio)
