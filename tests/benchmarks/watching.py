"""What the program's watching of itself costs.

python -m tests.benchmarks.watching
"""

import asyncio
import time
from collections.abc import AsyncIterator

from app.base.loop_watchdog import HEARTBEAT, LoopWatchdog
from app.base.metrics import Metrics
from tests.benchmarks.figures import Figure, run

SECONDS = 10.0


async def sampling() -> AsyncIterator[Figure]:
    began = time.process_time()
    await asyncio.sleep(SECONDS)
    idle = time.process_time() - began
    async with LoopWatchdog(Metrics()).watching():
        began = time.process_time()
        await asyncio.sleep(SECONDS)
        watched = time.process_time() - began
    yield Figure(
        name="the sampler of the event loop",
        value=(watched - idle) / SECONDS * 100,
        unit="% core",
        target="<= 1.5",
        workload=f"{SECONDS:.0f} s of an idle loop, a beat every {HEARTBEAT * 1000:.0f} ms",
    )


async def counting() -> AsyncIterator[Figure]:
    seconds = Metrics().histogram("x_seconds", "Some.", ("method", "route", "status"), up_to=(0.1, 1.0))
    count = 50_000
    began = time.process_time()
    for _ in range(count):
        seconds.labels("GET", "/api/v1/jobs/{id}", "200").observe(0.01)
    yield Figure(
        name="one request, counted",
        value=(time.process_time() - began) / count * 1e6,
        unit="µs",
        workload=f"{count} observations with three labels",
    )


if __name__ == "__main__":
    run(sampling, counting)
