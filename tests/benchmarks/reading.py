"""What is read all day: a card, a list of jobs, a library with a million assets.

python -m tests.benchmarks.reading
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
import httpx

from tests.benchmarks import load
from tests.benchmarks.figures import Figure, run
from tests.benchmarks.processes import PERSON, Process, started, studio
from tests.kit import SHORT_VIDEO, VIDEO_MODEL
from tests.studio import Browser
from tests.trust import trust

CONNECTIONS = 32
CARDS = 20_000
PAGES = 3_000
LISTED = 24
ASSETS = 1_000_000
LOOKS = 300
# Requests a second that the owner's first design, two processes with HTTP between them, answered on this machine.
TWO_TIER_CARD, TWO_TIER_LIST = 292, 231


async def session(url: str) -> str:
    """The cookie of the person, signed in as in a browser."""
    async with Browser(base_url=url, timeout=30, trust_env=False, verify=trust()) as browser:
        answer = await browser.send_form("/login", PERSON)
        assert answer.status_code == 303, answer.text
        return str(browser.cookies["session"])


def _ok(answer: load.Answer) -> bool:
    return answer.status == 200


async def _bare(folder: Path) -> float:
    """Requests a second of a route that does nothing, over as many connections."""
    async with started(folder, "tests.benchmarks.bare", settings={}) as plain:
        asked: list[load.Request] = [("POST", "/", {"a": 1})] * 4_000
        took, _ = await load.together(
            plain.url, asked, connections=CONNECTIONS, expected=lambda answer: answer.status == 202
        )
        return len(asked) / took


async def watching() -> AsyncIterator[Figure]:
    """The card of a job that is not finished, and the page with all of them, as htmx asks for them every few seconds."""
    with tempfile.TemporaryDirectory() as place:
        bare = await _bare(Path(place))
        async with studio(Path(place), ATELIER_WORKER_SECONDS="3600") as here:
            url = here.atelier.url
            clips: list[load.Request] = [
                (
                    "POST",
                    "/api/v1/generate/video",
                    {"model": VIDEO_MODEL, "prompt": f"a paper boat {number}", **SHORT_VIDEO},
                )
                for number in range(LISTED)
            ]
            _, answers = await load.together(
                url, clips, connections=4, expected=lambda answer: answer.status == 202, token=here.token
            )
            card, cookie = f"/jobs/{answers[0].json['id']}/card", f"session={await session(url)}"
            for name, path, count, target, two_tier in (
                ("cards of an unfinished job", card, CARDS, ">= 5000", TWO_TIER_CARD),
                (f"job list pages with {LISTED} cards", "/jobs", PAGES, ">= 1500", TWO_TIER_LIST),
            ):
                warm: list[load.Request] = [("GET", path, None)] * 200
                await load.together(url, warm, connections=CONNECTIONS, expected=_ok, Cookie=cookie)
                before = here.atelier.processor
                asked: list[load.Request] = [("GET", path, None)] * count
                took, answers = await load.together(
                    url, asked, connections=CONNECTIONS, expected=_ok, Cookie=cookie, HX_Request="true"
                )
                rate, seconds = count / took, [answer.seconds for answer in answers]
                each = (here.atelier.processor - before) / count * 1e6
                yield Figure(
                    name=name,
                    value=rate,
                    unit="/s",
                    target=target,
                    workload=f"{count} over {CONNECTIONS} connections, one process, signed in, throttles off,"
                    f" {len(answers[0].body):,} bytes each; median {load.share(seconds, 0.5):.1f} ms",
                    beside=f"{rate / two_tier:.1f} times the two-tier design ({two_tier}/s); a bare Litestar route:"
                    f" {bare:.0f}/s ({rate / bare:.2f} of it); processor time of each: {each:.0f} µs",
                )


def _fill(folder: Path) -> None:
    """A million assets of the only person, half of them clips, as rows; their files are not looked at here."""
    with duckdb.connect(str(folder / "data" / "atelier.duckdb")) as connection:
        connection.execute(
            "insert into assets by name select printf('%032x', 1000000000 + n) as id, (select id from users) as owner_id,"
            " case when n % 2 = 0 then 'image' else 'video' end as kind, 'uploaded' as origin,"
            " case when n % 2 = 0 then 'image/png' else 'video/mp4' end as mime, 1000 as bytes, 64 as width, 64 as height,"
            " case when n % 2 = 0 then null else 1.0 end as duration,"
            " printf('%02x/%02x/%064x.png', n % 256, n % 251, n) as file_key, 'harbour ' || n as name,"
            " case when n % 1000 = 0 then 'a lighthouse' else 'a paper boat' end as prompt, 0 as position,"
            " timestamp '2026-01-01' + to_seconds(n) as created_at from range($1) t(n)",
            [ASSETS],
        )


async def shelving() -> AsyncIterator[Figure]:
    """The library when there is a lot in it, and how long the program takes to be there again."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        async with studio(folder):
            pass
        await asyncio.to_thread(_fill, folder)
        async with started(folder, "app", settings={}):
            pass  # the first start folds the log of the filling
        began = time.perf_counter()
        async with started(folder, "app", settings={}) as atelier:
            async with httpx.AsyncClient(base_url=atelier.url, trust_env=False, verify=trust()) as http:
                assert (await http.get("/login")).status_code == 200
            yield Figure(
                name="start to first answer",
                value=time.perf_counter() - began,
                unit="s",
                target="<= 1.5",
                workload=f"`python -m app` with {ASSETS:,} assets until /login is answered",
            )
            async for figure in _looking(atelier):
                yield figure


async def _looking(atelier: Process) -> AsyncIterator[Figure]:
    cookie = f"session={await session(atelier.url)}"
    for name, path in (
        ("library, first page", "/library"),
        ("library, filtered by kind", "/library?kind=video"),
        ("library, filtered by kind and words", "/library?kind=image&q=lighthouse"),
    ):
        asked: list[load.Request] = [("GET", path, None)] * LOOKS
        await load.together(atelier.url, asked[:20], connections=1, expected=_ok, Cookie=cookie)
        _, answers = await load.together(atelier.url, asked, connections=1, expected=_ok, Cookie=cookie)
        seconds = [answer.seconds for answer in answers]
        yield Figure(
            name=f"{name}: 99 of 100 within",
            value=load.share(seconds, 0.99),
            unit="ms",
            target="<= 30",
            workload=f"{LOOKS} looks one after the other among {ASSETS:,} assets, {len(answers[0].body):,} bytes each;"
            f" median {load.share(seconds, 0.5):.1f} ms",
        )


if __name__ == "__main__":
    run(watching, shelving)
