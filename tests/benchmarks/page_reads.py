"""Pages that are read often: a large form, a card, the list of jobs, a library with a million assets.

python -m tests.benchmarks.page_reads
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import httpx

from tests.benchmarks import load
from tests.benchmarks.processes import USER, Process, started, studio
from tests.benchmarks.results import Result, run
from tests.benchmarks.two_tier import two_tier
from tests.kit import IMAGE_MODEL, SHORT_VIDEO, VIDEO_MODEL
from tests.studio import Browser, session_cookie
from tests.trust import trust

CONNECTIONS = 32
CARDS = 20_000
PAGES = 3_000
LISTED = 24
ASSETS = 1_000_000
PARAMETERS = 40
READS = 300
TWO_TIER_REQUESTS = 1_000


async def sign_in(url: str) -> str:
    """The session cookie, as `name=value`, of the user signed in as in a browser."""
    async with Browser(base_url=url, timeout=30, trust_env=False, verify=trust()) as browser:
        answer = await browser.send_form("/login", USER)
        assert answer.status_code == 303, answer.text
        return "=".join(session_cookie(browser))


def _ok(answer: load.Answer) -> bool:
    return answer.status == 200


async def _empty_route(folder: Path) -> float:
    """Requests per second of an empty route, over as many connections."""
    async with started(folder, "tests.benchmarks.baseline", settings={}) as empty_app:
        requests: list[load.Request] = [("POST", "/", {"a": 1})] * 4_000
        took, _ = await load.run_requests(
            empty_app.url, requests, connections=CONNECTIONS, expected=lambda answer: answer.status == 202
        )
        return len(requests) / took


async def _two_tier() -> tuple[float, float]:
    """Requests per second of the two-tier design for a job's state and for the list, over as many connections."""
    async with two_tier() as system:
        rates = []
        for path in (f"/videos/{system.job}", "/videos"):
            requests: list[load.Request] = [("GET", path, None)] * TWO_TIER_REQUESTS
            for count in (100, TWO_TIER_REQUESTS):  # the first are a warm-up
                took, _ = await load.run_requests(
                    system.url, requests[:count], connections=CONNECTIONS, expected=_ok, Cookie=system.cookie
                )
            rates.append(TWO_TIER_REQUESTS / took)
        return rates[0], rates[1]


async def cards_and_job_list() -> AsyncIterator[Result]:
    """The card of a job that is not finished, and the page with all of them, as htmx polls them every few seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        empty_route = await _empty_route(Path(temporary))
        two_tier_card, two_tier_list = await _two_tier()
        async with studio(Path(temporary), ATELIER_WORKER_SECONDS="3600") as system:
            url = system.atelier.url
            videos: list[load.Request] = [
                (
                    "POST",
                    "/api/v1/generate/video",
                    {"model": VIDEO_MODEL, "prompt": f"a paper boat {number}", **SHORT_VIDEO},
                )
                for number in range(LISTED)
            ]
            _, answers = await load.run_requests(
                url, videos, connections=4, expected=lambda answer: answer.status == 202, token=system.token
            )
            card, cookie = f"/jobs/{answers[0].json['id']}/card", await sign_in(url)
            for name, path, count, target, baseline in (
                ("cards of an unfinished job", card, CARDS, ">= 17", two_tier_card),
                (f"job list pages with {LISTED} cards", "/jobs", PAGES, ">= 6.5", two_tier_list),
            ):
                warm: list[load.Request] = [("GET", path, None)] * 200
                await load.run_requests(url, warm, connections=CONNECTIONS, expected=_ok, Cookie=cookie)
                before = system.atelier.cpu_seconds
                requests: list[load.Request] = [("GET", path, None)] * count
                took, answers = await load.run_requests(
                    url, requests, connections=CONNECTIONS, expected=_ok, Cookie=cookie, HX_Request="true"
                )
                rate, seconds = count / took, [answer.seconds for answer in answers]
                each = (system.atelier.cpu_seconds - before) / count * 1e6
                yield Result(
                    name=name,
                    value=rate / baseline,
                    unit="times",
                    target=target,
                    workload=f"requests a second, divided by those of the two-tier design; {count} over {CONNECTIONS} connections, one process, signed in, throttles off,"
                    f" {len(answers[0].body):,} bytes each; median {load.percentile(seconds, 0.5):.1f} ms",
                    comparison=f"{rate:.0f}/s, two-tier design {baseline:.0f}/s, an empty Litestar route"
                    f" {empty_route:.0f}/s ({rate / empty_route:.2f} of it); CPU time of each: {each:.0f} µs",
                )


def _many_parameters() -> dict[str, Any]:
    """Numbers, choices, switches and texts in turn."""
    kinds: list[dict[str, Any]] = [
        {"type": "integer", "minimum": 1, "maximum": 50, "default": 20},
        {"type": "string", "enum": ["1:1", "16:9", "9:16", "4:3"], "default": "1:1"},
        {"type": "boolean", "default": True},
        {"type": "string", "description": "What should not be in the result."},
    ]
    names = [f"setting_{number}" for number in range(PARAMETERS)]
    return {name: {**kinds[at % len(kinds)], "title": f"Setting {at}"} for at, name in enumerate(names)}


async def large_form() -> AsyncIterator[Result]:
    """The form of a model with many parameters, beside the page of a small one."""
    with tempfile.TemporaryDirectory() as temporary:
        async with (
            studio(Path(temporary)) as system,
            httpx.AsyncClient(base_url=system.atelier.url, trust_env=False, verify=trust()) as http,
        ):
            tokens = (await http.post("/api/v1/auth/login", json=USER)).json()
            body = {
                "provider": "openrouter",
                "endpoint": "ours/many",
                "name": "Many",
                "type": "text_to_image",
                "parameters": {"properties": _many_parameters()},
            }
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            added = await http.post("/api/v1/admin/models", json=body, headers=bearer)
            assert added.status_code == 201, added.text
            cookie = await sign_in(system.atelier.url)
            medians = []
            for model in (IMAGE_MODEL, "ours/many"):
                requests: list[load.Request] = [("GET", f"/generate/image?model={model}", None)] * READS
                await load.run_requests(system.atelier.url, requests[:20], connections=1, expected=_ok, Cookie=cookie)
                _, answers = await load.run_requests(
                    system.atelier.url, requests, connections=1, expected=_ok, Cookie=cookie
                )
                seconds = [answer.seconds for answer in answers]
                medians.append(load.percentile(seconds, 0.5))
            yield Result(
                name=f"create page of a model with {PARAMETERS} parameters: 99 of 100 within",
                value=load.percentile(seconds, 0.99),
                unit="ms",
                target="<= 20",
                workload=f"{READS} reads one after the other, {len(answers[0].body):,} bytes each;"
                f" median {medians[1]:.1f} ms, that of {IMAGE_MODEL} {medians[0]:.1f} ms",
            )


def _fill(folder: Path) -> None:
    """A million assets of the only user, half of them videos, as rows without files."""
    with duckdb.connect(str(folder / "data" / "atelier.duckdb")) as connection:
        connection.execute(
            "insert into assets by name select printf('%032x', 1000000000 + n) as id, (select id from users) as owner_id,"
            " case when n % 2 = 0 then 'image' else 'video' end as kind, 'uploaded' as origin,"
            " case when n % 2 = 0 then 'image/png' else 'video/mp4' end as mime, 1000 as bytes, 64 as width, 64 as height,"
            " case when n % 2 = 0 then null else 1.0 end as duration,"
            " printf('%02x/%02x/%064x.png', n % 256, n % 251, n) as file_key, 'harbour ' || n as name,"
            " case when n % 1000 = 0 then 'a lighthouse' else 'a paper boat' end as prompt,"
            " case when n % 1000 = 0 then 'a lighthouse' else 'a paper boat' end || ' harbour ' || n as search_text, 0 as position,"
            " timestamp '2026-01-01' + to_seconds(n) as created_at from range($1) t(n)",
            [ASSETS],
        )


async def large_library() -> AsyncIterator[Result]:
    """A large library, and how long the program takes to start with it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with studio(folder):
            pass
        await asyncio.to_thread(_fill, folder)
        async with started(folder, "app", settings={}):
            pass  # the first start checkpoints the write-ahead log
        began = time.perf_counter()
        async with started(folder, "app", settings={}) as atelier:
            async with httpx.AsyncClient(base_url=atelier.url, trust_env=False, verify=trust()) as http:
                assert (await http.get("/login")).status_code == 200
            yield Result(
                name="start to first answer",
                value=time.perf_counter() - began,
                unit="s",
                target="<= 1.5",
                workload=f"`python -m app` with {ASSETS:,} assets until /login is answered",
            )
            async for result in _library_pages(atelier):
                yield result


async def _library_pages(atelier: Process) -> AsyncIterator[Result]:
    cookie = await sign_in(atelier.url)
    for name, path in (
        ("library, first page", "/library"),
        ("library, filtered by kind", "/library?kind=video"),
        ("library, filtered by kind and text", "/library?kind=image&q=lighthouse"),
    ):
        requests: list[load.Request] = [("GET", path, None)] * READS
        await load.run_requests(atelier.url, requests[:20], connections=1, expected=_ok, Cookie=cookie)
        _, answers = await load.run_requests(atelier.url, requests, connections=1, expected=_ok, Cookie=cookie)
        seconds = [answer.seconds for answer in answers]
        yield Result(
            name=f"{name}: 99 of 100 within",
            value=load.percentile(seconds, 0.99),
            unit="ms",
            target="<= 30",
            workload=f"{READS} reads one after the other among {ASSETS:,} assets, {len(answers[0].body):,} bytes each;"
            f" median {load.percentile(seconds, 0.5):.1f} ms",
        )


if __name__ == "__main__":
    run(large_form, cards_and_job_list, large_library)
