"""The API's address, key and patience in one place: what the routes share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from app.base.logging import masked
from app.providers.client import MB, Answer, Client, Download, Events, ProviderEndpoint, Refused

_DETAIL = 2000  # characters of a provider's own words that are kept


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `idle` is the wait for the next byte, which for an answer that is not streamed is the wait for all of it."""

    text_idle: float = 120
    text: float = 300
    stream: float = 1800
    image: float = 240
    video: float = 60
    poll: float = 30
    catalogue: float = 60
    download: float = 600
    between_downloads: float = 1


class Api:
    """Requests to one base URL. Every method raises `client.ClientError` and nothing else."""

    def __init__(self, client: Client, home: ProviderEndpoint, patience: Timeouts, key: str | None) -> None:
        self._client = client
        self._key = key
        self.home = home
        self.patience = patience

    def url(self, path: str, **query: str | int) -> str:
        """`path` begins with a slash and is escaped already."""
        return self.home.base_url + path + (f"?{urlencode(query)}" if query else "")

    async def get(self, url: str, total: float, max_bytes: int = 32 * MB) -> Answer:
        return await self._client.request_json(
            "GET", url, home=self.home, idle=min(total, 30), total=total, max_bytes=max_bytes
        )

    async def post(
        self,
        path: str,
        content: bytes,
        *,
        total: float,
        idle: float | None = None,
        max_bytes: int = 32 * MB,
        reuse: bool = False,
    ) -> Answer:
        return await self._client.request_json(
            "POST",
            self.url(path),
            home=self.home,
            content=content,
            idle=idle or total,
            total=total,
            max_bytes=max_bytes,
            reuse=reuse,
        )

    @asynccontextmanager
    async def stream(self, path: str, content: bytes) -> AsyncIterator[Events]:
        async with self._client.stream_events(
            self.url(path),
            home=self.home,
            content=content,
            idle=self.patience.text_idle,
            total=self.patience.stream,
        ) as events:
            yield events

    async def download(self, url: str, to: Path, *, max_bytes: int, with_key: bool) -> Download:
        return await self._client.download(
            url, to, max_bytes=max_bytes, home=self.home, with_key=with_key, total=self.patience.download
        )

    def own(self, url: str) -> str | None:
        """The URL made absolute when it belongs to this API's origin, else None: the key would go where it points."""
        try:
            absolute = self.home.absolute(url)
        except Refused:
            return None
        return absolute if self.home.owns(absolute) else None

    def detail(self, words: str) -> str:
        """A provider's own words, for admins: short, and without our key, which some servers quote back."""
        if self._key:
            words = words.replace(self._key, "…")
        return masked(words)[:_DETAIL]


def segment(identifier: str) -> str:
    """One part of a path: an id is whatever the provider says, a slash in it must not lead elsewhere."""
    return quote(identifier, safe="")
