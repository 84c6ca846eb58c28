"""What is measured: to an admin's collector only, under names that stay few, and without a word about anybody."""

import asyncio
from collections.abc import Iterable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.api.kit import CLIP, SHORT, TEXT, asked_clip, problem
from tests.studio import PASSWORD, Studio
from tests.watch.patience import eventually

Samples = dict[str, list[tuple[dict[str, str], float]]]


def _read(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


async def _metrics(admin: httpx.AsyncClient) -> Samples:
    answer = await admin.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["content-type"].count("charset") == 1
    return _read(answer.text)


def _value(samples: Samples, name: str, **labels: str) -> float:
    """The sum over all series with these labels."""
    return sum(value for given, value in samples.get(name, []) if labels.items() <= given.items())


async def test_only_an_admins_bearer_may_read(studio: Studio) -> None:
    admin = await studio.person()
    somebody = await studio.person("ben@studio.example")
    browser = await studio.person_in_browser()  # the admin, by cookie
    assert (await admin.get("/metrics")).status_code == 200
    key = (await admin.post("/api/v1/users/me/keys", json={"name": "collector"})).json()["key"]
    assert (await studio.client(key).get("/metrics")).status_code == 200
    problem(await somebody.get("/metrics"), 403, "FORBIDDEN")
    problem(await studio.client().get("/metrics"), 401, "AUTHENTICATION_ERROR")
    problem(await browser.get("/metrics"), 401, "AUTHENTICATION_ERROR")
    problem(await admin.post("/metrics"), 405, "METHOD_NOT_ALLOWED")


async def test_requests_are_counted_by_route_and_never_by_path(studio: Studio) -> None:
    admin = await studio.person()
    for number in range(3):
        await admin.get(f"/api/v1/jobs/{number:032}")
        await admin.get(f"/nothing/at/{number}")
        await admin.request(f"WEIRD{number}", "/health")
    await admin.head("/health")
    samples = await _metrics(admin)
    count = "atelier_request_seconds_count"
    assert _value(samples, count, method="GET", route="/api/v1/jobs/{id}", status="404") == 3
    assert _value(samples, count, route="none", status="404") == 3
    assert _value(samples, count, method="HEAD", route="/health", status="200") == 1
    assert _value(samples, count, method="none") == 3
    assert {labels["method"] for labels, _ in samples[count]} <= {"GET", "POST", "HEAD", "none"}
    assert not any("nothing" in labels["route"] or "0000" in labels["route"] for labels, _ in samples[count])


async def test_jobs_and_providers(studio: Studio) -> None:
    admin = await studio.person()
    for prompt in ("a boat", "[refuse] a boat", "[refuse] another boat"):
        await admin.post("/api/v1/generate/text", json={"model": TEXT, "prompt": prompt})
    job = await asked_clip(admin)
    await studio.finished(admin, job["id"])
    samples = await _metrics(admin)
    assert {labels["state"]: value for labels, value in samples["atelier_jobs"]} == {
        "queued": 0,
        "processing": 0,
        "completed": 2,
        "failed": 2,
        "cancelled": 0,
    }
    calls = "atelier_provider_calls_total"
    assert _value(samples, calls, operation="submit text", outcome="done") == 1
    assert _value(samples, calls, operation="submit text", outcome="never", code="PROVIDER_REFUSED") == 2
    assert _value(samples, calls, operation="submit video", outcome="later") == 1
    assert _value(samples, calls, operation="poll", outcome="done") == 1
    assert _value(samples, calls, operation="offers", provider="openrouter", outcome="done") == 1
    assert _value(samples, "atelier_provider_seconds_count", operation="submit text") == 3
    assert _value(samples, "atelier_provider_seconds_sum", operation="poll") > 0


async def test_how_long_the_oldest_job_has_waited(studio: Studio) -> None:
    admin = await studio.person()
    await studio.program.worker.stop(0)  # nobody takes anything from the line any more
    await asked_clip(admin)
    await asyncio.sleep(0.3)
    await asked_clip(admin)
    samples = await _metrics(admin)
    assert _value(samples, "atelier_jobs", state="queued") == 2
    assert 0.3 <= _value(samples, "atelier_oldest_waiting_job_seconds") < 30


async def test_what_the_program_itself_does(studio: Studio) -> None:
    samples = await _metrics(await studio.person())
    assert _value(samples, "atelier_committed_verbs_total") >= _value(samples, "atelier_commit_seconds_count") > 0
    assert _value(samples, "atelier_writer_queue") >= 0
    assert _value(samples, "atelier_loop_lag_seconds_count") > 0
    assert "atelier_loop_stalls_total" in samples
    assert "atelier_loop_longest_stall_seconds" in samples
    loops = {labels["loop"] for labels, _ in samples["atelier_loop_last_beat_timestamp_seconds"]}
    assert loops == {beat.name for beat in studio.program.background.beats()}
    assert all(value == 1 for _, value in samples["atelier_loop_alive"])
    assert _value(samples, "process_resident_memory_bytes") > 10_000_000
    assert _value(samples, "atelier_requests_under_way") == 1, "the one that asks"


async def test_open_streams(studio: Studio) -> None:
    admin = await studio.person()
    body = {"model": TEXT, "prompt": "[stuck] a long story", "stream": True}
    async with admin.stream("POST", "/api/v1/generate/text", json=body) as answer:
        assert answer.status_code == 200
        assert _value(await _metrics(admin), "atelier_open_streams") == 1
    samples = await eventually(lambda: _metrics(admin), lambda now: not _value(now, "atelier_open_streams"))
    # It was told how long the first word took, and not how long somebody listened.
    route = "/api/v1/generate/text"
    assert _value(samples, "atelier_request_seconds_count", route=route) == 1


async def test_nothing_about_anybody(studio: Studio) -> None:
    admin = await studio.person()
    other = await studio.person("ben.secret@studio.example")
    job = await asked_clip(other, "a prompt of mine")
    await studio.finished(other, job["id"])
    text = (await admin.get("/metrics")).text
    me = (await other.get("/api/v1/users/me")).json()
    for private in ("ben.secret", "ann@", me["id"], job["id"], "prompt of mine", PASSWORD, "127.0.0.1", CLIP):
        assert private not in text


async def test_no_label_grows_with_use(studio: Studio) -> None:
    """Twice the work, not one series more."""
    admin = await studio.person()

    async def used() -> Iterable[str]:
        body = {"model": CLIP, "prompt": "a boat", **SHORT}
        job = (await admin.post("/api/v1/generate/video", json=body)).json()
        await studio.finished(admin, job["id"])
        await admin.get(job["polling_url"], params={"q": job["id"]})
        await admin.get("/metrics")
        return sorted(line.rpartition(" ")[0] for line in (await admin.get("/metrics")).text.splitlines())

    first = await used()
    assert await used() == first


async def test_an_admin_sees_the_stalls_in_the_health_too(studio: Studio) -> None:
    admin = await studio.person()
    health = (await admin.get("/api/v1/admin/health")).json()
    assert health["longest_stall_ms"] >= 0
    assert all(set(stall) == {"at", "ms", "cpu_ms", "where"} for stall in health["stalls"])
