"""Asks `/health` every few milliseconds until its input ends, then says how long the answers took."""

import asyncio
import json
import statistics
import sys

from tests.benchmarks.load import connected

PAUSE = 0.005  # seconds


async def main(url: str) -> None:
    enough = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    seconds = []
    async with connected(url) as connection:
        await connection.ask("GET", "/health")
        print("begun", flush=True)
        while not enough.done():
            answer = await connection.ask("GET", "/health")
            if answer.status != 200:
                raise RuntimeError(f"/health was answered {answer.status}")
            seconds.append(answer.seconds * 1000)
            await asyncio.sleep(PAUSE)
    most = sorted(seconds)[int(len(seconds) * 0.99)]
    result = {"asked": len(seconds), "median": statistics.median(seconds), "most": most, "slowest": max(seconds)}
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
