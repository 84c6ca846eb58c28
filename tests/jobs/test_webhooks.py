"""A webhook makes the next poll due now and does nothing else: its content is not trusted, and a forged one changes
nothing."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn

from app.base import logging
from app.base.config import load
from app.base.errors import Denied, Missing
from app.jobs.schemas import Job
from app.jobs.service import Jobs
from app.providers.contract import Pending, UpstreamJob
from app.providers.openrouter import Webhooks
from app.providers.simulator.app import build as build_simulator
from app.providers.webhooks import WebhookVerifier
from app.web.server import HttpServer, listening, serving
from tests.jobs.conftest import OpenJobs, new_job
from tests.kit import SHORT_VIDEO, VIDEO_MODEL, Cases, Json, ended_job, error_of, eventually, requested_video
from tests.studio import Studio, running
from tests.trust import trust

ORIGIN = "https://studio.example.org"
SECRET = "whsec-a-secret-of-the-workspace"
POLL_SECONDS = 3600.0  # so an earlier poll can only come from a webhook
BODY = json.dumps({"type": "video.generation.completed", "data": {"id": "up-1", "status": "completed"}}).encode()


def signed(body: bytes = BODY, *, secret: str = SECRET, age: float = 0) -> str:
    """The signature as OpenRouter's documentation describes it."""
    timestamp = int(time.time() - age)
    mac = hmac.new(secret.encode(), f"{timestamp},".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={mac}"


def headers(signature: str | None = None, key: str | None = "up-1-completed") -> dict[str, str]:
    found = {
        "x-openrouter-idempotency-key": key,
        "x-openrouter-signature": signed() if signature is None else signature,
    }
    return {name: value for name, value in found.items() if value}


class Video:
    """A video that is processed by the provider, and whose next poll is an hour away."""

    def __init__(self, jobs: Jobs, webhooks: WebhookVerifier, job: Job) -> None:
        self.jobs = jobs
        self.webhooks = webhooks
        self.job = job
        self.token = token_of(webhooks, job)

    async def call(self, token: str | None = None, given: dict[str, str] | None = None, body: bytes = BODY) -> None:
        await self.jobs.on_webhook("openrouter", self.token if token is None else token, given or headers(), body)

    def run_at(self) -> list[str]:
        return [job.id for job in self.jobs.live.to_poll(9)]


def token_of(webhooks: WebhookVerifier, job: Job, provider: str = "openrouter") -> str:
    """The token in the webhook URL of this job."""
    return webhooks.address(provider, job.id).rpartition("/")[2]


def webhooks_of(secret: str | None) -> WebhookVerifier:
    return WebhookVerifier(ORIGIN, "a server secret", {"openrouter": Webhooks(secret).key})


async def processing_video(open_jobs: OpenJobs, secret: str | None) -> Video:
    webhooks = webhooks_of(secret)
    jobs = open_jobs(timeout=7200, poll_interval=POLL_SECONDS, webhooks=webhooks)
    await jobs.enqueue(new_job())
    (claimed,) = await jobs.execution.claim(1)
    await jobs.execution.record_progress(claimed, Pending(upstream_job=UpstreamJob("up-1"), state="pending"))
    job = jobs.live.find(claimed.id)
    assert job is not None
    assert jobs.live.to_poll(9) == []
    return Video(jobs, webhooks, job)


async def polled(video: Video, state: str = "pending") -> None:
    """Run the poll that is due."""
    (job,) = video.jobs.live.to_poll(9)
    await video.jobs.execution.record_progress(job, Pending(upstream_job=UpstreamJob("up-1"), state=state))
    video.jobs.live.polled(job)


@pytest.fixture
async def video(open_jobs: OpenJobs) -> Video:
    return await processing_video(open_jobs, SECRET)


async def test_a_genuine_webhook_makes_the_next_poll_due_now(video: Video) -> None:
    await video.call()
    assert video.run_at() == [video.job.id]


# Functions, because a signature is valid for five minutes only.
FORGED: dict[str, Callable[[], str]] = {
    "not signed": lambda: "",
    "signed with another secret": lambda: signed(secret="another secret"),
    "signed for another body": lambda: signed(BODY + b" "),
    "stale": lambda: signed(age=301),
    "from the future": lambda: signed(age=-60),
    "without a timestamp": lambda: signed().partition(",")[2],
    "with another scheme": lambda: signed().replace("v1=", "v0="),
    "with something after it": lambda: signed() + ",v1=00",
    "in capitals": lambda: signed().upper(),
    "with a timestamp that is not a number": lambda: "t=soon,v1=" + "0" * 64,
    "with other digits": lambda: "t=١٢٣,v1=" + "0" * 64,
}


async def test_a_forged_webhook_is_refused_and_changes_nothing(video: Video) -> None:
    with Cases() as cases:
        for name, signature in FORGED.items():
            with cases.case(name):
                with pytest.raises(Denied) as refusal:
                    await video.call(given={**headers(), "x-openrouter-signature": signature()})
                assert not refusal.value.signed_in
                assert video.run_at() == []
                assert video.jobs.live.find(video.job.id) == video.job


async def test_a_webhook_at_an_unknown_url_changes_nothing(video: Video) -> None:
    other = video.webhooks.address("openrouter", "0" * 32).rpartition("/")[2]
    tokens = {
        "only the id": video.job.id,
        "no signature": f"{video.job.id}-",
        "the signature of another job": f"{video.job.id}-{other.partition('-')[2]}",
        "the signature for another provider": token_of(video.webhooks, video.job, "fal"),
        "an unknown job": other,
        "nothing": "",
        "unusual characters": "ü-\x00",
    }
    with Cases() as cases:
        for name, token in tokens.items():
            with cases.case(name):
                await video.call(token=token, given=headers(key=name))
                assert video.run_at() == []


async def test_a_repeated_webhook_changes_nothing(video: Video) -> None:
    await video.call()
    await polled(video)
    for _ in range(3):
        await video.call(given=headers(signed()))  # with a new signature it is still the same webhook
    assert video.run_at() == []
    await video.call(given=headers(key="up-1-failed"))
    assert video.run_at() == [video.job.id]


async def test_a_webhook_without_an_idempotency_key_is_recognised_by_its_body(video: Video) -> None:
    for _ in range(2):
        await video.call(given=headers(key=None))
    await polled(video)
    await video.call(given=headers(key=None))
    assert video.run_at() == []


async def test_a_webhook_for_an_ended_job_changes_nothing(video: Video) -> None:
    await video.jobs.cancel("ann", video.job.id)
    await video.jobs.execution.record_progress(video.job, Pending(upstream_job=UpstreamJob("up-1"), state="pending"))
    before = await video.jobs.find("ann", video.job.id)
    await video.call()
    assert await video.jobs.find("ann", video.job.id) == before


async def test_the_content_of_a_webhook_is_not_trusted(video: Video) -> None:
    lie = json.dumps({"type": "video.generation.failed", "data": {"id": "up-1", "status": "failed"}}).encode()
    await video.call(given=headers(signed(lie)), body=lie)
    assert video.run_at() == [video.job.id]
    assert video.jobs.live.find(video.job.id) == video.job


async def test_a_webhook_during_a_poll_has_the_job_polled_once_more(video: Video) -> None:
    """The provider may have finished just after its response."""
    await video.call()
    (job,) = video.jobs.live.to_poll(9)
    await video.call(given=headers(key="up-1-expired"))
    assert video.run_at() == [], "the job is being polled"
    await video.jobs.execution.record_progress(job, Pending(upstream_job=UpstreamJob("up-1"), state="in_progress"))
    video.jobs.live.polled(job)
    assert video.run_at() == [video.job.id]


async def test_a_webhook_that_arrives_before_the_submit_response_is_not_lost(open_jobs: OpenJobs) -> None:
    webhooks = webhooks_of(None)
    jobs = open_jobs(timeout=7200, poll_interval=POLL_SECONDS, webhooks=webhooks)
    await jobs.enqueue(new_job())
    (job,) = await jobs.execution.claim(1)
    await jobs.on_webhook("openrouter", token_of(webhooks, job), {}, b"{}")
    assert jobs.live.to_poll(9) == []
    await jobs.execution.record_progress(job, Pending(upstream_job=UpstreamJob("up-1"), state="pending"))
    assert [job.id for job in jobs.live.to_poll(9)] == [job.id]


async def test_without_a_secret_the_url_token_alone_authenticates(open_jobs: OpenJobs) -> None:
    video = await processing_video(open_jobs, None)
    await video.call(token=f"{video.job.id}-{'0' * 64}", given={})
    assert video.run_at() == []
    await video.call(given={"x-openrouter-signature": "t=1,v1=nonsense"})
    assert video.run_at() == [video.job.id]


async def test_a_provider_without_webhooks_has_no_webhook_url(video: Video) -> None:
    with pytest.raises(Missing):
        await video.jobs.on_webhook("fal", video.token, headers(), BODY)


def test_only_a_public_https_address_is_given_to_providers() -> None:
    public = {
        "https://studio.example.org": True,
        "https://studio.example.org:8443": True,
        "https://93.184.216.34": True,
        "http://studio.example.org": False,
        "https://localhost": False,
        "https://127.0.0.1:8000": False,
        "https://192.168.1.20": False,
        "https://[::1]:8000": False,
        "https://[fd00::1]": False,
        "https://nas": False,
        "https://nas.local": False,
        "https://studio.home.arpa": False,
        "https://studio.localhost": False,
    }
    assert {url: load({"ATELIER_PUBLIC_URL": url}).public for url in public} == public


# Over HTTP


PATH = f"/webhooks/openrouter/{'0' * 32}-{'0' * 64}"


@pytest_asyncio.fixture(scope="module")
async def studio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    folder = tmp_path_factory.mktemp("webhooks")
    async with running(folder, ATELIER_PUBLIC_URL=ORIGIN, OPENROUTER_WEBHOOK_SECRET=SECRET) as studio:
        yield studio


async def test_the_route_answers_without_a_sign_in_and_without_a_form_token(studio: Studio) -> None:
    requests = {
        "genuine": (PATH, signed(), BODY, 204),
        "signed for another body": (PATH, signed(), b"", 401),
        "not signed": (PATH, "", BODY, 401),
        "stale": (PATH, signed(age=301), BODY, 401),
        "not JSON": (PATH, signed(b"\xff\x00"), b"\xff\x00", 204),
        "too large": (PATH, signed(b"x" * 70_000), b"x" * 70_000, 413),
        "an unknown provider": ("/webhooks/unknown/1-2", signed(), BODY, 404),
        "no token": ("/webhooks/openrouter", signed(), BODY, 404),
    }
    client = studio.client()
    with Cases() as cases:
        for name, (path, signature, body, status) in requests.items():
            with cases.case(name):
                cross_site = {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}
                answer = await client.post(path, content=body, headers={**cross_site, **headers(signature)})
                if status == 204:
                    assert (answer.status_code, answer.content) == (204, b"")
                else:
                    error_of(answer, status)


async def test_the_route_accepts_only_post(studio: Studio) -> None:
    answer = await studio.client().get(PATH)
    error_of(answer, 405, "METHOD_NOT_ALLOWED")
    assert "POST" in answer.headers["Allow"]


async def test_an_address_may_send_600_webhooks_in_a_minute(tmp_path: Path) -> None:
    async with running(tmp_path, timer=lambda: 0.0, ATELIER_RATE_LIMITS="on") as studio:
        client = studio.direct()
        statuses = [(await client.post(PATH, content=BODY)).status_code for _ in range(602)]
    assert statuses == [204] * 600 + [429] * 2


# With a provider that sends webhooks


@asynccontextmanager
async def provider_with_webhooks(folder: Path) -> AsyncIterator[tuple[Studio, httpx.AsyncClient]]:
    """Atelier with a public URL and hourly polls, with a simulator that sends webhooks as its provider; yields a client
    of the simulator too."""
    listener = listening("127.0.0.1", 0)
    listener.listen()  # so that Atelier's first request waits for the simulator, which needs Atelier's address
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with running(
        folder,
        OPENROUTER_BASE_URL=f"{origin}/api/v1",
        OPENROUTER_API_KEY="any",
        OPENROUTER_WEBHOOK_SECRET=SECRET,
        ATELIER_PUBLIC_URL=ORIGIN,
        ATELIER_WORKER_SECONDS="3600",
    ) as studio:
        simulator = build_simulator(folder / "provider", 0, webhook_to=studio.url, webhook_secret=SECRET)
        config = uvicorn.Config(simulator, lifespan="on", log_config=None, access_log=False)
        server = HttpServer(config)
        task = asyncio.create_task(server.serve([listener]))
        assert await serving(server, task)
        try:
            async with httpx.AsyncClient(base_url=origin, trust_env=False, verify=trust()) as client:
                yield studio, client
        finally:
            simulator.state.runtime.abort_requests()
            server.should_exit = True
            await task


@pytest.fixture
def log_entries(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    """The lines that have been logged as JSON since the last call."""
    logging.start(human=False)
    yield lambda: capsys.readouterr().err.splitlines()
    logging.start(human=True)


async def test_a_video_arrives_long_before_its_next_poll(tmp_path: Path, log_entries: Callable[[], list[str]]) -> None:
    async with provider_with_webhooks(tmp_path) as (studio, provider):
        await studio.program.catalog.filled.wait()
        ann = await studio.user()
        job = await requested_video(ann, "[stamp] a lighthouse with a webhook")
        done = await ended_job(ann, job["id"])
        assert (done["status"], len(done["assets"])) == ("completed", 1)
        (webhook,) = await eventually(lambda: sent_webhooks(provider), lambda sent: len(sent) == 1)
    assert webhook["status"] == 204
    assert webhook["path"].startswith(f"/webhooks/openrouter/{job['id']}-")
    # The path contains the secret token, so it is not logged.
    lines = log_entries()
    requests = [json.loads(line) for line in lines if '"request"' in line]
    (logged,) = [entry for entry in requests if str(entry.get("path", "")).startswith("/webhooks/")]
    assert logged["path"] == "/webhooks/{provider}/{token}"
    assert not any(webhook["path"].rpartition("-")[2] in line for line in lines)


async def sent_webhooks(provider: httpx.AsyncClient) -> list[Json]:
    found: list[Json] = (await provider.get("/simulator/webhooks")).json()
    return found


async def test_the_provider_repeats_a_webhook_until_it_is_received(tmp_path: Path) -> None:
    listener = listening("127.0.0.1", 0)  # bound, but it refuses connections until it listens
    simulator = build_simulator(tmp_path, 0, webhook_to=f"http://127.0.0.1:{listener.getsockname()[1]}")
    received = asyncio.Event()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()
        received.set()

    transport: Any = httpx.ASGITransport(simulator)  # type: ignore[arg-type]
    async with (
        simulator.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://simulator") as provider,
    ):
        body = {
            "model": VIDEO_MODEL,
            "prompt": "[stamp] a late listener",
            "callback_url": f"{ORIGIN}/hook",
            **SHORT_VIDEO,
        }
        await provider.post("/api/v1/videos", json=body, headers={"Authorization": "Bearer any"})
        await eventually(lambda: sent_webhooks(provider), lambda sent: len(sent) >= 2)
        async with await asyncio.start_server(receive, sock=listener):
            await received.wait()
        sent = await eventually(lambda: sent_webhooks(provider), lambda sent: sent[-1]["status"] == 204)
        assert {webhook["status"] for webhook in sent[:-1]} == {0}
