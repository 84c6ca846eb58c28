"""A provider's response, read within the caller's limits: whole, as JSON, or piece by piece."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import msgspec

from app.providers.connections import ConnectionLost, HttpConnection
from app.providers.errors import Broken, TooBig
from app.providers.exchange import ExchangeState

_START = 2000  # characters kept of an unexpected response
_INLINE = 64 * 1024  # bytes of JSON that are parsed on the event loop; larger bodies are parsed in a thread
_REDIRECTS = (301, 302, 303, 307, 308)


class JsonResponse(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` have lower-case names. `body` is the parsed JSON; if it is not JSON, `body` is None and `text` holds its
    beginning."""

    status: int
    headers: dict[str, str]
    body: Any = None
    text: str = ""


class Response:
    """A response whose body has not been read yet. What reads it raises ClientError, ConnectionLost or TimeoutError; the
    block `exchange.within_deadline()` translates the last two."""

    def __init__(self, connection: HttpConnection, exchange: ExchangeState) -> None:
        self.connection = connection
        self.exchange = exchange
        self.status = connection.status
        self.headers = connection.headers
        self.mime = self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def redirect(self) -> str | None:
        """Where it redirects to; None when it does not."""
        return self.headers.get("location") if self.status in _REDIRECTS else None

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, without a limit."""
        if self.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise Broken(f"{self.exchange.host} sent a content encoding that was not requested")
        return self.connection.chunks()

    async def limited_chunks(self, max_bytes: int) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. Raises TooBig as soon as it is known to be larger than `max_bytes`. The HTTP parser checks
        that a declared length was received in full."""
        host, declared = self.exchange.host, self.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > max_bytes:
            raise TooBig(f"the response of {host} has {declared} bytes, more than {max_bytes}")
        size = 0
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise TooBig(f"the response of {host} is larger than {max_bytes} bytes")
                yield chunk

    async def read_json(self, max_bytes: int) -> JsonResponse:
        body = bytearray()
        async with aclosing(self.limited_chunks(max_bytes)) as chunks:
            async for chunk in chunks:
                body += chunk
        content = bytes(body)
        is_json, value = _decode(content) if len(content) <= _INLINE else await asyncio.to_thread(_decode, content)
        text = "" if is_json else content[:_START].decode("utf-8", "replace")
        return JsonResponse(status=self.status, headers=self.headers, body=value, text=text)

    async def read_start(self) -> str:
        """The beginning of an error response. Read errors are ignored, because the status is already known."""
        body = b""
        with suppress(ConnectionLost, Broken, TimeoutError):
            async with aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > _START:
                        break
        return body[:_START].decode("utf-8", "replace")


def _decode(content: bytes) -> tuple[bool, Any]:
    """Whether it is JSON, and its value."""
    try:
        return True, msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False, None
