"""Detects, checks and processes images and videos by decoding them; file names and declared types are ignored.

`inspect` is for provider results, which are stored unchanged. `clean` is for uploads and removes everything but the image,
or the video and audio tracks. `thumbnail` is for both. All three block while decoding (a second or more for large files):
call them in a thread, or through `Media`, which has two threads.

Pillow and PyAV are imported on first use, which saves memory on a server that handles no media.
"""

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from app.storage import images, videos
from app.storage.contact_sheet import Sheet, render
from app.storage.media_type import Facts, Format, sniff
from app.storage.threads import Threads

__all__ = ["MAX_PIXELS", "Facts", "Media", "clean", "inspect", "last_frame", "thumbnail"]

MAX_PIXELS = 50_000_000  # of an image, or of one frame of an animation

P = ParamSpec("P")
T = TypeVar("T")


def inspect(path: Path, max_pixels: int = MAX_PIXELS) -> Facts:
    """The facts of a complete, valid image or video. Raises WrongType for anything else, and TooLarge. Blocking."""
    form = sniff(path)
    return videos.inspect(path, form) if form.kind == "video" else images.inspect(path, form, max_pixels)


def clean(path: Path, to_folder: Path, max_pixels: int = MAX_PIXELS) -> tuple[Path, Facts]:
    """A new file in `to_folder` without metadata or other extra content, and its facts.

    Images are re-encoded upright in sRGB; animations are reduced to their first frame; JPEG and WebP keep their format,
    others become PNG. Videos are remuxed without re-encoding. Raises WrongType, TooLarge and DiskFull. Blocking.
    """
    form = sniff(path)
    if form.kind == "video":
        return videos.clean(path, form, to_folder)
    return images.clean(path, form, max_pixels, to_folder)


def thumbnail(path: Path, facts: Facts, to_folder: Path, max_pixels: int = MAX_PIXELS) -> tuple[Path, int, int]:
    """A WebP image in `to_folder` and its width and height, at most 640 pixels on the longest side.

    `facts` come from `inspect` or `clean`. Raises WrongType, TooLarge and DiskFull. Blocking.
    """
    form = sniff(path)
    if facts.kind == "video":
        return images.save_thumbnail(videos.poster(path, form, facts.duration or 0.0, images.THUMBNAIL), to_folder)
    return images.thumbnail(path, form, max_pixels, to_folder)


def last_frame(path: Path, duration: float | None, to_folder: Path) -> Path:
    """A PNG in `to_folder` of the last frame of a video. Raises WrongType, TooLarge and DiskFull. Blocking."""
    frame = videos.last_frame(path, sniff(path), duration or 0.0)
    return images.save(frame, Format.PNG, to_folder)[0]


class Media:
    """Async versions of these functions. At most two run at once, because each may need several hundred MB."""

    def __init__(self, *, max_pixels: int = MAX_PIXELS) -> None:
        self.max_pixels = max_pixels
        self._threads = Threads(2, "media", low_priority=True)

    async def inspect(self, path: Path) -> Facts:
        return await self._threads.run(inspect, path, self.max_pixels)

    async def clean(self, path: Path, to_folder: Path) -> tuple[Path, Facts]:
        return await self._threads.run(clean, path, to_folder, self.max_pixels)

    async def thumbnail(self, path: Path, facts: Facts, to_folder: Path) -> tuple[Path, int, int]:
        return await self._threads.run(thumbnail, path, facts, to_folder, self.max_pixels)

    async def last_frame(self, path: Path, duration: float | None, to_folder: Path) -> Path:
        return await self._threads.run(last_frame, path, duration, to_folder)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call other work on images, such as that of `masks` and `fitting`, in one of the two threads."""
        return await self._threads.run(work, *args, **kwargs)

    async def contact_sheet(self, sheet: Sheet) -> bytes:
        return await self._threads.run(render, sheet)

    def close(self) -> None:
        self._threads.close()
