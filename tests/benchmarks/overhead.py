"""The cost of metrics and of the event loop watchdog.

python -m tests.benchmarks.overhead
"""

import asyncio
import time
from collections.abc import AsyncIterator

from app.base.loop_watchdog import LoopWatchdog
from app.base.metrics import Metrics
from tests.benchmarks.results import Result, run

TURNS = 100_000


async def loop_watchdog() -> AsyncIterator[Result]:
    async def turns() -> float:
        began = time.process_time()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return (time.process_time() - began) / TURNS * 1e6

    alone = await turns()
    async with LoopWatchdog(Metrics()).watching():
        watched = await turns()
    yield Result(
        name="one turn of the event loop, watched",
        value=watched - alone,
        unit="µs",
        target="<= 5",
        workload=f"{TURNS} turns without work",
        comparison=f"{alone:.1f} µs unwatched",
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
