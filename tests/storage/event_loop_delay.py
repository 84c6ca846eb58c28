"""How long the event loop is blocked while 4K images and videos are processed. A measurement, not a test:

python -m tests.storage.event_loop_delay
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


async def longest_block(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """The duration of `work` and the longest delay of the event loop during it, in seconds."""
    delay = 0.0

    async def tick() -> None:
        nonlocal delay
        while True:
            expected = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            delay = max(delay, time.perf_counter() - expected)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.05)
    delay, start = 0.0, time.perf_counter()
    await work()
    seconds = time.perf_counter() - start
    ticking.cancel()
    return seconds, delay


async def main() -> None:
    sources: dict[str, Callable[[], bytes]] = {
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
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = {}
        for name, make in sources.items():
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
                runs = [await longest_block(work) for _ in range(5)]
                seconds, delay = (sorted(values) for values in zip(*runs, strict=True))
                print(f"{name:16} {verb:10} {seconds[2] * 1000:6.0f} ms; delay {delay[2] * 1000:5.1f} ms, at most {delay[4] * 1000:5.1f} ms")  # fmt: skip
    media.close()


if __name__ == "__main__":
    asyncio.run(main())
