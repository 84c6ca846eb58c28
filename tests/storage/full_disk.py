"""What happens on a disk that is full, played out in the folder given; also as a program, under a limit of its own:

    python -m tests.storage.full_disk FOLDER BYTES

The answer is a JSON object. BYTES is the largest file that the system lets the program write (RLIMIT_FSIZE).
"""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

from app.base.folder import Folder
from app.storage.files import Files, Full
from app.storage.media import Media
from tests.storage import samples

TOO_MUCH = 2 * 1024 * 1024  # bytes; more than the disk or the limit allows


async def play(root: Path) -> dict[str, object]:
    place = Folder(root)
    place.make()
    files, media = Files(place.media, place.temporary), Media()
    try:
        return await _play(place, files, media)
    finally:
        files.close()
        media.close()


async def _play(place: Folder, files: Files, media: Media) -> dict[str, object]:
    async with files.folder() as folder:
        await files.write_upload(_chunks(samples.png()), folder / "early", 10**6)
        early = await files.store(folder / "early", ".png")
    async with files.folder() as folder:
        uploading = await _outcome(files.write_upload(_chunks(bytes(TOO_MUCH)), folder / "upload", 10**9))
        left_by_upload = len(list(folder.iterdir()))
        noisy = folder / "noisy.webp"
        noisy.write_bytes(_noisy_picture())
        # A lossless picture of noise is too large for the disk as a PNG, but not as what it came as.
        cleaning = await _outcome(media.clean(noisy, folder))
        left_by_cleaning = len(list(folder.iterdir())) - 1
    return {
        "uploading": uploading,
        "left by the upload": left_by_upload,
        "cleaning": cleaning,
        "left by cleaning": left_by_cleaning,
        "in progress afterwards": len(list(place.temporary.iterdir())),
        "early file is sound": await files.verify(early.key),
        "keys": [key async for key in files.keys()] == [early.key],
    }


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


def _noisy_picture() -> bytes:
    """A GIF of 50 kB that is a PNG of some MB when drawn anew."""
    return samples.gif()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    print(json.dumps(asyncio.run(play(Path(sys.argv[1])))))
