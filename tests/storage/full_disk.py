"""What happens when there is room for two hundred kilobytes and no more, played out in the folder given. It can be run as
a program of its own, under a limit instead of on a small disk:

    python -m tests.storage.full_disk FOLDER SOURCES BYTES

SOURCES holds the files that `write_sources` made; BYTES is the largest file that the system lets it write. The answer is
a JSON object.
"""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

from app.base.folder import Folder
from app.base.room import Full
from app.storage.files import Files
from app.storage.media import Media
from tests.storage import samples

ROOM = 200 * 1024  # bytes


def write_sources(folder: Path) -> None:
    """Files smaller than the room there is, or read from elsewhere, that become larger than it when they are cleaned."""
    (folder / "becomes.png").write_bytes(samples.encoded(samples.noise((640, 640)), "AVIF", quality=30, speed=10))
    (folder / "becomes.jpg").write_bytes(samples.encoded(samples.noise((640, 640)), "JPEG", quality=30))
    (folder / "becomes.webp").write_bytes(samples.encoded(samples.noise((640, 640)), "WEBP", quality=30))
    (folder / "becomes.mp4").write_bytes(samples.clip(size=(640, 480), options=(("qp", "0"),)))


async def play(root: Path, sources: list[Path]) -> dict[str, object]:
    place = Folder(root)
    place.make()
    files, media = Files(place.media, place.temporary), Media()
    try:
        async with files.folder() as folder:
            await files.write_upload(_chunks(samples.png()), folder / "early", 10**6)
            early = await files.store(folder / "early", ".png")
        async with files.folder() as folder:
            outcomes = {
                "upload": await _outcome(files.write_upload(_chunks(bytes(10 * ROOM)), folder / "upload", 10**9))
            }
            for source in sources:
                outcomes[source.name] = await _outcome(media.clean(source, folder))
            half_written = [path.name for path in folder.iterdir()]
        return {
            "outcomes": outcomes,
            "half written": half_written,
            "left in progress": [path.name for path in place.temporary.iterdir()],
            "the early file is sound": await files.verify(early.key),
            "only the early file is kept": [key async for key in files.keys()] == [early.key],  # noqa: SIM118
        }
    finally:
        files.close()
        media.close()


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 65536):
        yield data[at : at + 65536]


async def _outcome(work: Awaitable[object]) -> str:
    try:
        await work
    except Full:
        return "full"
    except Exception as problem:
        return repr(problem)
    return "done"


if __name__ == "__main__":
    limit = int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    print(json.dumps(asyncio.run(play(Path(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir())))))
