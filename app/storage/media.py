"""What these bytes really are: found out by decoding them, never by their name.

`inspect` is for what providers deliver and is kept as it came; `clean` is for what people upload and keeps nothing of the
file but the picture or the clip; `thumbnail` is for both. All three block for as long as decoding takes (a second and
more for the largest): call them in a thread, or through `Media`, which has two of its own.

Pillow and PyAV are imported where they are used, so that a server on which nobody looks at pictures does without them.
"""

from pathlib import Path

from app.storage import images, videos
from app.storage.media_type import Facts, sniff
from app.storage.threads import Threads

__all__ = ["MAX_PIXELS", "Facts", "Media", "clean", "inspect", "thumbnail"]

MAX_PIXELS = 50_000_000  # of a picture, or of one frame of an animation


def inspect(path: Path, max_pixels: int = MAX_PIXELS) -> Facts:
    """The facts of a whole and sound picture or clip. Raises WrongType for everything else, and TooLarge. Blocks."""
    form = sniff(path)
    return videos.inspect(path, form) if form.kind == "video" else images.inspect(path, form, max_pixels)


def clean(path: Path, to_folder: Path, max_pixels: int = MAX_PIXELS) -> tuple[Path, Facts]:
    """A new file in `to_folder` with nothing of the old one but its picture or its moving picture and sound, and its facts.

    Pictures are drawn anew, upright and in sRGB; animations become their first frame; JPEG and WebP stay, the others
    become PNG. Clips are packed anew, their coded pictures untouched. Raises WrongType, TooLarge and Full. Blocks.
    """
    form = sniff(path)
    if form.kind == "video":
        return videos.clean(path, form, to_folder)
    return images.clean(path, form, max_pixels, to_folder)


def thumbnail(path: Path, facts: Facts, to_folder: Path, max_pixels: int = MAX_PIXELS) -> tuple[Path, int, int]:
    """A WebP picture in `to_folder` and its width and height: at most 640 pixels on its longest side.

    `facts` are what `inspect` or `clean` said of the file. Raises WrongType, TooLarge and Full. Blocks.
    """
    form = sniff(path)
    if facts.kind == "video":
        return images.save_thumbnail(videos.poster(path, form, facts.duration or 0.0, images.THUMBNAIL), to_folder)
    return images.thumbnail(path, form, max_pixels, to_folder)


class Media:
    """The same three, awaitable. No more than two run at once, because each may need some hundred MB of memory."""

    def __init__(self, *, max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._threads = Threads(2, "media", giving_way=True)

    async def inspect(self, path: Path) -> Facts:
        return await self._threads.run(inspect, path, self._max_pixels)

    async def clean(self, path: Path, to_folder: Path) -> tuple[Path, Facts]:
        return await self._threads.run(clean, path, to_folder, self._max_pixels)

    async def thumbnail(self, path: Path, facts: Facts, to_folder: Path) -> tuple[Path, int, int]:
        return await self._threads.run(thumbnail, path, facts, to_folder, self._max_pixels)

    def close(self) -> None:
        self._threads.close()
