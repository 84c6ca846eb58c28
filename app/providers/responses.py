"""A provider's response, read within the caller's limits: whole, as JSON, or piece by piece."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any, cast

import aiohttp
import msgspec

from app.base.crash_points import crash_point
from app.providers import lenient_json
from app.providers.errors import Broken, TooBig
from app.providers.exchange import CONNECTION_ERRORS, ExchangeState

_START = 2000  # characters kept of an unexpected response
_INLINE = 64 * 1024  # bytes of JSON that are parsed on the event loop; larger bodies are parsed in a thread
_REDIRECTS = (301, 302, 303, 307, 308)
_VERSIONS = (aiohttp.HttpVersion10, aiohttp.HttpVersion11)
_ENCODINGS = ("", "identity", "gzip", "deflate")


class JsonResponse(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` have lower-case names. `body` is the parsed JSON; if it is not JSON, `body` is None and `text` holds its
    beginning."""

    status: int
    headers: dict[str, str]
    body: Any = None
    text: str = ""


class Response:
    """A response whose body has not been read yet. What reads it raises ClientError or one of CONNECTION_ERRORS; the block
    `exchange.within_deadline()` translates the latter."""

    def __init__(self, answer: aiohttp.ClientResponse, exchange: ExchangeState) -> None:
        self._answer = answer
        self.exchange = exchange
        self.status = answer.status
        self.headers = _joined(answer.raw_headers)
        self.mime = self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def redirect(self) -> str | None:
        """Where it redirects to; None when it does not."""
        return self.headers.get("location") if self.status in _REDIRECTS else None

    def close(self) -> None:
        """Close its connection unless the body was read to its end."""
        if (connection := self._answer.connection) is not None and connection.transport is not None:
            connection.transport.abort()  # closing would first send what is left of the request
        self._answer.close()

    async def chunks(self, pause: Callable[[], float] | None = None) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, decoded, without a limit. `pause` returns the seconds to wait before each read; it does not
        delay the first chunk."""
        if self.status == 101 or self._answer.version not in _VERSIONS:
            raise Broken(f"{self.exchange.host} switched to a protocol that was not requested")
        if self.headers.get("content-encoding", "").lower() not in _ENCODINGS:
            raise Broken(f"{self.exchange.host} sent a content encoding that was not requested")
        content, deadline = self._answer.content, self.exchange.deadline
        is_first = True
        try:
            while True:
                chunk = content.read_nowait()
                if not chunk:
                    if content.at_eof():
                        break
                    if pause is not None and not is_first and (seconds := pause()):
                        await self._let_data_gather(seconds)
                    async with asyncio.timeout_at(deadline):
                        chunk = await content.readany()
                if asyncio.get_running_loop().time() > deadline:
                    raise TimeoutError
                if chunk:
                    is_first = False
                    yield chunk
        except CONNECTION_ERRORS:
            content.set_exception(cast(Any, None))  # otherwise what came before the error cannot be read any more
            if rest := content.read_nowait():
                yield rest
            raise
        crash_point("response.read")

    async def _let_data_gather(self, seconds: float) -> None:
        """Leave what arrives to the system for a while. Otherwise each token would wake the loop and cost a system call."""
        transport = self._answer.connection.transport if self._answer.connection is not None else None
        if transport is None or transport.is_closing():
            return
        transport.pause_reading()
        try:
            await asyncio.sleep(seconds)
        finally:
            transport.resume_reading()

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
        with suppress(Broken, *CONNECTION_ERRORS):
            async with aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > _START:
                        break
        return body[:_START].decode("utf-8", "replace")


def _decode(content: bytes) -> tuple[bool, Any]:
    """Whether it is JSON, and its value."""
    try:
        return True, lenient_json.decode(content)
    except ValueError:
        return False, None


def _joined(headers: aiohttp.typedefs.RawHeaders) -> dict[str, str]:
    """Headers with lower-case names; repeated ones are joined with a comma."""
    joined: dict[str, str] = {}
    for raw, value in headers:
        name, text = raw.decode("latin-1").lower(), _text(value)
        joined[name] = f"{joined[name]}, {text}" if name in joined else text
    return joined


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
