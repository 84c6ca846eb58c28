"""Previews of the images that running jobs generate, for the requests that wait for these jobs and for pages.

A preview is worth nothing once the image is there, so previews are kept in memory only, and only until their job ends.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from app.base.config import MB
from app.providers.contract import Preview

MAX_PREVIEW: Final = 8 * MB  # characters of base64; a larger preview is not kept


class _Feed(msgspec.Struct, eq=False):
    """At most `number` previews of one job, and the queues of those who read them."""

    number: int
    previews: list[Preview] = []
    readers: set[asyncio.Queue[Preview | None]] = set()


class JobPreviews:
    """A job has previews only if its request asked for some."""

    def __init__(self) -> None:
        self._feeds: dict[str, _Feed] = {}

    def expect(self, id: str, number: int) -> None:
        """This many previews of the job are wanted. Call it before the job is started."""
        self._feeds[id] = _Feed(number)

    def wanted(self, id: str) -> int:
        """How many previews of the job are wanted."""
        feed = self._feeds.get(id)
        return feed.number if feed is not None else 0

    def add(self, id: str, preview: Preview) -> None:
        """Pass a preview on to those who read the job's previews; ignored if it is too large or not wanted any more."""
        feed = self._feeds.get(id)
        if feed is None or len(feed.previews) >= feed.number or len(preview.base64) > MAX_PREVIEW:
            return
        feed.previews.append(preview)
        for reader in feed.readers:
            reader.put_nowait(preview)

    @contextmanager
    def reading(self, id: str) -> Iterator[asyncio.Queue[Preview | None]]:
        """The job's previews so far, and in the block those that follow. The reader may put None to mark the end."""
        feed = self._feeds.get(id, _Feed(0))
        reader: asyncio.Queue[Preview | None] = asyncio.Queue()
        for preview in feed.previews:
            reader.put_nowait(preview)
        feed.readers.add(reader)
        try:
            yield reader
        finally:
            feed.readers.discard(reader)

    def newest(self, id: str) -> Preview | None:
        """The newest preview that a page can show."""
        feed = self._feeds.get(id)
        return next((one for one in reversed(feed.previews) if one.format), None) if feed is not None else None

    def end(self, id: str) -> None:
        """The job has ended."""
        self._feeds.pop(id, None)
