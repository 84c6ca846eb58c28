"""Compresses responses with gzip, in a thread when they are large.

The type of a response decides: text of any kind is compressed; images, videos, archives and streams never are, because they are
compressed already, must keep their ranges, or would be held back.
"""

import asyncio
import gzip
import re
from typing import Final, cast

from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

MIN_BYTES: Final = 600  # below, compression gains nothing
MAX_INLINE: Final = 8 * 1024  # bytes that are compressed on the event loop, in less than half a millisecond
MAX_HELD: Final = 16 * 1024 * 1024  # bytes of a response that is held back
LEVEL: Final = 5
_TEXT: Final = re.compile(
    r"(text/(?!event-stream)[\w.+-]+|application/([\w.+-]+\+)?(json|javascript|xml)|image/svg\+xml)\b"
)


class Compression:
    """The ASGI layer that compresses responses of a known length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and _accepts_gzip(scope):
            await self._app(scope, receive, _Sender(send).send)
        else:
            await self._app(scope, receive, send)


class _Sender:
    """Sends a response on. One that is worth compressing is held back until it is complete."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: HTTPResponseStartEvent | None = None  # of a response that may be worth compressing
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableScopeHeaders.from_message(message)
            if _is_compressible(message, headers):
                headers.extend_header_value("vary", "Accept-Encoding")
                if MIN_BYTES <= int(headers.get("content-length", "0")) <= MAX_HELD:
                    self._start = message
                    return
        elif message["type"] == "http.response.body" and self._start is not None:
            self._body += message["body"]
            if not message["more_body"]:
                await self._send_compressed(self._start)
            return
        await self._send(message)

    async def _send_compressed(self, start: HTTPResponseStartEvent) -> None:
        content = bytes(self._body)
        body = _gzip(content) if len(content) <= MAX_INLINE else await asyncio.to_thread(_gzip, content)
        headers = MutableScopeHeaders.from_message(start)
        headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(body))
        await self._send(start)
        await self._send(cast(Message, {"type": "http.response.body", "body": body, "more_body": False}))


def _is_compressible(start: HTTPResponseStartEvent, headers: MutableScopeHeaders) -> bool:
    return (
        start["status"] not in (204, 206, 304)
        and "content-encoding" not in headers
        and "content-range" not in headers
        and _TEXT.match(headers.get("content-type", "")) is not None
    )


def _accepts_gzip(scope: Scope) -> bool:
    accepted = Headers.from_scope(scope).get("accept-encoding", "")
    return any(
        name.strip().lower() in ("gzip", "*") and quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        for name, _, quality in (item.partition(";") for item in accepted.split(","))
    )


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0)
