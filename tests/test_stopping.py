"""SIGTERM at the worst moments: the process ends in good order, and every job goes on after the next start.

The provider outlives it; whether something was sent twice is judged by the provider's log.
"""

import asyncio
import contextlib
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app import __main__ as command_line
from app import main as program
from app.web import server
from tests.benchmarks.load import connected
from tests.kit import IMAGE_MODEL, SHORT_VIDEO, TEXT_MODEL, VIDEO_MODEL, Json, ended_job, eventually, read_job
from tests.processes import RunningProcess, environment, python_process
from tests.studio import PASSWORD
from tests.trust import trust
from tests.upstream import Upstream, upstream

ACCOUNT = {"email": "ann@studio.example", "password": PASSWORD}
PROMISE = 10.0  # seconds after which a stop has come to its end
BOUND = 300.0  # seconds; only a broken product needs them


@asynccontextmanager
async def atelier(
    folder: Path, provider: Upstream, *, grace: float = 1.0, limit: int = int(BOUND)
) -> AsyncIterator[tuple[RunningProcess, httpx.AsyncClient]]:
    """The process, with `grace` and `limit` for its stop, and a client of its user, once the models are known."""
    arguments = ["tests.stop_limits", str(grace), str(limit)]
    async with python_process(*arguments, env=environment(folder, provider.settings)) as process:
        await process.ready(BOUND)
        async with httpx.AsyncClient(
            base_url=process.url,
            timeout=BOUND,
            trust_env=False,
            verify=trust(),
            limits=httpx.Limits(keepalive_expiry=1),
        ) as client:
            await client.post("/api/v1/auth/register", json=ACCOUNT)
            tokens = (await client.post("/api/v1/auth/login", json=ACCOUNT)).json()
            client.headers["Authorization"] = f"Bearer {tokens['access_token']}"

            async def known_models() -> int:
                total: int = (await client.get("/api/v1/ai/models")).json()["total"]
                return total

            await eventually(known_models, bool)
            yield process, client


async def request(client: httpx.AsyncClient, kind: str, **body: object) -> Json:
    """A job that was accepted just now."""
    answer = await client.post(f"/api/v1/generate/{kind}", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    return job


async def submitted(provider: Upstream, *prompts: str) -> None:
    """Wait until the provider has accepted these prompts, and no others."""
    await eventually(lambda: asyncio.sleep(0, sorted(provider.prompts())), lambda sent: sent == sorted(prompts))


async def stop_begins(process: RunningProcess) -> None:
    """Send SIGTERM and wait until it was received: from then on a second one is not handled by the program any more."""

    status_file = Path(f"/proc/{process.process.pid}/status")

    def caught() -> bool:
        status = status_file.read_text()
        (mask,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")]
        return bool(mask & 1 << signal.SIGTERM - 1)

    assert caught()
    process.hit(signal.SIGTERM)
    await eventually(lambda: asyncio.to_thread(caught), lambda now: not now)


async def stopped(process: RunningProcess) -> None:
    """Wait until the process has ended in good order: not by its limit, which is a signal."""
    assert await process.ended(BOUND) == 0, process.err[-5:]


def test_a_stop_ends_within_ten_seconds_when_everything_takes_as_long_as_it_may() -> None:
    """The other tests show that each phase keeps its limit; these are the limits."""
    assert program.DRAIN_TIMEOUT + server.SHUTDOWN_TIMEOUT < command_line.SHUTDOWN_TIMEOUT < PROMISE


async def test_a_video_and_an_image_in_progress(tmp_path: Path) -> None:
    """What completes within the grace is kept; what does not is cut off, and its job says so."""
    video_prompt, soon_prompt, slow_prompt = "[stamp] a video", "[stamp] soon", "[slow] later"
    async with upstream(tmp_path) as provider:
        async with atelier(tmp_path, provider, grace=10) as (process, client):
            video = await request(client, "video", model=VIDEO_MODEL, prompt=video_prompt, **SHORT_VIDEO)
            body = {"model": IMAGE_MODEL, "prompt": slow_prompt}
            waiting = asyncio.create_task(client.post("/api/v1/generate/image", json=body))
            soon = await request(client, "image", model=IMAGE_MODEL, prompt=soon_prompt)
            await submitted(provider, video_prompt, soon_prompt, slow_prompt)
            jobs = (await client.get("/api/v1/jobs")).json()["items"]
            (slow,) = [job for job in jobs if job["prompt"] == slow_prompt]
            await provider.clock.sleeping(2)
            await stop_begins(process)
            provider.clock.advance(2)
            await stopped(process)
            answer = await waiting
            assert (answer.status_code, answer.json()["id"]) == (202, slow["id"]), "the caller learns how things stand"
        async with atelier(tmp_path, provider) as (_, client):
            done = await ended_job(client, soon["id"])
            assert (done["status"], len(done["assets"])) == ("completed", 1)
            cut_off = await ended_job(client, slow["id"])
            assert (cut_off["status"], cut_off["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
            assert (await read_job(client, video["id"]))["status"] == "processing", "it goes on"
            provider.clock.advance(60)
            done = await ended_job(client, video["id"])
            assert (done["status"], len(done["assets"])) == ("completed", 1)
        assert sorted(provider.prompts()) == sorted([video_prompt, soon_prompt, slow_prompt]), "nothing was sent again"


async def test_two_streams_and_five_hundred_connections(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))  # also for the process
    text_prompt, chat_prompt = "a long story", "another long story"
    async with upstream(tmp_path) as provider:
        async with atelier(tmp_path, provider) as (process, client), contextlib.AsyncExitStack() as stack:
            video = await request(client, "video", model=VIDEO_MODEL, prompt="[stamp] a video", **SHORT_VIDEO)
            token = client.headers["Authorization"].removeprefix("Bearer ")
            connections = [await stack.enter_async_context(connected(process.url, token)) for _ in range(500)]
            polls = await asyncio.gather(*(one.ask("GET", video["polling_url"]) for one in connections))
            assert {poll.status for poll in polls} == {200}

            streams = []
            for path, body in (
                ("generate/text", {"model": TEXT_MODEL, "prompt": text_prompt, "stream": True}),
                (
                    "ai/chat",
                    {"model": TEXT_MODEL, "messages": [{"role": "user", "content": chat_prompt}], "stream": True},
                ),
            ):
                response = await stack.enter_async_context(client.stream("POST", f"/api/v1/{path}", json=body))
                assert response.status_code == 200
                streams.append(response.aiter_lines())
            await submitted(provider, "[stamp] a video", text_prompt, chat_prompt)
            for _ in range(2):  # each begins, sends its first word, and no more
                await provider.clock.sleeping(2)
                provider.clock.advance(1)
            for lines in streams:
                async for line in lines:
                    if "delta" in line:
                        break
            late = [asyncio.create_task(one.ask("GET", video["polling_url"])) for one in connections[:100]]
            await stop_begins(process)
            text_rest, chat_rest = [[line async for line in lines if line] for lines in streams]
            assert text_rest[-1] == chat_rest[-1] == "data: [DONE]", "a stream ends as streams do"
            (error,) = [line for line in text_rest if '"error"' in line]
            assert "not responded yet" in error
            await stopped(process)
            # A request of the last moment was answered, or finds the connection closed; none hangs.
            async with asyncio.timeout(BOUND):
                answers = await asyncio.gather(*late, return_exceptions=True)
            assert all(isinstance(one, OSError | EOFError) or one.status == 200 for one in answers)  # type: ignore[union-attr]
        async with atelier(tmp_path, provider) as (process, client):
            jobs = {job["prompt"]: job for job in (await client.get("/api/v1/jobs")).json()["items"]}
            assert jobs["[stamp] a video"]["status"] == "processing", "it goes on"
            text = jobs[text_prompt]
            assert (text["status"], text["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
            assert sorted(provider.prompts()) == sorted(["[stamp] a video", text_prompt, chat_prompt])
            await stop_begins(process)
            await stopped(process)


async def test_a_second_signal_ends_it_at_once_and_so_does_the_limit(tmp_path: Path) -> None:
    """The stop waits for an image that the provider does not send."""
    async with upstream(tmp_path) as provider:
        prompts: list[str] = []
        for limit, second, code in (
            (BOUND, signal.SIGTERM, -signal.SIGTERM),
            (BOUND, signal.SIGINT, -signal.SIGINT),
            (1, None, -signal.SIGALRM),
        ):
            async with atelier(tmp_path, provider, grace=BOUND, limit=int(limit)) as (process, client):
                if prompts:
                    (job, *_) = (await client.get("/api/v1/jobs")).json()["items"]
                    assert job["prompt"] == prompts[-1]
                    assert (job["status"], job["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
                prompts.append(f"until {signal.Signals(-code).name}")
                await request(client, "image", model=IMAGE_MODEL, prompt=prompts[-1])
                await submitted(provider, *prompts)
                await stop_begins(process)
                if second:
                    process.hit(second)
                assert await process.ended(BOUND) == code


@pytest.fixture(autouse=True)
def file_limit() -> Iterator[None]:
    """Leave the limit of open files as it was."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
