"""Stores and cleans files with 200 kB of free space. Can also run as a separate process with a file size limit instead of a
small disk:

    python -m tests.storage.full_disk FOLDER SOURCES BYTES

SOURCES holds the files written by `write_sources`; BYTES is the file size limit. The result is printed as JSON.
"""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

from app.base.data_dir import DataDir
from app.base.disk_full import DiskFull
from app.storage.files import Files
from app.storage.media import Media
from tests.storage import samples

FREE = 200 * 1024  # bytes


def write_sources(folder: Path) -> None:
    """Files that need more than the free space when they are cleaned."""
    noise = samples.noise((640, 640))
    (folder / "becomes.png").write_bytes(samples.encoded(noise, "AVIF", quality=30, speed=10))
    (folder / "becomes.jpg").write_bytes(samples.encoded(noise, "JPEG", quality=30))
    (folder / "becomes.webp").write_bytes(samples.encoded(noise, "WEBP", quality=30))
    lossless = samples.Recipe(size=(480, 480), frames=2, noise=True, sound=None, options={"qp": "0"})
    (folder / "becomes.mp4").write_bytes(samples.encode(lossless))


async def run(root: Path, sources: list[Path]) -> dict[str, object]:
    data_dir = DataDir(root)
    data_dir.create()
    files, media = Files(data_dir.media, data_dir.temporary), Media()
    try:
        async with files.folder() as folder:
            await files.write_upload(_chunks(samples.png()), folder / "early", 10**6)
            early = await files.store(folder / "early", ".png")
        async with files.folder() as folder:
            outcomes = {
                "upload": await _outcome(files.write_upload(_chunks(bytes(10 * FREE)), folder / "upload", 10**9))
            }
            for source in sources:
                outcomes[source.name] = await _outcome(media.clean(source, folder))
            partial_files = [path.name for path in folder.iterdir()]
        return {
            "outcomes": outcomes,
            "partial files": partial_files,
            "temporary files": [path.name for path in data_dir.temporary.iterdir()],
            "the early file is intact": await files.verify(early.key),
            "only the early file is stored": [key async for key in files.keys()] == [early.key],  # noqa: SIM118
        }
    finally:
        files.close()
        media.close()


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65536):
        yield data[start : start + 65536]


async def _outcome(work: Awaitable[object]) -> str:
    try:
        await work
    except DiskFull:
        return "full"
    except Exception as exc:
        return repr(exc)
    return "done"


if __name__ == "__main__":
    limit = int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir())))))
