"""A provider's call is a wake-up and nothing else: an honest one makes the next poll due now, every other changes nothing."""

import asyncio
import hashlib
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from app.base.config import load
from app.base.database import Database
from app.base.errors import Denied, Missing
from app.base.metrics import Metrics
from app.catalog.service import Catalog
from app.jobs.schemas import Job
from app.jobs.service import Jobs
from app.library.service import Library
from app.providers.calls import Calls
from app.providers.client import Client
from app.providers.contract import Later, Ticket
from app.providers.openrouter import Webhooks
from app.quota.service import Quota
from app.storage.files import Files
from app.storage.media import Media
from tests.api.kit import CLIP, SHORT, Json, problem, read_job
from tests.api.processes import Running, atelier, provider
from tests.jobs.conftest import a_job
from tests.studio import PASSWORD, Studio, running
from tests.trust import trust
from tests.watch.patience import eventually

ORIGIN = "https://studio.example.org"
SECRET = "whsec-a-secret-of-the-workspace"
PAUSE = 3600.0  # seconds between two polls: what comes earlier came because of a call
BODY = json.dumps({"type": "video.generation.completed", "data": {"id": "up-1", "status": "completed"}}).encode()


def signed(body: bytes = BODY, *, secret: str = SECRET, age: float = 0) -> str:
    """What OpenRouter's documentation says, written down a second time."""
    moment = int(time.time() - age)
    mac = hmac.new(secret.encode(), f"{moment},".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={mac}"


def headers(signature: str | None = None, key: str | None = "up-1-completed") -> dict[str, str]:
    found = {
        "x-openrouter-idempotency-key": key,
        "x-openrouter-signature": signed() if signature is None else signature,
    }
    return {name: value for name, value in found.items() if value}


class Scene:
    """One clip that is being made, whose next poll is an hour away."""

    def __init__(self, jobs: Jobs, calls: Calls, job: Job) -> None:
        self.jobs = jobs
        self.calls = calls
        self.job = job
        self.token = calls.address("openrouter", job.id).rpartition("/")[2]

    def call(self, token: str | None = None, given: dict[str, str] | None = None, body: bytes = BODY) -> None:
        self.jobs.called("openrouter", self.token if token is None else token, given or headers(), body)

    def due(self) -> list[str]:
        return [job.id for job in self.jobs.to_poll(9)]


@pytest.fixture
async def library(database: Database, tmp_path: Path) -> AsyncIterator[Library]:
    for name in ("media", "tmp"):
        (tmp_path / name).mkdir()
    files, media, client = Files(tmp_path / "media", tmp_path / "tmp"), Media(), Client()
    yield Library(database, files, media, client, max_image_bytes=10**7, max_video_bytes=10**8)
    files.close()
    media.close()
    await client.aclose()


async def _scene(database: Database, catalog: Catalog, library: Library, secret: str | None) -> Scene:
    calls = Calls(ORIGIN, "a secret of ours", {"openrouter": Webhooks(secret).key})
    jobs = Jobs(
        database, Quota(database), catalog, library, {}, timeout=7200, pause=PAUSE, calls=calls, metrics=Metrics()
    )
    await jobs.enqueue(a_job())
    (claimed,) = await jobs.claim(1)
    await jobs.go_on(claimed, Later(ticket=Ticket("up-1"), state="pending"))
    job = jobs.current(claimed.id)
    assert job is not None
    assert jobs.to_poll(9) == []
    return Scene(jobs, calls, job)


@pytest.fixture
async def scene(database: Database, catalog: Catalog, library: Library) -> Scene:
    return await _scene(database, catalog, library, SECRET)


async def test_an_honest_call_makes_the_next_poll_due_now(scene: Scene) -> None:
    scene.call()
    assert scene.due() == [scene.job.id]


# Made when they are used: a signature is good for five minutes only.
NOT_OPENROUTERS: dict[str, Callable[[], str]] = {
    "not signed": lambda: "",
    "signed with another secret": lambda: signed(secret="another secret"),
    "signed over another body": lambda: signed(BODY + b" "),
    "stale": lambda: signed(age=301),
    "from the future": lambda: signed(age=-60),
    "without its moment": lambda: signed().partition(",")[2],
    "of another scheme": lambda: signed().replace("v1=", "v0="),
    "with more behind it": lambda: signed() + ",v1=00",
    "in capitals": lambda: signed().upper(),
    "with a moment that is no number": lambda: "t=soon,v1=" + "0" * 64,
    "with other digits": lambda: "t=١٢٣,v1=" + "0" * 64,
}


@pytest.mark.parametrize("signature", NOT_OPENROUTERS.values(), ids=NOT_OPENROUTERS)
async def test_a_call_that_is_not_openrouters_is_refused_and_changes_nothing(
    scene: Scene, signature: Callable[[], str]
) -> None:
    with pytest.raises(Denied) as refused:
        scene.call(given={**headers(), "x-openrouter-signature": signature()})
    assert not refused.value.signed_in
    assert scene.due() == []
    assert scene.jobs.current(scene.job.id) == scene.job


def _tokens(scene: Scene) -> dict[str, str]:
    other = scene.calls.address("openrouter", "0" * 32).rpartition("/")[2]
    return {
        "only the id": scene.job.id,
        "no mark": f"{scene.job.id}-",
        "the mark of another job": f"{scene.job.id}-{other.partition('-')[2]}",
        "the mark of another provider": scene.calls.address("fal", scene.job.id).rpartition("/")[2],
        "a job that nobody knows": other,
        "nothing": "",
        "odd letters": "ü-\x00",
    }


@pytest.mark.parametrize("name", ["only the id", "no mark", "the mark of another job", "the mark of another provider",
                                  "a job that nobody knows", "nothing", "odd letters"])  # fmt: skip
async def test_a_call_to_an_address_that_was_not_given_changes_nothing(scene: Scene, name: str) -> None:
    scene.call(token=_tokens(scene)[name])
    assert scene.due() == []


async def test_a_repeated_call_changes_nothing(scene: Scene) -> None:
    scene.call()
    (polled,) = scene.jobs.to_poll(9)
    await scene.jobs.go_on(polled, Later(ticket=Ticket("up-1"), state="pending"))
    scene.jobs.polled(polled)
    for _ in range(3):
        scene.call(given=headers(signed()))  # signed anew, and the same all the same
    assert scene.due() == []
    scene.call(given=headers(key="up-1-failed"))
    assert scene.due() == [scene.job.id]


async def test_without_its_key_a_call_is_known_by_its_body(scene: Scene) -> None:
    for _ in range(2):
        scene.call(given=headers(key=None))
    (polled,) = scene.jobs.to_poll(9)
    await scene.jobs.go_on(polled, Later(ticket=Ticket("up-1"), state="pending"))
    scene.jobs.polled(polled)
    scene.call(given=headers(key=None))
    assert scene.due() == []


async def test_a_late_call_changes_nothing(scene: Scene) -> None:
    """The poll was faster."""
    await scene.jobs.cancel("ann", scene.job.id)
    await scene.jobs.go_on(scene.job, Later(ticket=Ticket("up-1"), state="pending"))
    before = await scene.jobs.find("ann", scene.job.id)
    scene.call()
    assert await scene.jobs.find("ann", scene.job.id) == before


async def test_what_a_call_says_is_not_believed(scene: Scene) -> None:
    lie = json.dumps({"type": "video.generation.failed", "data": {"id": "up-1", "status": "failed"}}).encode()
    scene.call(given=headers(signed(lie)), body=lie)
    assert scene.due() == [scene.job.id]
    assert scene.jobs.current(scene.job.id) == scene.job


async def test_a_call_during_a_poll_has_the_job_asked_once_more(scene: Scene) -> None:
    """The provider may have finished just after it answered."""
    scene.call()
    (polled,) = scene.jobs.to_poll(9)
    scene.call(given=headers(key="up-1-expired"))
    assert scene.due() == [], "it is being asked at this moment"
    await scene.jobs.go_on(polled, Later(ticket=Ticket("up-1"), state="in_progress"))
    scene.jobs.polled(polled)
    assert scene.due() == [scene.job.id]


async def test_a_call_that_is_faster_than_the_answer_to_the_submit_is_not_lost(
    database: Database, catalog: Catalog, library: Library
) -> None:
    calls = Calls(ORIGIN, "a secret of ours", {"openrouter": Webhooks(None).key})
    jobs = Jobs(database, Quota(database), catalog, library, {}, timeout=7200, pause=PAUSE, calls=calls)
    await jobs.enqueue(a_job())
    (job,) = await jobs.claim(1)
    jobs.called("openrouter", calls.address("openrouter", job.id).rpartition("/")[2], {}, b"{}")
    assert jobs.to_poll(9) == []
    await jobs.go_on(job, Later(ticket=Ticket("up-1"), state="pending"))
    assert [job.id for job in jobs.to_poll(9)] == [job.id]


async def test_without_a_secret_the_address_alone_is_the_proof(
    database: Database, catalog: Catalog, library: Library
) -> None:
    scene = await _scene(database, catalog, library, None)
    scene.call(token=f"{scene.job.id}-{'0' * 64}", given={})
    assert scene.due() == []
    scene.call(given={"x-openrouter-signature": "t=1,v1=nonsense"})
    assert scene.due() == [scene.job.id]


async def test_nobody_calls_for_a_provider_that_does_not(scene: Scene) -> None:
    with pytest.raises(Missing):
        scene.jobs.called("fal", scene.token, headers(), BODY)


@pytest.mark.parametrize(
    ("public_url", "public"),
    [
        ("https://studio.example.org", True),
        ("https://studio.example.org:8443", True),
        ("https://93.184.216.34", True),
        ("http://studio.example.org", False),
        ("https://localhost", False),
        ("https://127.0.0.1:8000", False),
        ("https://192.168.1.20", False),
        ("https://[::1]:8000", False),
        ("https://[fd00::1]", False),
        ("https://nas", False),
        ("https://nas.local", False),
        ("https://studio.home.arpa", False),
        ("https://studio.localhost", False),
    ],
)
def test_only_a_public_https_address_is_given_out(public_url: str, public: bool) -> None:
    assert load({"ATELIER_PUBLIC_URL": public_url}).public is public


# Through the door


@pytest.fixture
async def called(tmp_path: Path) -> AsyncIterator[Studio]:
    async with running(tmp_path, ATELIER_PUBLIC_URL=ORIGIN, OPENROUTER_WEBHOOK_SECRET=SECRET) as studio:
        yield studio


PATH = f"/webhooks/openrouter/{'0' * 32}-{'0' * 64}"


@pytest.mark.parametrize(
    ("path", "signature", "body", "status"),
    [
        (PATH, signed, BODY, 204),
        (PATH, signed, b"", 401),
        (PATH, lambda body: "", BODY, 401),
        (PATH, lambda body: signed(body, age=301), BODY, 401),
        (PATH, signed, b"\xff\x00", 204),
        (PATH, signed, b"x" * 70_000, 413),
        ("/webhooks/nobody/1-2", signed, BODY, 404),
        ("/webhooks/openrouter", signed, BODY, 404),
    ],
    ids=["good", "over another body", "not signed", "stale", "not JSON", "too large", "nobody's", "nowhere"],
)
async def test_the_door_answers_without_a_login_or_a_form_token(
    called: Studio, path: str, signature: Callable[[bytes], str], body: bytes, status: int
) -> None:
    given = headers(signature(body or BODY))
    foreign = {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}
    answer = await called.client().post(path, content=body, headers={**foreign, **given})
    if status == 204:
        assert (answer.status_code, answer.content) == (204, b"")
    else:
        problem(answer, status)


async def test_the_door_takes_only_post(called: Studio) -> None:
    answer = await called.client().get(PATH)
    problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert "POST" in answer.headers["Allow"]


async def test_an_address_may_not_call_without_end(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_RATE_LIMITS="on") as studio:
        client = studio.client()
        answers = [(await client.post(PATH, content=BODY)).status_code for _ in range(602)]
    assert answers.count(204) == 600
    assert answers[-1] == 429


# Beside a provider that calls


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


async def _calls(upstream: Running) -> list[Json]:
    async with httpx.AsyncClient(trust_env=False, verify=trust()) as http:
        found: list[Json] = (await http.get(f"{upstream.url}/simulator/webhooks")).json()
        return found


async def test_a_clip_arrives_long_before_its_next_poll(tmp_path: Path) -> None:
    """Atelier behind a public name, a poll every hour, and a provider that calls when it is done."""
    port = _free_port()
    here = f"http://127.0.0.1:{port}"
    async with provider(tmp_path, "0.1", "--webhook-to", here, "--webhook-secret", SECRET) as upstream:
        settings = {
            "OPENROUTER_BASE_URL": f"{upstream.url}/api/v1",
            "OPENROUTER_API_KEY": "any",
            "OPENROUTER_WEBHOOK_SECRET": SECRET,
            "ATELIER_PUBLIC_URL": ORIGIN,
            "ATELIER_PORT": str(port),
            "ATELIER_WORKER_SECONDS": "3600",
        }
        async with atelier(tmp_path, settings=settings) as studio:
            await studio.ready()
            async with httpx.AsyncClient(base_url=here, timeout=60, trust_env=False, verify=trust()) as http:
                person = {"email": "ann@studio.example", "password": PASSWORD}
                await http.post("/api/v1/auth/register", json=person)
                tokens = (await http.post("/api/v1/auth/login", json=person)).json()
                http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
                body = {"model": CLIP, "prompt": "a lighthouse that calls", **SHORT}
                job = (await http.post("/api/v1/generate/video", json=body)).json()
                done = await eventually(lambda: read_job(http, job["id"]), lambda now: now["completed_at"] is not None)
                assert (done["status"], len(done["assets"])) == ("completed", 1)
                (call,) = await eventually(lambda: _calls(upstream), lambda made: len(made) == 1)
                assert call["status"] == 204
                assert call["path"].startswith(f"/webhooks/openrouter/{job['id']}-")
                # The path is as good as a password, so the log does not have it.
                lines = [json.loads(line) for line in studio.err if '"request"' in line]
                (told,) = [line for line in lines if str(line.get("path", "")).startswith("/webhooks/")]
                assert told["path"] == "/webhooks/{provider}/{token}"
                assert not any(call["path"].rpartition("-")[2] in line for line in studio.err)


async def test_a_provider_calls_again_until_it_is_heard(tmp_path: Path) -> None:
    port = _free_port()
    async with provider(tmp_path, "0", "--webhook-to", f"http://127.0.0.1:{port}") as upstream:
        async with httpx.AsyncClient(trust_env=False, verify=trust(), headers={"Authorization": "Bearer any"}) as http:
            body = {"model": CLIP, "prompt": "nobody is in", "callback_url": f"{ORIGIN}/hook", **SHORT}
            await http.post(f"{upstream.url}/api/v1/videos", json=body)
        await eventually(lambda: _calls(upstream), lambda made: len(made) >= 2)
        heard = asyncio.Event()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            writer.close()
            heard.set()

        async with await asyncio.start_server(listen, "127.0.0.1", port):
            async with asyncio.timeout(20):
                await heard.wait()
        made = await eventually(lambda: _calls(upstream), lambda made: made[-1]["status"] == 204)
        assert {call["status"] for call in made[:-1]} == {0}
