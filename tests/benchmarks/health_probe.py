"""Requests `/health` every few milliseconds until its input ends, then reports how long the answers took."""

import asyncio
import json
import statistics
import sys

from tests.benchmarks.load import connected

PAUSE = 0.005  # seconds


async def main(url: str) -> None:
    stopped = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    seconds = []
    async with connected(url) as connection:
        await connection.ask("GET", "/health")
        print("started", flush=True)
        while not stopped.done():
            answer = await connection.ask("GET", "/health")
            if answer.status != 200:
                raise RuntimeError(f"/health was answered {answer.status}")
            seconds.append(answer.seconds * 1000)
            await asyncio.sleep(PAUSE)
    p99 = sorted(seconds)[int(len(seconds) * 0.99)]
    result = {"requests": len(seconds), "median": statistics.median(seconds), "p99": p99, "slowest": max(seconds)}
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
