"""The OpenAI-compatible API: the latency that it adds to a provider that answers at once, and five hundred concurrent streams.

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

from tests.benchmarks import baseline, litellm_proxy, load
from tests.benchmarks.instant_provider import MODEL, PAUSE, TOKENS, WORD
from tests.benchmarks.processes import USER, Process, health_probe, idle_probe, started
from tests.benchmarks.results import Result, run
from tests.kit import eventually
from tests.trust import trust

CONNECTIONS = 16
RATE = 300  # calls per second
CALLS = 3_000
STREAMS = 500
IDEAL = (TOKENS - 1) * PAUSE  # seconds from the first token to the last
RAMP_UP = 3.5  # seconds in which the streams begin; the first is still running when the last begins

CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "A short answer, please."}]}


@asynccontextmanager
async def atelier_with_provider(folder: Path) -> AsyncIterator[tuple[Process, Process, str]]:
    """Atelier, the instant provider behind it, and the API key of a user."""
    async with started(folder, "tests.benchmarks.instant_provider", settings={}) as provider:
        provider_settings = {"OPENROUTER_BASE_URL": f"{provider.url}/api/v1", "OPENROUTER_API_KEY": "any"}
        async with started(folder, "app", settings=provider_settings) as atelier:
            async with httpx.AsyncClient(base_url=atelier.url, trust_env=False, verify=trust(), timeout=30) as http:
                await http.post("/api/v1/auth/register", json=USER)
                tokens = (await http.post("/api/v1/auth/login", json=USER)).json()
                http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
                key = (await http.post("/api/v1/users/me/keys", json={"name": "benchmark"})).json()["key"]

                async def offered() -> int:
                    return len((await http.get("/v1/models")).json()["data"])

                await eventually(offered, lambda count: count == 1)
            yield atelier, provider, key


async def paced_calls(url: str, path: str, token: str) -> tuple[list[float], float]:
    """Make the calls at a constant rate: their durations in seconds, and the rate that was reached."""
    seconds: list[float] = []
    began = time.perf_counter()
    due = iter([began + number / RATE for number in range(CALLS)])

    async def send() -> None:
        async with load.connected(url, token) as connection:
            for at in due:
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
                answer = await connection.ask("POST", path, CHAT)
                if answer.status != 200:
                    raise RuntimeError(f"answered {answer.status}: {answer.body[:300]!r}")
                seconds.append(answer.seconds)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(send())
    return seconds, CALLS / (time.perf_counter() - began)


async def chat_calls() -> AsyncIterator[Result]:
    """Chat calls without streaming, through Atelier and directly to the provider."""
    with tempfile.TemporaryDirectory() as temporary:
        async with atelier_with_provider(Path(temporary)) as (atelier, provider, key):
            yield Result(
                name="memory, idle",
                value=atelier.megabytes,
                unit="MB",
                target="<= 150",
                workload="resident, after the start, the first sign-in and the first list of models",
            )
            await paced_calls(atelier.url, "/v1/chat/completions", key)  # a warm-up
            before = atelier.cpu_seconds
            via_atelier, rate = await paced_calls(atelier.url, "/v1/chat/completions", key)
            each = (atelier.cpu_seconds - before) / CALLS * 1000
            direct, _ = await paced_calls(provider.url, "/api/v1/chat/completions", key)
            async with litellm_proxy.litellm(Path(temporary), provider.url) as url:
                await paced_calls(url, "/v1/chat/completions", litellm_proxy.KEY)
                litellm_seconds, litellm_rate = await paced_calls(url, "/v1/chat/completions", litellm_proxy.KEY)
            for fraction, target in ((0.5, "<= 3"), (0.99, "<= 12")):
                added = load.percentile(via_atelier, fraction) - load.percentile(direct, fraction)
                added_by_litellm = load.percentile(litellm_seconds, fraction) - load.percentile(direct, fraction)
                yield Result(
                    name=f"added by /v1 to a chat call, {fraction * 100:.0f} of 100",
                    value=added,
                    unit="ms",
                    target=target,
                    workload=f"{CALLS} calls at {rate:.0f}/s over {CONNECTIONS} connections, not streamed, hold and"
                    " settlement on disk, throttles off",
                    comparison=f"{load.percentile(via_atelier, fraction):.2f} ms through Atelier, {load.percentile(direct, fraction):.2f} ms directly;"
                    f" CPU time of each: {each:.2f} ms",
                )
                yield Result(
                    name=f"the same, of what LiteLLM adds, {fraction * 100:.0f} of 100",
                    value=added / added_by_litellm * 100,
                    unit="%",
                    target="<= 20",
                    workload=f"the same calls through LiteLLM {litellm_proxy.VERSION}, one worker, no database, so that nothing is"
                    f" stored: it reached {litellm_rate:.0f}/s of the {RATE}/s",
                    comparison=f"LiteLLM adds {added_by_litellm:.1f} ms",
                )
        database = Path(temporary) / "data" / "atelier.duckdb"
        commits = await asyncio.to_thread(baseline.ledger_commits, database, CALLS, RATE)
        yield Result(
            name="hold and settlement by bare DuckDB",
            value=load.percentile(commits, 0.5),
            unit="ms",
            workload=f"the two commits of a call, {CALLS} times at {RATE}/s, in the same database without the application;"
            f" 99 of 100 within {load.percentile(commits, 0.99):.1f} ms",
        )


async def _stream(url: str, token: str, after: float) -> tuple[float, float]:
    """Seconds from the request to the first token, and from there to the last."""
    await asyncio.sleep(after)
    async with load.connected(url, token) as connection:
        return await connection.stream("POST", "/v1/chat/completions", {**CHAT, "stream": True}, WORD.encode(), TOKENS)


async def streams() -> AsyncIterator[Result]:
    """Many concurrent streams, while another user makes other requests."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with (
            atelier_with_provider(folder) as (atelier, _, key),
            health_probe(atelier.url) as probe,
            idle_probe(folder) as idle,
        ):
            before = atelier.cpu_seconds
            each = [RAMP_UP / STREAMS * number for number in range(STREAMS)]
            running = [asyncio.create_task(_stream(atelier.url, key, after)) for after in each]
            await asyncio.sleep((RAMP_UP + IDEAL) / 2)
            megabytes = atelier.megabytes
            timings = await asyncio.gather(*running)
            used = atelier.cpu_seconds - before
        first_tokens, seconds = [first for first, _ in timings], [duration for _, duration in timings]
        workload = (
            f"{STREAMS} streams of {TOKENS} tokens, one every {PAUSE * 1000:.0f} ms, begun within {RAMP_UP:.1f} s, so that"
            " all stream at one time"
        )
        yield Result(
            name="slowest of 500 streams, of its ideal length",
            value=max(seconds) / IDEAL * 100,
            unit="%",
            target="<= 110",
            workload=f"{workload}; from the first token to the last, ideal {IDEAL:.2f} s",
            comparison=f"median {load.percentile(seconds, 0.5) / 1000 / IDEAL * 100:.0f} %; the first token after"
            f" {load.percentile(first_tokens, 0.5):.0f} ms, in 99 of 100 within {load.percentile(first_tokens, 0.99):.0f} ms; CPU time per"
            f" token, including its share of the call: {used / STREAMS / TOKENS * 1e6:.0f} µs",
        )
        yield Result(
            name="slowest unrelated answer meanwhile",
            value=probe[0].slowest,
            unit="ms",
            target="<= 25",
            workload=f"/health from another process, {probe[0].requests} times, during {workload}",
            comparison=f"{probe[0]}; meanwhile an idle server: {idle[0]}, the slowest {idle[0].slowest:.1f} ms",
        )
        yield Result(
            name="memory during 500 streams",
            value=megabytes,
            unit="MB",
            target="<= 300",
            workload=f"resident, {workload}",
        )


if __name__ == "__main__":
    run(chat_calls, streams)
