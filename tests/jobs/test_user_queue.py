"""Users move their waiting jobs and cancel many at once, in the API and on pages."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import httpx
import pytest
import pytest_asyncio

from app.base.errors import Conflict, Missing
from app.jobs.schemas import EventType, Job, JobStatus
from app.jobs.service import Jobs
from app.providers.contract import Completed
from tests.html import parse_html
from tests.jobs.conftest import FakeClock, OpenJobs, new_job
from tests.kit import SHORT_VIDEO, UNKNOWN_ID, VIDEO_MODEL, check_job, error_of, new_email, validation_error
from tests.studio import Studio, running


@pytest_asyncio.fixture(scope="module")
async def studio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """A program that starts no job."""
    async with running(tmp_path_factory.mktemp("queue")) as studio:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(studio.program.jobs.execution, "claim", _nothing)
            yield studio


async def _nothing(limit: int) -> Sequence[Job]:
    return []


@pytest.fixture
async def user(studio: Studio) -> httpx.AsyncClient:
    return await studio.user(new_email(), direct=True)


async def enqueue(client: httpx.AsyncClient, count: int) -> list[str]:
    ids = []
    for number in range(count):
        body = {"model": VIDEO_MODEL, "prompt": f"[fail] {number}", **SHORT_VIDEO}
        answer = await client.post("/api/v1/generate/video", json=body)
        assert answer.status_code == 202, answer.text
        ids.append(str(answer.json()["id"]))
    return ids


async def move(client: httpx.AsyncClient, id: str, before: str | None) -> httpx.Response:
    return await client.post(f"/api/v1/jobs/{id}/move", json={"before": before})


async def order_of(studio: Studio, client: httpx.AsyncClient) -> list[str]:
    owner = (await client.get("/api/v1/users/me")).json()["id"]
    return list(studio.program.jobs.live.waiting(owner))


async def test_a_job_is_moved_before_another_or_to_the_end(studio: Studio, user: httpx.AsyncClient) -> None:
    a, b, c = await enqueue(user, 3)
    moved = await move(user, c, a)
    assert moved.status_code == 200
    check_job(moved.json())
    assert await order_of(studio, user) == [c, a, b]
    assert (await move(user, c, None)).status_code == 200
    assert await order_of(studio, user) == [a, b, c]


async def test_what_is_not_in_the_users_queue_is_not_moved(studio: Studio, user: httpx.AsyncClient) -> None:
    a, b = await enqueue(user, 2)
    stranger = await studio.user(new_email(), direct=True)
    (strange,) = await enqueue(stranger, 1)
    await user.post(f"/api/v1/jobs/{b}/cancel")
    for id in (UNKNOWN_ID, strange):
        error_of(await move(user, id, a), 404)
        validation_error(await move(user, a, id), "before")
    error_of(await move(user, a, b), 409, "CONFLICT")
    error_of(await move(user, b, a), 409, "CONFLICT")
    assert await order_of(studio, user) == [a]


async def test_the_order_survives_a_restart_and_decides_what_starts_first(jobs: Jobs, open_jobs: OpenJobs) -> None:
    low, lower, high = new_job(), new_job(), new_job(priority=1)
    for job in (low, lower, high):
        await jobs.enqueue(job)
    await jobs.user_queue.move("ann", lower.id, high.id)
    restarted = open_jobs()
    await restarted.execution.rescue()
    assert restarted.live.waiting("ann") == [lower.id, high.id, low.id]
    later = (await restarted.enqueue(new_job())).job
    assert [job.id for job in await restarted.execution.claim(9)] == [lower.id, high.id, low.id, later.id]


async def test_a_paused_job_is_not_started_until_it_is_resumed_also_after_a_restart(
    jobs: Jobs, open_jobs: OpenJobs
) -> None:
    first, second = [(await jobs.enqueue(new_job())).job for _ in range(2)]
    assert (await jobs.user_queue.pause("ann", first.id, True)).paused
    await jobs.user_queue.pause("ann", first.id, True)
    restarted = open_jobs()
    await restarted.execution.rescue()
    assert [job.id for job in await restarted.execution.claim(9)] == [second.id]
    with pytest.raises(Conflict):
        await restarted.user_queue.pause("ann", second.id, True)
    with pytest.raises(Missing):
        await restarted.user_queue.pause("bob", first.id, False)
    assert not (await restarted.user_queue.pause("ann", first.id, False)).paused
    assert [job.id for job in await restarted.execution.claim(9)] == [first.id]
    events = [event.event for event in (await restarted.timeline("ann", first.id)).items]
    assert events.count(EventType.PAUSED) == 1
    assert events.count(EventType.RESUMED) == 1


async def test_a_user_pauses_and_resumes_a_job_by_api_and_on_its_card(studio: Studio, user: httpx.AsyncClient) -> None:
    (a,) = await enqueue(user, 1)
    paused = await user.post(f"/api/v1/jobs/{a}/pause")
    assert (paused.status_code, paused.json()["paused"], paused.json()["status"]) == (200, True, "queued")
    assert await order_of(studio, user) == []
    resumed = await user.post(f"/api/v1/jobs/{a}/resume")
    assert (resumed.status_code, resumed.json()["paused"]) == (200, False)
    assert await order_of(studio, user) == [a]
    await user.post(f"/api/v1/jobs/{a}/cancel")
    error_of(await user.post(f"/api/v1/jobs/{a}/pause"), 409, "CONFLICT")


async def test_many_jobs_are_cancelled_and_those_that_cannot_be_are_listed(
    studio: Studio, user: httpx.AsyncClient
) -> None:
    a, b, c, d = await enqueue(user, 4)
    await user.post(f"/api/v1/jobs/{a}/cancel")
    answer = await user.post("/api/v1/jobs/cancel", json={"ids": [a, b, b, UNKNOWN_ID]})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["cancelled"], body["requested"]) == (1, 0)
    assert {(each["id"], each["code"]) for each in body["failed"]} == {
        (a, "CONFLICT"),
        (UNKNOWN_ID, "RESOURCE_NOT_FOUND"),
    }
    assert await order_of(studio, user) == [c, d]
    (paused,) = await enqueue(await studio.user(new_email(), direct=True), 1)
    everything = await user.post("/api/v1/jobs/cancel", json={"status": "pending"})
    assert everything.json() == {"cancelled": 2, "requested": 0, "failed": []}
    assert studio.program.jobs.live.find(paused) is not None, "another user's job"
    for job in (await user.get("/api/v1/jobs")).json()["items"]:
        assert (job["status"], job["cost_usd"]) == ("cancelled", "0")


async def test_a_request_to_cancel_many_names_either_jobs_or_a_status(user: httpx.AsyncClient) -> None:
    for body, field in (
        ({}, "ids"),
        ({"ids": [UNKNOWN_ID], "status": "queued"}, "ids"),
        ({"ids": []}, "ids"),
        ({"status": "completed"}, "status"),
        ({"status": "x"}, "status"),
    ):
        validation_error(await user.post("/api/v1/jobs/cancel", json=body), field)


async def test_jobs_that_are_sent_are_cancelled_each_as_if_by_itself(jobs: Jobs) -> None:
    for _ in range(3):
        await jobs.enqueue(new_job())
    await jobs.execution.claim(1)
    result = await jobs.user_queue.cancel_all("ann", JobStatus.PROCESSING)
    assert (result.cancelled, result.failed) == (1, [])
    assert jobs.user_queue.count("ann") == 2


async def test_the_buttons_on_cards_move_a_job_also_without_javascript(studio: Studio) -> None:
    email = new_email()
    browser, client = await studio.user_in_browser(email, direct=True), await studio.user(email, direct=True)
    a, b, c = await enqueue(client, 3)

    async def shown() -> list[str]:
        page = parse_html((await browser.get("/jobs?status=queued")).text)
        return [card["id"].removeprefix("job-") for card in page.all("article")]

    assert await shown() == [a, b, c]
    for id, to, expected in (
        (c, "up", [a, c, b]),
        (a, "down", [c, a, b]),
        (b, "front", [b, c, a]),
        (b, "up", [b, c, a]),
    ):
        answer = await browser.send_form(f"/jobs/{id}/move", {"to": to})
        assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?status=queued")
        assert await shown() == expected
    card = (await browser.get(f"/jobs/{c}/card")).text
    assert "2 of 3 of yours" in card
    assert (await browser.send_form(f"/jobs/{c}/move", {"to": "sideways"})).status_code == 400


async def test_all_waiting_jobs_are_cancelled_on_the_page_of_jobs(studio: Studio) -> None:
    email = new_email()
    browser, client = await studio.user_in_browser(email, direct=True), await studio.user(email, direct=True)
    assert "Cancel all waiting" not in (await browser.get("/jobs")).text
    await enqueue(client, 2)
    assert "2 jobs are waiting" in (await browser.get("/jobs")).text
    assert (await browser.send_form("/jobs/cancel")).status_code == 303
    assert "2 jobs were cancelled" in (await browser.get("/jobs")).text
    assert await order_of(studio, client) == []


async def test_the_timeline_of_a_job_is_read_in_pages(studio: Studio, user: httpx.AsyncClient) -> None:
    (id,) = await enqueue(user, 1)
    await user.post(f"/api/v1/jobs/{id}/cancel")
    url = f"/api/v1/jobs/{id}/events"
    first = (await user.get(url, params={"limit": 1})).json()
    rest = (await user.get(url, params={"cursor": first["next"]})).json()
    assert (first["total"], rest["total"], rest["next"]) == (2, 2, None)
    assert [event["event"] for event in [*first["items"], *rest["items"]]] == ["queued", "cancelled"]
    assert rest["items"][0]["text"] == "Cancelled: before it was submitted"
    assert rest["items"][0]["detail"] == {"stage": "not_submitted"}
    validation_error(await user.get(url, params={"cursor": "YWJj"}), "cursor")
    error_of(await (await studio.user(new_email(), direct=True)).get(url), 404)


async def test_a_job_that_has_ended_is_news_once_and_only_for_its_owner(jobs: Jobs, fake_clock: FakeClock) -> None:
    start = await jobs.ended("ann", None)
    assert start.jobs == []
    fake_clock.advance(1)
    await jobs.enqueue(new_job(prompt="x" * 1000))
    await jobs.enqueue(new_job("bob"))
    for job in await jobs.execution.claim(2):
        await jobs.execution.complete(job, Completed(text="x"), [])
    news = await jobs.ended("ann", datetime.fromisoformat(start.until.removesuffix("Z")))
    assert [(job.status, job.prompt) for job in news.jobs] == [(JobStatus.COMPLETED, "x" * 120)]
    since = datetime.fromisoformat(news.until.removesuffix("Z"))
    assert (await jobs.ended("ann", since)).jobs == []
    fake_clock.advance(3600)
    assert (await jobs.ended("ann", since - timedelta(seconds=1))).jobs == [], "what is long ago is no news"


async def test_the_page_asks_for_news_with_the_time_of_the_last_answer(studio: Studio) -> None:
    browser = await studio.user_in_browser(new_email(), direct=True)
    first = (await browser.get("/jobs/ended")).json()
    assert first["jobs"] == []
    assert (await browser.get("/jobs/ended", params={"since": first["until"]})).json() == first
    for wrong in ("x", "9999-12-31T23:59:59-23:59"):
        assert (await browser.get("/jobs/ended", params={"since": wrong})).status_code == 400, wrong
    assert (await studio.direct_browser().get("/jobs/ended")).status_code == 303
