"""Jobs: how fast they are accepted and carried out, how long other requests wait meanwhile, and what stays in memory.

python -m tests.benchmarks.jobs
"""

import itertools
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.benchmarks import baseline, load
from tests.benchmarks.processes import Studio, health_probe, idle_probe, started, studio
from tests.benchmarks.results import Measure, Result, run
from tests.kit import IMAGE_MODEL, SHORT_VIDEO, TEXT_MODEL, VIDEO_MODEL

CONNECTIONS = 32
ENQUEUED = 3_000
TEXTS = 1_500
IMAGES = 300
VIDEOS = 200
BATCHES = 8
BATCH = 500
FEW, MANY = 500, 5_000
MAX_DELAY = 25.0  # milliseconds

_numbers = itertools.count(1)


def _videos(count: int) -> list[load.Request]:
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


def _cpu_per_item(system: Studio, before: tuple[float, float], count: int) -> str:
    """The CPU time of one of `count` jobs since `before`."""
    here, simulator = ((now - then) / count * 1000 for now, then in zip(system.cpu_seconds, before, strict=True))
    return f"CPU time of each: {here:.1f} ms here, {simulator:.1f} ms in the simulator"


def _accepted(answer: load.Answer) -> bool:
    return answer.status == 202


def _completed(answer: load.Answer) -> bool:
    return answer.status == 200


async def enqueue() -> AsyncIterator[Result]:
    """Requests for videos, none of which is ever finished: what is measured is that they are on disk."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with started(folder, "tests.benchmarks.baseline", settings={}) as empty_app:
            requests: list[load.Request] = [("POST", "/", body) for _, _, body in _videos(ENQUEUED)]
            took, _ = await load.run_requests(empty_app.url, requests, connections=CONNECTIONS, expected=_accepted)
            route = ENQUEUED / took
        inserts = baseline.inserts_per_second()
        async with studio(folder, ATELIER_WORKER_SECONDS="3600") as system:
            url, token = system.atelier.url, system.token
            await load.run_requests(url, _videos(200), connections=CONNECTIONS, expected=_accepted, token=token)
            before = system.cpu_seconds
            took, answers = await load.run_requests(
                url, _videos(ENQUEUED), connections=CONNECTIONS, expected=_accepted, token=token
            )
            rate, seconds = ENQUEUED / took, [answer.seconds for answer in answers]
            yield Result(
                name="durable enqueues over HTTP",
                value=rate,
                unit="/s",
                target=">= 300",
                workload=f"{ENQUEUED} videos over {CONNECTIONS} connections, each on disk before its 202; median"
                f" {load.percentile(seconds, 0.5):.0f} ms, 99 % below {load.percentile(seconds, 0.99):.0f} ms",
                comparison=f"an empty Litestar route: {route:.0f}/s (1/{route / rate:.0f}); plain DuckDB one-row inserts:"
                f" {inserts:.0f}/s ({rate / inserts:.2f} of it); {_cpu_per_item(system, before, ENQUEUED)}",
            )


async def batch() -> AsyncIterator[Result]:
    """Batches of the largest size, of which few jobs are started: what is measured is that all of them are on disk."""
    with tempfile.TemporaryDirectory() as temporary:
        async with studio(Path(temporary), ATELIER_WORKER_SECONDS="3600") as system:
            url, token = system.atelier.url, system.token

            def request() -> load.Request:
                prompts = [f"[stuck] a paper boat {next(_numbers)}" for _ in range(BATCH)]
                body = {"kind": "video", "model": VIDEO_MODEL, "prompts": prompts, "params": SHORT_VIDEO}
                return ("POST", "/api/v1/generate/batch", body)

            singles, _ = await load.run_requests(url, _videos(50), connections=1, expected=_accepted, token=token)
            _, answers = await load.run_requests(
                url, [request() for _ in range(BATCHES)], connections=1, expected=_accepted, token=token
            )
            seconds = [answer.seconds for answer in answers]
            median = load.percentile(seconds, 0.5)
            yield Result(
                name=f"batch of {BATCH} accepted",
                value=median,
                unit="ms",
                target="<= 500",
                workload=f"{BATCHES} batches, one after another; slowest {max(seconds) * 1000:.0f} ms",
                comparison=f"the same jobs one by one would take {singles / 50 * BATCH * 1000 / median:.0f} times as long",
            )


async def texts_and_images() -> AsyncIterator[Result]:
    """Texts and images from request to answer, against the simulator."""
    with tempfile.TemporaryDirectory() as temporary:
        async with studio(Path(temporary)) as system:
            url, token = system.atelier.url, system.token
            for name, requests, target in (
                ("texts end to end", _texts(TEXTS), ">= 100"),
                ("images of 64 by 64 end to end", _images(IMAGES), None),
            ):
                await load.run_requests(url, requests[:50], connections=CONNECTIONS, expected=_completed, token=token)
                before = system.cpu_seconds
                async with health_probe(url) as probe:
                    took, answers = await load.run_requests(
                        url, requests, connections=CONNECTIONS, expected=_completed, token=token
                    )
                seconds = [answer.seconds for answer in answers]
                yield Result(
                    name=name,
                    value=len(requests) / took,
                    unit="/s",
                    target=target,
                    workload=f"{len(requests)} over {CONNECTIONS} connections, simulator at speed 0 on the same machine;"
                    f" median {load.percentile(seconds, 0.5):.0f} ms, 99 % below {load.percentile(seconds, 0.99):.0f} ms",
                    comparison=f"{_cpu_per_item(system, before, len(requests))}; meanwhile /health: {probe[0]}",
                )


async def videos() -> AsyncIterator[Result]:
    """Videos that are generated, downloaded, inspected and given thumbnails, while another user makes other requests."""
    with tempfile.TemporaryDirectory() as temporary:
        async with studio(Path(temporary)) as system:
            url, token = system.atelier.url, system.token
            await load.run_requests(url, _videos(8), connections=8, expected=_accepted, token=token)
            await system.until_ended(8)
            async with health_probe(url) as probe, idle_probe(Path(temporary)) as idle:
                began = time.monotonic()
                before = system.cpu_seconds
                await load.run_requests(url, _videos(VIDEOS), connections=CONNECTIONS, expected=_accepted, token=token)
                await system.until_ended(8 + VIDEOS)
                took = time.monotonic() - began
                each = _cpu_per_item(system, before, VIDEOS)
            health = await system.health()
        workload = f"{VIDEOS} videos of one second at 360 by 360 are finished and their thumbnails made"
        yield Result(name="videos end to end", value=VIDEOS / took, unit="/s", workload=workload, comparison=each)
        busy = [block for block in health["event_loop_blocks"] if block["cpu_ms"] >= block["ms"] / 2]
        longest = max((block["ms"] for block in busy), default=0.0)
        yield Result(
            name="slowest unrelated request",
            value=probe[0].slowest,
            unit="ms",
            target=f"<= {MAX_DELAY:.0f}",
            workload=f"/health from another process, {probe[0].requests} times, while {workload}",
            comparison=f"{probe[0]}; meanwhile an idle server: {idle[0]}, the slowest {idle[0].slowest:.1f} ms",
        )
        yield Result(
            name="longest block of the event loop",
            value=longest,
            unit="ms",
            target=f"<= {MAX_DELAY:.0f}",
            workload=f"by the event loop watchdog, while {workload}; 0 means none of 25 ms or more",
            comparison=f"including those in which its thread only waited for the CPU: {health['longest_block_ms']:.1f} ms"
            + "".join(
                f"\n      {block['ms']} ms (cpu {block['cpu_ms']}): {' < '.join(block['where'])}" for block in busy[:5]
            ),
        )


async def memory() -> AsyncIterator[Result]:
    """Whether finished jobs leave anything in memory."""
    with tempfile.TemporaryDirectory() as temporary:
        async with studio(Path(temporary)) as system:
            url, token = system.atelier.url, system.token
            sizes = []
            for count in (FEW, MANY - FEW):
                await load.run_requests(url, _texts(count), connections=CONNECTIONS, expected=_completed, token=token)
                sizes.append(system.atelier.megabytes)
            yield Result(
                name=f"memory after {MANY} jobs against after {FEW}",
                value=(sizes[1] / sizes[0] - 1) * 100,
                unit="% more",
                target="<= 10",
                workload=f"texts over {CONNECTIONS} connections; {sizes[0]:.0f} MB, then {sizes[1]:.0f} MB",
            )


ALL: tuple[Measure, ...] = (enqueue, batch, texts_and_images, videos, memory)

if __name__ == "__main__":
    run(*ALL)
