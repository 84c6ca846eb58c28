"""HTTP/1.1 client connections on asyncio and httptools, one request at a time, to addresses that the caller has checked.

httpx and httpcore are not used because they parse with h11, in Python, and pass each chunk through five layers; that took
a quarter of the CPU time of a call through `/v1`. Redirects, cookies, proxies and compression are left out on purpose:
`client` needs none of them here.
"""

import asyncio
import select
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, cast

import httptools

from app.base.crash_points import crash_point

MAX_HEAD: Final = 64 * 1024  # bytes of a response's status line and headers
MAX_BUFFERED: Final = 256 * 1024  # bytes of a body not yet consumed; above it, reading is paused
WRITE_CHUNK: Final = 256 * 1024  # bytes; the idle timeout applies to each chunk, so a slow link can send a large body

Pause = Callable[[], float]


class Unreachable(Exception):
    """No connection could be made, and nothing was sent. The message is a one-word reason."""


class ConnectionLost(Exception):
    """The connection ended early, or the response is not valid HTTP. The message is a one-word reason."""


class HttpConnection(asyncio.Protocol):
    """One connection and its current response. Waiting raises TimeoutError after `idle` seconds without data, or at
    `deadline`, in loop time."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}  # lower-case names; repeated headers are joined with a comma
        self.idle = 60.0
        self.deadline = float("inf")
        self.pause: Pause | None = None  # returns the seconds to wait before each read of the body
        self.idle_since = 0.0  # loop time
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._poll = select.poll()
        self._waiter: asyncio.Future[None] | None = None
        self._write_paused = False
        self._end_reason: str | None = None  # set once no more data will come
        self._expecting = False  # a response is awaited or being read
        self._keep = False
        self._reset()

    def _reset(self) -> None:
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0  # received before the head was complete
        self._header_bytes = 0  # names and values, after parsing
        self._head_complete = False
        self._has_length = False  # the body's end is known without waiting for the connection to close
        self._complete = False
        self._chunks: list[bytes] = []
        self.buffered = 0  # bytes in `_chunks`

    # For the caller

    async def send(self, head: bytes, body: bytes | None) -> None:
        """Send a request. If a response arrives or the connection is lost meanwhile, the rest is not sent; `read_head` then
        returns or raises."""
        self._reset()
        self._expecting, self._keep = True, True
        if body is None or len(body) <= WRITE_CHUNK:
            self._transport.write(head + body if body else head)
        else:
            self._transport.write(head)
            for start in range(0, len(body), WRITE_CHUNK):
                self._transport.write(body[start : start + WRITE_CHUNK])
                while self._write_paused and not self._head_complete and not self._end_reason:
                    await self._wait()
                if self._head_complete or self._end_reason:
                    self._keep = False
                    break
        crash_point("request.sent")

    async def read_head(self) -> None:
        """Wait for the status and headers of the response."""
        while not self._head_complete:
            self._raise_if_ended()
            await self._wait()
        headers: dict[str, str] = {}
        for raw, value in self._fields:
            name, text = raw.decode("latin-1").lower(), _text(value)
            headers[name] = f"{headers[name]}, {text}" if name in headers else text
        self.headers = headers
        crash_point("response.started")

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. `pause` does not delay the first chunk."""
        first = True
        while True:
            if self._chunks:
                first = False
                chunk = b"".join(self._chunks)
                self._chunks.clear()
                self.buffered = 0
                self._transport.resume_reading()
                yield chunk
            elif self._complete:
                crash_point("response.read")
                return
            else:
                self._raise_if_ended()
                if self.pause is not None and not first and (seconds := self.pause()):
                    # Otherwise each token would wake the loop and cost a system call.
                    self._transport.pause_reading()
                    await asyncio.sleep(seconds)
                    self._transport.resume_reading()
                await self._wait()

    @property
    def reusable(self) -> bool:
        """Whether it can be used for another request."""
        if not (self._complete and self._keep) or self._chunks or self._end_reason or self._transport.is_closing():
            return False
        return not self._poll.poll(0)  # no unexpected data and no close have arrived

    def mark_idle(self) -> None:
        """Prepare for waiting in the pool."""
        self._expecting, self.pause, self.idle_since = False, None, self._loop.time()

    def close(self) -> None:
        """Close immediately, dropping unsent data."""
        self._transport.abort()

    # asyncio.Protocol callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if not self._expecting or self._complete:  # unsolicited data
            self._keep = False
            return
        if not self._head_complete:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if not self._head_complete:
                _check_length(self._head_bytes)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._end("InvalidAnswer")
            self._transport.abort()
        if self.buffered > MAX_BUFFERED:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        if self._head_complete and not self._has_length:
            self._complete = True
        self._end("Closed")

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._head_complete and not self._has_length:
            self._complete = True
        self._end(type(exc).__name__ if exc else "Closed")

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._wake()

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self._complete:  # a second response to one request
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete and not self._complete:  # ignores trailers
            self._fields.append((name, value))
            self._header_bytes += len(name) + len(value)
            _check_length(self._header_bytes)

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            raise httptools.HttpParserError
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        self._has_length = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._fields)
        self._head_complete = True

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._chunks.append(body)
            self.buffered += len(body)

    def on_message_complete(self) -> None:
        if self._head_complete:
            self._complete = True
            self._keep = self._keep and self._parser.should_keep_alive()
        else:  # an interim (1xx) response
            self._fields.clear()
            self._head_bytes = self._header_bytes = 0

    # Internals

    def _raise_if_ended(self) -> None:
        if self._end_reason is not None:
            raise ConnectionLost(self._end_reason)

    def _end(self, reason: str) -> None:
        self._end_reason = self._end_reason or reason
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        seconds = min(self.idle, self.deadline - self._loop.time())
        if seconds <= 0:
            raise TimeoutError
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None


def _check_length(head: int) -> None:
    if head > MAX_HEAD:
        raise httptools.HttpParserError("the head is too long")


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def head(method: str, target: bytes, host: bytes, headers: Mapping[str, str]) -> bytes:
    """The request line and headers. `target` and `host` are taken from the URL as they are; values must not contain line
    breaks."""
    lines = b"".join(b"%b: %b\r\n" % (name.encode("ascii"), value.encode("ascii")) for name, value in headers.items())
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method.encode("ascii"), target, host, lines)


async def connect(
    addresses: Sequence[str], port: int, *, tls: ssl.SSLContext | None, name: str, seconds: float
) -> HttpConnection:
    """Connect to the first address that accepts; with TLS, the certificate must be valid for `name`. Raises Unreachable, or
    TimeoutError after `seconds` in total."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    for remaining in range(len(addresses), 0, -1):
        # An address that drops packets must not use up the time for the next one.
        share = max(0.1, (end - loop.time()) / (1 if remaining == 1 else 2))
        secured: dict[str, Any] = {"ssl": tls, "server_hostname": name} if tls else {}
        try:
            async with asyncio.timeout(share):
                _, connection = await loop.create_connection(HttpConnection, addresses[-remaining], port, **secured)
                crash_point("connection.opened", name)
                return connection
        except (ssl.SSLError, ssl.CertificateError) as exc:
            raise Unreachable(type(exc).__name__) from None
        except TimeoutError:
            if remaining == 1:
                raise
        except OSError as exc:
            if remaining == 1:
                raise Unreachable(type(exc).__name__) from None
    raise Unreachable("NoAddress")
