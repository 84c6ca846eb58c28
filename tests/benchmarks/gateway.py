"""OpenAI's clients: what /v1 adds to a provider that answers at once, and five hundred streams at once.

python -m tests.benchmarks.gateway
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.benchmarks import bare, load, peer
from tests.benchmarks.figures import Figure, run
from tests.benchmarks.instant import MODEL, PAUSE, TOKENS, WORD
from tests.benchmarks.processes import PERSON, Process, bystander, started, witness
from tests.kit import eventually
from tests.trust import trust

CONNECTIONS = 16
RATE = 300  # calls a second
CALLS = 3_000
STREAMS = 500
IDEAL = (TOKENS - 1) * PAUSE  # seconds from the first token to the last
STARTING = 3.5  # seconds in which the streams begin: the first still has words to say when the last begins

ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "A few words, please."}]}


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[tuple[Process, Process, str]]:
    """Atelier, the instant provider behind it, and a person's API key."""
    async with started(folder, "tests.benchmarks.instant", settings={}) as provider:
        beside = {"OPENROUTER_BASE_URL": f"{provider.url}/api/v1", "OPENROUTER_API_KEY": "any"}
        async with started(folder, "app", settings=beside) as atelier:
            async with httpx.AsyncClient(base_url=atelier.url, trust_env=False, verify=trust(), timeout=30) as http:
                await http.post("/api/v1/auth/register", json=PERSON)
                tokens = (await http.post("/api/v1/auth/login", json=PERSON)).json()
                http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
                key = (await http.post("/api/v1/users/me/keys", json={"name": "benchmark"})).json()["key"]

                async def offered() -> int:
                    return len((await http.get("/v1/models")).json()["data"])

                await eventually(offered, lambda count: count == 1)
            yield atelier, provider, key


async def paced(url: str, path: str, token: str) -> tuple[list[float], float]:
    """So many calls at an even rate over so many connections: their seconds, and the rate that came of it."""
    seconds: list[float] = []
    began = time.perf_counter()
    due = iter([began + number / RATE for number in range(CALLS)])

    async def one() -> None:
        async with load.connected(url, token) as connection:
            for moment in due:
                await asyncio.sleep(max(0.0, moment - time.perf_counter()))
                answer = await connection.ask("POST", path, ASK)
                if answer.status != 200:
                    raise RuntimeError(f"answered {answer.status}: {answer.body[:300]!r}")
                seconds.append(answer.seconds)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one())
    return seconds, CALLS / (time.perf_counter() - began)


async def passing() -> AsyncIterator[Figure]:
    """Non-streamed chat calls, through Atelier and straight to the provider."""
    with tempfile.TemporaryDirectory() as place:
        async with behind(Path(place)) as (atelier, provider, key):
            yield Figure(
                name="memory, idle",
                value=atelier.megabytes,
                unit="MB",
                target="<= 150",
                workload="resident, after the start, the first sign-in and the first list of models",
            )
            await paced(atelier.url, "/v1/chat/completions", key)  # both are warm from now on
            before = atelier.processor
            through, rate = await paced(atelier.url, "/v1/chat/completions", key)
            each = (atelier.processor - before) / CALLS * 1000
            straight, _ = await paced(provider.url, "/api/v1/chat/completions", key)
            async with peer.litellm(Path(place), provider.url) as url:
                await paced(url, "/v1/chat/completions", peer.KEY)
                theirs, their_rate = await paced(url, "/v1/chat/completions", peer.KEY)
            for share, target in ((0.5, "<= 3"), (0.99, "<= 12")):
                added = load.share(through, share) - load.share(straight, share)
                added_there = load.share(theirs, share) - load.share(straight, share)
                yield Figure(
                    name=f"added by /v1 to a chat call, {share * 100:.0f} of 100",
                    value=added,
                    unit="ms",
                    target=target,
                    workload=f"{CALLS} calls at {rate:.0f}/s over {CONNECTIONS} connections, not streamed, hold and"
                    " settlement on disk, throttles off",
                    beside=f"{load.share(through, share):.2f} ms through, {load.share(straight, share):.2f} ms straight;"
                    f" processor time of each: {each:.2f} ms",
                )
                yield Figure(
                    name=f"the same, of what LiteLLM adds, {share * 100:.0f} of 100",
                    value=added / added_there * 100,
                    unit="%",
                    target="<= 20",
                    workload=f"the same calls through LiteLLM {peer.VERSION}, one worker, no database, so that nothing is"
                    f" written down there: it took {their_rate:.0f}/s of the {RATE}/s",
                    beside=f"LiteLLM adds {added_there:.1f} ms",
                )
        database = Path(place) / "data" / "atelier.duckdb"
        books = await asyncio.to_thread(bare.books_of_calls, database, CALLS, RATE)
        yield Figure(
            name="hold and settlement by bare DuckDB",
            value=load.share(books, 0.5),
            unit="ms",
            workload=f"the two commits of a call, {CALLS} times at {RATE}/s, in the same database with nothing around them;"
            f" 99 of 100 within {load.share(books, 0.99):.1f} ms",
        )


async def _listen(url: str, token: str, after: float) -> tuple[float, float]:
    """Seconds from the question to the first token, and from there to the last."""
    await asyncio.sleep(after)
    async with load.connected(url, token) as connection:
        return await connection.stream("POST", "/v1/chat/completions", {**ASK, "stream": True}, WORD.encode(), TOKENS)


async def telling() -> AsyncIterator[Figure]:
    """Many streams at once, while another user requests something else."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        async with behind(here) as (atelier, _, key), witness(atelier.url) as fared, bystander(here) as idle:
            before = atelier.processor
            each = [STARTING / STREAMS * number for number in range(STREAMS)]
            listening = [asyncio.create_task(_listen(atelier.url, key, after)) for after in each]
            await asyncio.sleep((STARTING + IDEAL) / 2)
            megabytes = atelier.megabytes
            timings = await asyncio.gather(*listening)
            used = atelier.processor - before
        firsts, seconds = [first for first, _ in timings], [rest for _, rest in timings]
        workload = (
            f"{STREAMS} streams of {TOKENS} tokens, one every {PAUSE * 1000:.0f} ms, begun within {STARTING:.1f} s, so that"
            " all stream at one time"
        )
        yield Figure(
            name="slowest of 500 streams, of its ideal length",
            value=max(seconds) / IDEAL * 100,
            unit="%",
            target="<= 110",
            workload=f"{workload}; from the first token to the last, ideal {IDEAL:.2f} s",
            beside=f"median {load.share(seconds, 0.5) / 1000 / IDEAL * 100:.0f} %; the first token came after"
            f" {load.share(firsts, 0.5):.0f} ms, in 99 of 100 within {load.share(firsts, 0.99):.0f} ms; processor time of a"
            f" token, its share of the call included: {used / STREAMS / TOKENS * 1e6:.0f} µs",
        )
        yield Figure(
            name="slowest unrelated answer meanwhile",
            value=fared[0].slowest,
            unit="ms",
            target="<= 25",
            workload=f"/health from another process, {fared[0].asked} times, during {workload}",
            beside=f"{fared[0]}; beside it a server that does nothing: {idle[0]}, the slowest {idle[0].slowest:.1f} ms",
        )
        yield Figure(
            name="memory during 500 streams",
            value=megabytes,
            unit="MB",
            target="<= 300",
            workload=f"resident, {workload}",
        )


if __name__ == "__main__":
    run(passing, telling)
