"""How long the event loop is blocked while 4K images and videos are processed. A measurement, not a test:

python -m tests.storage.stalls
"""

import asyncio
import functools
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from app.storage.media import Media
from tests.storage import samples

UHD = (3840, 2160)
TICK = 0.001  # seconds


async def longest_stall(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Seconds that `work` took, and the longest delay of the loop meanwhile."""
    late = 0.0

    async def tick() -> None:
        nonlocal late
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            late = max(late, time.perf_counter() - due)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.05)
    late, start = 0.0, time.perf_counter()
    await work()
    took = time.perf_counter() - start
    ticking.cancel()
    return took, late


async def main() -> None:
    makers: dict[str, Callable[[], bytes]] = {
        "png": functools.partial(samples.png, UHD),
        "png with alpha": functools.partial(samples.png, UHD, "RGBA"),
        "jpeg": functools.partial(samples.jpeg, UHD),
        "jpeg cmyk": functools.partial(samples.jpeg, UHD, "CMYK"),
        "webp": functools.partial(samples.webp, UHD),
        "webp with alpha": functools.partial(samples.webp, UHD, "RGBA"),
        "gif": functools.partial(samples.gif, UHD),
        "avif": functools.partial(samples.avif, UHD),
        "mp4": lambda: samples.encode(samples.Recipe(size=UHD, frames=48, black=12)),
        "webm": lambda: samples.encode(samples.WEBM(size=UHD, frames=12, codec="libvpx")),
    }
    media = Media()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = {}
        for name, make in makers.items():
            paths[name] = folder / name.replace(" ", "-")
            paths[name].write_bytes(make())
        for name, path in paths.items():
            facts = await media.inspect(path)
            works: dict[str, Callable[[], Awaitable[object]]] = {
                "inspect": functools.partial(media.inspect, path),
                "thumbnail": functools.partial(media.thumbnail, path, facts, folder),
                "clean": functools.partial(media.clean, path, folder),
            }
            for verb, work in works.items():
                runs = [await longest_stall(work) for _ in range(5)]
                took, late = (sorted(figures) for figures in zip(*runs, strict=True))
                print(f"{name:16} {verb:10} {took[2] * 1000:6.0f} ms; late {late[2] * 1000:5.1f} ms, at most {late[4] * 1000:5.1f} ms")  # fmt: skip
    media.close()


if __name__ == "__main__":
    asyncio.run(main())
