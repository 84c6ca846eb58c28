"""Work: how fast it is accepted and carried out, what others feel of it, and what stays in memory.

python -m tests.benchmarks.jobs
"""

import itertools
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.benchmarks import bare, load
from tests.benchmarks.figures import Figure, Measure, run
from tests.benchmarks.processes import Studio, bystander, started, studio, witness
from tests.kit import IMAGE_MODEL, SHORT_VIDEO, TEXT_MODEL, VIDEO_MODEL

CONNECTIONS = 32
ENQUEUED = 3_000
WRITTEN = 1_500
DRAWN = 300
FILMED = 200
FEW, MANY = 500, 5_000
STEADY = 25.0  # milliseconds

_numbers = itertools.count(1)


def _clips(count: int) -> list[load.Request]:
    return [
        (
            "POST",
            "/api/v1/generate/video",
            {"model": VIDEO_MODEL, "prompt": f"a paper boat {next(_numbers)}", **SHORT_VIDEO},
        )
        for _ in range(count)
    ]


def _images(count: int) -> list[load.Request]:
    return [
        ("POST", "/api/v1/generate/image", {"model": IMAGE_MODEL, "prompt": f"[stamp] a paper boat {next(_numbers)}"})
        for _ in range(count)
    ]


def _texts(count: int) -> list[load.Request]:
    return [
        ("POST", "/api/v1/generate/text", {"model": TEXT_MODEL, "prompt": f"a paper boat {next(_numbers)}"})
        for _ in range(count)
    ]


def _each(here: Studio, before: tuple[float, float], count: int) -> str:
    """What one of `count` has cost since."""
    ours, theirs = ((now - then) / count * 1000 for now, then in zip(here.processor, before, strict=True))
    return f"processor time of each: {ours:.1f} ms ours, {theirs:.1f} ms the simulator's"


def _accepted(answer: load.Answer) -> bool:
    return answer.status == 202


def _done(answer: load.Answer) -> bool:
    return answer.status == 200


async def accepting() -> AsyncIterator[Figure]:
    """Requests for clips, none of which is ever finished: what is measured is that they are on disk."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        async with started(folder, "tests.benchmarks.bare", settings={}) as plain:
            asked: list[load.Request] = [("POST", "/", body) for _, _, body in _clips(ENQUEUED)]
            took, _ = await load.together(plain.url, asked, connections=CONNECTIONS, expected=_accepted)
            route = ENQUEUED / took
        inserts = bare.inserts_a_second()
        async with studio(folder, ATELIER_WORKER_SECONDS="3600") as here:
            url, token = here.atelier.url, here.token
            await load.together(url, _clips(200), connections=CONNECTIONS, expected=_accepted, token=token)
            before = here.processor
            took, answers = await load.together(
                url, _clips(ENQUEUED), connections=CONNECTIONS, expected=_accepted, token=token
            )
            rate, seconds = ENQUEUED / took, [answer.seconds for answer in answers]
            yield Figure(
                name="durable enqueues over HTTP",
                value=rate,
                unit="/s",
                target=">= 300",
                workload=f"{ENQUEUED} clips over {CONNECTIONS} connections, each on disk before its 202; median"
                f" {load.share(seconds, 0.5):.0f} ms, 99 % below {load.share(seconds, 0.99):.0f} ms",
                beside=f"a bare Litestar route: {route:.0f}/s (1/{route / rate:.0f}); bare DuckDB one-row inserts:"
                f" {inserts:.0f}/s ({rate / inserts:.2f} of it); {_each(here, before, ENQUEUED)}",
            )


async def writing() -> AsyncIterator[Figure]:
    """Texts and images from request to answer, against the simulator."""
    with tempfile.TemporaryDirectory() as place:
        async with studio(Path(place)) as here:
            url, token = here.atelier.url, here.token
            for name, asked, target in (
                ("texts end to end", _texts(WRITTEN), ">= 100"),
                ("images of 64 by 64 end to end", _images(DRAWN), None),
            ):
                await load.together(url, asked[:50], connections=CONNECTIONS, expected=_done, token=token)
                before = here.processor
                async with witness(url) as fared:
                    took, answers = await load.together(
                        url, asked, connections=CONNECTIONS, expected=_done, token=token
                    )
                seconds = [answer.seconds for answer in answers]
                yield Figure(
                    name=name,
                    value=len(asked) / took,
                    unit="/s",
                    target=target,
                    workload=f"{len(asked)} over {CONNECTIONS} connections, simulator at speed 0 on the same machine;"
                    f" median {load.share(seconds, 0.5):.0f} ms, 99 % below {load.share(seconds, 0.99):.0f} ms",
                    beside=f"{_each(here, before, len(asked))}; meanwhile /health: {fared[0]}",
                )


async def filming() -> AsyncIterator[Figure]:
    """Videos that are generated, downloaded, inspected and given thumbnails, while another user requests something else."""
    with tempfile.TemporaryDirectory() as place:
        async with studio(Path(place)) as here:
            url, token = here.atelier.url, here.token
            await load.together(url, _clips(8), connections=8, expected=_accepted, token=token)
            await here.until_ended(8)
            async with witness(url) as fared, bystander(Path(place)) as idle:
                began = time.monotonic()
                before = here.processor
                await load.together(url, _clips(FILMED), connections=CONNECTIONS, expected=_accepted, token=token)
                await here.until_ended(8 + FILMED)
                took = time.monotonic() - began
                each = _each(here, before, FILMED)
            health = await here.health()
        workload = f"{FILMED} clips of one second at 360 by 360 are finished and their thumbnails made"
        yield Figure(name="clips end to end", value=FILMED / took, unit="/s", workload=workload, beside=each)
        own = [stall for stall in health["stalls"] if stall["cpu_ms"] >= stall["ms"] / 2]
        longest = max((stall["ms"] for stall in own), default=0.0)
        yield Figure(
            name="slowest unrelated request",
            value=fared[0].slowest,
            unit="ms",
            target=f"<= {STEADY:.0f}",
            workload=f"/health from another process, {fared[0].asked} times, while {workload}",
            beside=f"{fared[0]}; beside it a server that does nothing: {idle[0]}, the slowest {idle[0].slowest:.1f} ms",
        )
        yield Figure(
            name="longest stall of the event loop",
            value=longest,
            unit="ms",
            target=f"<= {STEADY:.0f}",
            workload=f"by the program's own sampler, while {workload}; 0 is none of 25 ms or more",
            beside=f"with those in which its thread only waited for the machine: {health['longest_stall_ms']:.1f} ms"
            + "".join(
                f"\n      {stall['ms']} ms (cpu {stall['cpu_ms']}): {' < '.join(stall['where'])}" for stall in own[:5]
            ),
        )


async def remembering() -> AsyncIterator[Figure]:
    """Whether finished work leaves anything in memory."""
    with tempfile.TemporaryDirectory() as place:
        async with studio(Path(place)) as here:
            url, token = here.atelier.url, here.token
            sizes = []
            for count in (FEW, MANY - FEW):
                await load.together(url, _texts(count), connections=CONNECTIONS, expected=_done, token=token)
                sizes.append(here.atelier.megabytes)
            yield Figure(
                name=f"memory after {MANY} jobs against after {FEW}",
                value=(sizes[1] / sizes[0] - 1) * 100,
                unit="% more",
                target="<= 10",
                workload=f"texts over {CONNECTIONS} connections; {sizes[0]:.0f} MB, then {sizes[1]:.0f} MB",
            )


ALL: tuple[Measure, ...] = (accepting, writing, filming, remembering)

if __name__ == "__main__":
    run(*ALL)
