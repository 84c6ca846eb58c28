"""The metrics endpoint: only for admins, with a fixed set of labels, and without personal data."""

from collections.abc import AsyncIterator, Iterable

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from app.base import clock
from tests.kit import SHORT_VIDEO, TEXT_MODEL, VIDEO_MODEL, Json, error_of, eventually, read_job, requested_video
from tests.studio import PASSWORD, Studio, running


class Samples:
    """A parsed response of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.samples.setdefault(sample.name, []).append((dict(sample.labels), sample.value))

    def __contains__(self, name: str) -> bool:
        return name in self.samples

    def labels(self, name: str) -> list[dict[str, str]]:
        """The labels of each series."""
        return [labels for labels, _ in self.samples.get(name, [])]

    def value(self, name: str, **labels: str) -> float:
        """The sum over all series with these labels."""
        return sum(value for given, value in self.samples.get(name, []) if labels.items() <= given.items())


@pytest_asyncio.fixture(scope="module")
async def measured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """An application that only this module uses, so that nothing else is counted."""
    async with running(tmp_path_factory.mktemp("measured")) as studio:
        await studio.user("admin@studio.example")
        yield studio


@pytest.fixture
async def admin(measured: Studio) -> httpx.AsyncClient:
    return await measured.user("admin@studio.example")


async def read(admin: httpx.AsyncClient) -> Samples:
    answer = await admin.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["content-type"].count("charset") == 1
    return Samples(answer.text)


async def test_only_an_admins_bearer_may_read(measured: Studio, admin: httpx.AsyncClient) -> None:
    user = await measured.user("ben@studio.example")
    browser = await measured.user_in_browser("admin@studio.example")  # by cookie
    assert (await admin.get("/metrics")).status_code == 200
    key = (await admin.post("/api/v1/users/me/keys", json={"name": "scraper"})).json()["key"]
    assert (await measured.client(key).get("/metrics")).status_code == 200
    error_of(await user.get("/metrics"), 403, "FORBIDDEN")
    error_of(await measured.client().get("/metrics"), 401, "AUTHENTICATION_ERROR")
    error_of(await browser.get("/metrics"), 401, "AUTHENTICATION_ERROR")
    error_of(await admin.post("/metrics"), 405, "METHOD_NOT_ALLOWED")


async def test_requests_are_counted_by_route_and_never_by_path(admin: httpx.AsyncClient) -> None:
    before = await read(admin)
    for number in range(3):
        await admin.get(f"/api/v1/jobs/{number:032}")
        await admin.get(f"/nothing/at/{number}")
        await admin.request(f"WEIRD{number}", "/health")
    await admin.head("/health")
    after = await read(admin)
    count = "atelier_http_request_duration_seconds_count"

    def counted(**labels: str) -> float:
        return after.value(count, **labels) - before.value(count, **labels)

    assert counted(method="GET", route="/api/v1/jobs/{id}", status="404") == 3
    assert counted(route="none", status="404") == 3
    assert counted(method="HEAD", route="/health", status="200") == 1
    assert counted(method="none") == 3
    assert {labels["method"] for labels in after.labels(count)} <= {"GET", "POST", "HEAD", "none"}
    assert not any("nothing" in labels["route"] or "0000" in labels["route"] for labels in after.labels(count))


async def test_jobs_are_counted_by_state_and_provider_requests_by_outcome(
    measured: Studio, admin: httpx.AsyncClient
) -> None:
    before = await read(admin)
    for prompt in ("a boat", "[refuse] a boat", "[refuse] another boat"):
        await admin.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": prompt})
    job = await requested_video(admin, "[stamp] a boat")
    await measured.finished(admin, job["id"])
    after = await read(admin)

    def counted(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    states = {labels["state"]: counted("atelier_jobs", **labels) for labels in after.labels("atelier_jobs")}
    assert states == {"queued": 0, "processing": 0, "completed": 2, "failed": 2, "cancelled": 0}
    calls = "atelier_provider_requests_total"
    assert counted(calls, operation="submit text", outcome="completed") == 1
    assert counted(calls, operation="submit text", outcome="failed", code="PROVIDER_REFUSED") == 2
    assert counted(calls, operation="submit video", outcome="pending") == 1
    assert counted(calls, operation="poll", outcome="completed") == 1
    assert after.value(calls, operation="offers", provider="openrouter", outcome="completed") == 1
    assert counted("atelier_provider_seconds_count", operation="submit text") == 3
    assert counted("atelier_provider_seconds_sum", operation="poll") > 0


async def test_how_long_the_oldest_job_has_waited(studio: Studio) -> None:
    admin = await studio.user()
    await studio.program.worker.stop(0)  # no job is started any more
    begun = clock.now()
    await requested_video(admin)
    accepted = clock.now()
    await requested_video(admin)
    requested = clock.now()
    samples = await read(admin)
    assert samples.value("atelier_jobs", state="queued") == 2
    waited = samples.value("atelier_oldest_waiting_job_seconds")
    assert (requested - accepted).total_seconds() <= waited <= (clock.now() - begun).total_seconds()


async def test_database_event_loop_and_background_tasks_are_measured(
    measured: Studio, admin: httpx.AsyncClient
) -> None:
    samples = await read(admin)
    assert samples.value("atelier_db_transactions_total") >= samples.value("atelier_commit_seconds_count") > 0
    assert samples.value("atelier_db_write_queue_depth") >= 0
    assert samples.value("atelier_event_loop_lag_seconds_count") > 0
    assert "atelier_event_loop_blocks_total" in samples
    assert "atelier_event_loop_longest_block_seconds" in samples
    tasks = {labels["task"] for labels in samples.labels("atelier_background_task_last_success_timestamp_seconds")}
    assert tasks == {state.name for state in measured.program.background.health()}
    assert {labels["task"] for labels in samples.labels("atelier_background_task_up")} == tasks
    assert samples.value("atelier_background_task_up") == len(tasks), "each has the value 1"
    assert samples.value("process_resident_memory_bytes") > 10_000_000
    assert samples.value("atelier_http_requests_in_progress") == 1, "this request"


async def test_open_streams_are_counted(admin: httpx.AsyncClient) -> None:
    body = {"model": TEXT_MODEL, "prompt": "[stuck] a long story", "stream": True}
    route = "/api/v1/generate/text"
    before = await read(admin)
    async with admin.stream("POST", route, json=body) as answer:
        assert answer.status_code == 200
        assert (await read(admin)).value("atelier_open_streams") == 1
        # The job is added while its stream is already open.
        job = await eventually(lambda: newest_job(admin), lambda job: job["prompt"] == body["prompt"])
    after = await eventually(lambda: read(admin), lambda now: not now.value("atelier_open_streams"))
    # The histogram counts the time to the first byte, not the duration of the stream.
    count = "atelier_http_request_duration_seconds_count"
    assert after.value(count, route=route) - before.value(count, route=route) == 1
    await admin.post(f"/api/v1/jobs/{job['id']}/cancel")
    await eventually(lambda: read_job(admin, job["id"]), lambda now: now["status"] == "cancelled")


async def newest_job(client: httpx.AsyncClient) -> Json:
    jobs: list[Json] = (await client.get("/api/v1/jobs")).json()["items"]
    return jobs[0] if jobs else {"prompt": ""}


async def test_the_metrics_contain_no_personal_data(measured: Studio, admin: httpx.AsyncClient) -> None:
    other = await measured.user("ben.secret@studio.example")
    job = await requested_video(other, "[stamp] a prompt of mine")
    await measured.finished(other, job["id"])
    text = (await admin.get("/metrics")).text
    me = (await other.get("/api/v1/users/me")).json()
    private = ("ben.secret", "admin@", me["id"], job["id"], "prompt of mine", PASSWORD, "127.0.0.1", VIDEO_MODEL)
    assert [value for value in private if value in text] == []


async def test_no_label_grows_with_use(measured: Studio, admin: httpx.AsyncClient) -> None:
    """Repeating the same requests adds no series."""

    async def use() -> Iterable[str]:
        body = {"model": VIDEO_MODEL, "prompt": "[stamp] a boat", **SHORT_VIDEO}
        job = (await admin.post("/api/v1/generate/video", json=body)).json()
        await measured.finished(admin, job["id"])
        await admin.get(job["polling_url"], params={"q": job["id"]})
        await admin.get("/metrics")
        return sorted(line.rpartition(" ")[0] for line in (await admin.get("/metrics")).text.splitlines())

    first = await use()
    assert await use() == first


async def test_an_admin_sees_event_loop_blocks_in_the_health_report(admin: httpx.AsyncClient) -> None:
    health = (await admin.get("/api/v1/admin/health")).json()
    assert health["longest_block_ms"] >= 0
    assert all(set(block) == {"at", "ms", "cpu_ms", "where"} for block in health["event_loop_blocks"])
