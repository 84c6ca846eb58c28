"""The API's base URL, key and timeouts, shared by all routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from app.base import logging
from app.base.config import MB
from app.base.errors import Upstream
from app.providers.bodies import EncodedBody
from app.providers.byte_stream import ByteStream
from app.providers.client import Client
from app.providers.downloads import Download
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import AddressNotAllowed, ClientError
from app.providers.event_stream import Events
from app.providers.openai_format import error_responses
from app.providers.responses import JsonResponse

_DETAIL = 2000  # characters of a provider's error message that are kept


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds. `text_idle` limits the wait for the next byte, so it also limits the wait for a response that is not
    streamed."""

    text_idle: float = 120
    text: float = 300
    stream: float = 1800
    image: float = 240
    video: float = 60
    poll: float = 30
    catalog: float = 60
    download: float = 600
    between_downloads: float = 1


class Api:
    """Requests to one base URL. Every method but `test` raises `ClientError` and nothing else."""

    def __init__(
        self, name: str, client: Client, endpoint: ProviderEndpoint, timeouts: Timeouts, key: str | None
    ) -> None:
        """`name` is the provider's, for the log."""
        self.log = logging.get(f"providers.{name}")
        self._client = client
        self._key = key
        self.endpoint = endpoint
        self.timeouts = timeouts

    def url(self, path: str, **query: str | int) -> str:
        """`path` starts with a slash and is already escaped."""
        return self.endpoint.base_url + path + (f"?{urlencode(query)}" if query else "")

    async def test(self, path: str) -> None:
        """Raise Upstream unless the server answers a GET of this path."""
        try:
            response = await self.get(self.url(path), self.timeouts.poll)
        except ClientError as exc:
            raise Upstream(f"No answer: {exc}.") from None
        if response.status != 200:
            reason = self.detail(error_responses.message_of(response)) or "no reason given"
            raise Upstream(f"Refused with status {response.status}: {reason}")

    async def get(self, url: str, total: float, max_bytes: int = 32 * MB) -> JsonResponse:
        return await self._client.request_json(
            "GET", url, endpoint=self.endpoint, idle=min(total, 30), total=total, max_bytes=max_bytes
        )

    async def post(
        self,
        path: str,
        content: bytes | EncodedBody,
        *,
        total: float,
        idle: float | None = None,
        max_bytes: int = 32 * MB,
        reuse: bool = False,
    ) -> JsonResponse:
        return await self._client.request_json(
            "POST",
            self.url(path),
            endpoint=self.endpoint,
            content=content,
            idle=idle or total,
            total=total,
            max_bytes=max_bytes,
            reuse=reuse,
        )

    async def delete(self, url: str, total: float) -> JsonResponse:
        return await self._client.request_json("DELETE", url, endpoint=self.endpoint, idle=total, total=total)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        content: bytes | EncodedBody,
        *,
        total: float,
        idle: float | None = None,
        max_bytes: int = 64 * MB,
        reuse: bool = False,
    ) -> AsyncIterator[Events]:
        async with self._client.stream_events(
            self.url(path),
            endpoint=self.endpoint,
            content=content,
            idle=idle or total,
            total=total,
            max_bytes=max_bytes,
            reuse=reuse,
        ) as events:
            yield events

    @asynccontextmanager
    async def stream_bytes(self, path: str, content: EncodedBody) -> AsyncIterator[ByteStream]:
        async with self._client.stream_bytes(
            self.url(path),
            endpoint=self.endpoint,
            content=content,
            idle=self.timeouts.text_idle,
            total=self.timeouts.text,
        ) as answer:
            yield answer

    async def download(self, url: str, to: Path, *, max_bytes: int, with_key: bool) -> Download:
        return await self._client.download(
            url, to, max_bytes=max_bytes, endpoint=self.endpoint, with_key=with_key, total=self.timeouts.download
        )

    def own(self, url: str) -> str | None:
        """The absolute URL if it has this API's origin, else None. Only such a URL may be sent the key."""
        try:
            absolute = self.endpoint.absolute(url)
        except AddressNotAllowed:
            return None
        return absolute if self.endpoint.owns(absolute) else None

    def detail(self, message: str) -> str:
        """A provider's error message for admins: shortened, and without the API key, which some servers echo."""
        if self._key:
            message = message.replace(self._key, "…")
        return logging.masked(message)[:_DETAIL]


def segment(identifier: str) -> str:
    """An escaped path segment: a slash in a provider's id must not change the path."""
    return quote(identifier, safe="")
