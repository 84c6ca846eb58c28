"""The cost of metrics and of the event loop watchdog.

python -m tests.benchmarks.overhead
"""

import asyncio
import time
from collections.abc import AsyncIterator

from app.base.loop_watchdog import HEARTBEAT, LoopWatchdog
from app.base.metrics import Metrics
from tests.benchmarks.results import Result, run

SECONDS = 10.0


async def loop_watchdog() -> AsyncIterator[Result]:
    began = time.process_time()
    await asyncio.sleep(SECONDS)
    idle = time.process_time() - began
    async with LoopWatchdog(Metrics()).watching():
        began = time.process_time()
        await asyncio.sleep(SECONDS)
        watched = time.process_time() - began
    yield Result(
        name="the event loop watchdog",
        value=(watched - idle) / SECONDS * 100,
        unit="% core",
        target="<= 1.5",
        workload=f"{SECONDS:.0f} s of an idle loop, a beat every {HEARTBEAT * 1000:.0f} ms",
    )


async def request_metrics() -> AsyncIterator[Result]:
    seconds = Metrics().histogram("x_seconds", "Some.", ("method", "route", "status"), up_to=(0.1, 1.0))
    count = 50_000
    began = time.process_time()
    for _ in range(count):
        seconds.labels("GET", "/api/v1/jobs/{id}", "200").observe(0.01)
    yield Result(
        name="one request, counted",
        value=(time.process_time() - began) / count * 1e6,
        unit="µs",
        workload=f"{count} observations with three labels",
    )


if __name__ == "__main__":
    run(loop_watchdog, request_metrics)
