"""SIGTERM at the worst moments: out within ten seconds, in good order, and every job goes on after the next start.

The provider is the simulator as a process of its own; whether something was sent twice is judged by its log.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.kit import CLIP, PICTURE, SHORT, TEXT, Json, read_job
from tests.api.processes import Running, atelier, provider
from tests.benchmarks.load import connected
from tests.studio import PASSWORD
from tests.trust import trust
from tests.watch.patience import eventually

PERSON = {"email": "ann@studio.example", "password": PASSWORD}
LONGEST = 10.0  # seconds, by the promise
STUCK = "[stuck] a lighthouse"


def beside(upstream: Running) -> dict[str, str]:
    return {"OPENROUTER_BASE_URL": f"{upstream.url}/api/v1", "OPENROUTER_API_KEY": "any"}


@asynccontextmanager
async def signed_in(studio: Running) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has an account by now, once the models are known."""
    await studio.ready()
    async with httpx.AsyncClient(base_url=studio.url, timeout=60, trust_env=False, verify=trust()) as http:
        await http.post("/api/v1/auth/register", json=PERSON)
        tokens = (await http.post("/api/v1/auth/login", json=PERSON)).json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

        async def offered() -> int:
            total: int = (await http.get("/api/v1/ai/models")).json()["total"]
            return total

        await eventually(offered, lambda total: total > 0)
        yield http


async def submits(upstream: Running) -> list[str]:
    """The prompts that reached the provider."""
    async with httpx.AsyncClient(trust_env=False, verify=trust()) as http:
        sent: list[Json] = (await http.get(f"{upstream.url}/simulator/submits")).json()
        return [str(one["prompt"]) for one in sent]


async def asked(http: httpx.AsyncClient, kind: str, **body: object) -> Json:
    """A job that was accepted a moment ago."""
    answer = await http.post(f"/api/v1/generate/{kind}", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    return job


async def stops(studio: Running) -> None:
    """In good order and in time."""
    began = time.monotonic()
    assert await studio.stopped(signal.SIGTERM) == 0, studio.err[-5:]
    assert time.monotonic() - began < LONGEST


async def ended(http: httpx.AsyncClient, id: str) -> Json:
    return await eventually(lambda: read_job(http, id), lambda job: job["completed_at"] is not None)


async def test_while_a_clip_is_being_polled(tmp_path: Path) -> None:
    async with provider(tmp_path, "0.4") as upstream:
        async with atelier(tmp_path, settings=beside(upstream)) as studio, signed_in(studio) as http:
            job = await asked(http, "video", model=CLIP, prompt="a boat", **SHORT)
            await eventually(lambda: submits(upstream), lambda sent: len(sent) == 1)
            await stops(studio)
        async with atelier(tmp_path, settings=beside(upstream)) as studio, signed_in(studio) as http:
            done = await ended(http, job["id"])
            assert (done["status"], len(done["assets"])) == ("completed", 1)
            assert await submits(upstream) == ["a boat"]


async def test_while_pictures_are_being_made(tmp_path: Path) -> None:
    """What ends within the moment that is given is kept; what does not was cut in flight, and says so."""
    async with provider(tmp_path, "0.7") as upstream:
        async with atelier(tmp_path, settings=beside(upstream)) as studio, signed_in(studio) as http:
            waiting = asyncio.create_task(
                http.post("/api/v1/generate/image", json={"model": PICTURE, "prompt": STUCK}), name="who waits"
            )
            soon = await asked(http, "image", model=PICTURE, prompt="a boat")
            both = await eventually(lambda: _jobs(http), lambda jobs: len(jobs) == 2)
            (stuck,) = [job for job in both if job["prompt"] == STUCK]
            await eventually(lambda: submits(upstream), lambda sent: len(sent) == 2)
            await stops(studio)
            answer = await waiting
            assert (answer.status_code, answer.json()["id"]) == (202, stuck["id"]), "who waits is told how things stand"
        async with atelier(tmp_path, settings=beside(upstream)) as studio, signed_in(studio) as http:
            done = await ended(http, soon["id"])
            assert (done["status"], len(done["assets"])) == ("completed", 1)
            cut = await ended(http, stuck["id"])
            assert (cut["status"], cut["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
            assert sorted(await submits(upstream)) == [STUCK, "a boat"], "nothing was sent again"


async def _jobs(http: httpx.AsyncClient) -> list[Json]:
    items: list[Json] = (await http.get("/api/v1/jobs")).json()["items"]
    return items


async def test_while_a_text_is_streamed(tmp_path: Path) -> None:
    async with provider(tmp_path, "6") as upstream:
        async with atelier(tmp_path, settings=beside(upstream)) as studio, signed_in(studio) as http:
            body = {"model": TEXT, "prompt": "a long story", "stream": True}
            async with http.stream("POST", "/api/v1/generate/text", json=body, timeout=60) as answer:
                lines = answer.aiter_lines()
                async for line in lines:
                    if "delta" in line:
                        break
                stopping = asyncio.create_task(stops(studio))
                rest = [line async for line in lines]
            await stopping
            assert rest[-2:] == ["data: [DONE]", ""] or rest[-1] == "data: [DONE]", "the stream ends as streams do"
            (told,) = [line for line in rest if '"error"' in line]
            assert "not answered yet" in told
        async with atelier(tmp_path, settings=beside(upstream)) as studio, signed_in(studio) as http:
            (job,) = await _jobs(http)
            assert (job["status"], job["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
            assert await submits(upstream) == ["a long story"]


async def test_with_five_hundred_connections_and_a_stream(tmp_path: Path) -> None:
    async with provider(tmp_path, "6") as upstream:
        async with atelier(tmp_path, settings=beside(upstream)) as studio, signed_in(studio) as http:
            job = await asked(http, "video", model=CLIP, prompt="a boat", **SHORT)
            token = http.headers["Authorization"].removeprefix("Bearer ")
            async with contextlib.AsyncExitStack() as everybody:
                opened = [await everybody.enter_async_context(connected(studio.url, token)) for _ in range(500)]
                polls = await asyncio.gather(*(one.ask("GET", job["polling_url"]) for one in opened))
                assert {poll.status for poll in polls} == {200}
                body = {"model": TEXT, "messages": [{"role": "user", "content": "a long story"}], "stream": True}
                stream = await everybody.enter_async_context(
                    http.stream("POST", "/api/v1/ai/chat", json=body, timeout=60)
                )
                lines = stream.aiter_lines()
                await anext(lines)
                again = [asyncio.create_task(one.ask("GET", job["polling_url"])) for one in opened[:100]]
                await stops(studio)
                assert "data: [DONE]" in [line async for line in lines]
                # Who asked at the last moment was answered, or finds the connection closed; nobody hangs.
                async with asyncio.timeout(10):
                    late = await asyncio.gather(*again, return_exceptions=True)
                assert all(isinstance(one, OSError | EOFError) or one.status == 200 for one in late)  # type: ignore[union-attr]
        async with atelier(tmp_path, settings=beside(upstream)) as studio, signed_in(studio) as http:
            now = await read_job(http, job["id"])
            assert now["status"] == "processing", "it goes on"
            await stops(studio)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(tmp_path: Path, second: signal.Signals) -> None:
    async with provider(tmp_path) as upstream:
        async with atelier(tmp_path, settings=beside(upstream)) as studio, signed_in(studio) as http:
            job = await asked(http, "image", model=PICTURE, prompt=STUCK)
            await eventually(lambda: submits(upstream), lambda sent: len(sent) == 1)
            studio.hit(signal.SIGTERM)
            with pytest.raises(TimeoutError):
                await studio.ended(0.7)  # it waits for the picture, but not now
            began = time.monotonic()
            assert await studio.stopped(second) == -second
            assert time.monotonic() - began < 2
        async with atelier(tmp_path, settings=beside(upstream)) as studio, signed_in(studio) as http:
            now = await read_job(http, job["id"])
            assert (now["status"], now["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
