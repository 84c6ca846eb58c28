"""HTTP/1.1 as a client, read by httptools: connections to addresses that somebody else has checked, one request at a time.

Why not httpx, or httpcore below it: they read with h11, in Python, and pass each piece through five layers, which took a
quarter of all the processor time of a call through `/v1`. What is here knows nothing of redirects, cookies, proxies or packed
bodies, because its caller wants none.
"""

import asyncio
import select
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, cast

import httptools

from app.base.crash_points import crash_point

MAX_HEAD: Final = 64 * 1024  # bytes of an answer's status line and fields
MUCH: Final = 256 * 1024  # bytes of a body that wait to be taken; then the other side has to wait
SLICE: Final = 256 * 1024  # of a body: each slice has the patience to itself, so a slow line can send a large one

Pause = Callable[[], float]


class Unreachable(Exception):
    """There is no connection, and nothing was sent. The message is one word for the reason."""


class ConnectionLost(Exception):
    """The connection ended in the middle, or what came is no HTTP. The message is one word for the reason."""


class Connection(asyncio.Protocol):
    """One connection, and the answer that comes over it. TimeoutError when nothing comes for as long as `idle`, in seconds,
    or beyond `deadline`, on the loop's clock."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}  # by their names in lower case; of a name that came twice both, with a comma
        self.idle = 60.0
        self.deadline = float("inf")
        self.pause: Pause | None = None  # how many seconds to let a body gather before each look at it
        self.since = 0.0  # when it began to rest, on the loop's clock
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._poll = select.poll()
        self._waiter: asyncio.Future[None] | None = None
        self._full = False  # what is written must wait
        self._ended: str | None = None  # why nothing more comes
        self._asked = False  # an answer is awaited, or being read
        self._keep = False
        self._clear()

    def _clear(self) -> None:
        self._fields: list[tuple[bytes, bytes]] = []
        self._head = 0  # bytes that came before it was complete
        self._said = 0  # bytes of its fields
        self._begun = False  # the head is complete
        self._bounded = False  # the body says where it ends
        self._complete = False
        self._pieces: list[bytes] = []
        self.waiting = 0  # bytes in them

    # For the caller

    async def send(self, head: bytes, body: bytes | None) -> None:
        """Send a request. It may be answered, or lost, before all of it is sent: then the rest is not, and `answered` tells."""
        self._clear()
        self._asked, self._keep = True, True
        if body is None or len(body) <= SLICE:
            self._transport.write(head + body if body else head)
        else:
            self._transport.write(head)
            for start in range(0, len(body), SLICE):
                self._transport.write(body[start : start + SLICE])
                while self._full and not self._begun and not self._ended:
                    await self._news()
                if self._begun or self._ended:
                    self._keep = False
                    break
        crash_point("request.sent")

    async def answered(self) -> None:
        """Wait for the head of the answer."""
        while not self._begun:
            self._check()
            await self._news()
        headers: dict[str, str] = {}
        for raw, value in self._fields:
            name, said = raw.decode("latin-1").lower(), _text(value)
            headers[name] = f"{headers[name]}, {said}" if name in headers else said
        self.headers = headers
        crash_point("response.started")

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes; its first piece at once."""
        first = True
        while True:
            if self._pieces:
                first = False
                piece = b"".join(self._pieces)
                self._pieces.clear()
                self.waiting = 0
                self._transport.resume_reading()
                yield piece
            elif self._complete:
                crash_point("response.read")
                return
            else:
                self._check()
                if self.pause is not None and not first and (seconds := self.pause()):
                    # Each word would wake the loop and cost a system call by itself.
                    self._transport.pause_reading()
                    await asyncio.sleep(seconds)
                    self._transport.resume_reading()
                await self._news()

    @property
    def usable(self) -> bool:
        """Whether it can take another request."""
        if not (self._complete and self._keep) or self._pieces or self._ended or self._transport.is_closing():
            return False
        return not self._poll.poll(0)  # nothing has come that nobody asked for, not even a farewell

    def rest(self) -> None:
        """Until the next request."""
        self._asked, self.pause, self.since = False, None, self._loop.time()

    def close(self) -> None:
        """At once, whatever is on its way."""
        self._transport.abort()

    # For the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if not self._asked or self._complete:  # nobody asked for this
            self._keep = False
            return
        if not self._begun:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
            if not self._begun:
                _check_length(self._head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._end("InvalidAnswer")
            self._transport.abort()
        if self.waiting > MUCH:
            self._transport.pause_reading()
        self._tell()

    def eof_received(self) -> None:
        if self._begun and not self._bounded:
            self._complete = True
        self._end("Closed")

    def connection_lost(self, problem: Exception | None) -> None:
        if problem is None and self._begun and not self._bounded:
            self._complete = True
        self._end(type(problem).__name__ if problem else "Closed")

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._tell()

    # For the parser

    def on_message_begin(self) -> None:
        if self._complete:  # a second answer to one question
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._begun and not self._complete:  # and not what comes after a body
            self._fields.append((name, value))
            self._said += len(name) + len(value)
            _check_length(self._said)

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            raise httptools.HttpParserError
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        self._bounded = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._fields)
        self._begun = True

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._pieces.append(body)
            self.waiting += len(body)

    def on_message_complete(self) -> None:
        if self._begun:
            self._complete = True
            self._keep = self._keep and self._parser.should_keep_alive()
        else:  # it was only a word in between
            self._fields.clear()
            self._head = self._said = 0

    # Within

    def _check(self) -> None:
        if self._ended is not None:
            raise ConnectionLost(self._ended)

    def _end(self, why: str) -> None:
        self._ended = self._ended or why
        self._tell()

    def _tell(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _news(self) -> None:
        seconds = min(self.idle, self.deadline - self._loop.time())
        if seconds <= 0:
            raise TimeoutError
        waiter = self._waiter = self._loop.create_future()
        alarm = self._loop.call_later(seconds, _ring, waiter)
        try:
            await waiter
        finally:
            alarm.cancel()
            self._waiter = None


def _check_length(head: int) -> None:
    if head > MAX_HEAD:
        raise httptools.HttpParserError("the head is too long")


def _ring(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def head(method: str, target: bytes, host: bytes, headers: Mapping[str, str]) -> bytes:
    """The beginning of a request. `target` and `host` are as they stand in the URL, and no value holds the end of a line."""
    lines = b"".join(b"%b: %b\r\n" % (name.encode("ascii"), value.encode("ascii")) for name, value in headers.items())
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method.encode("ascii"), target, host, lines)


async def connect(
    addresses: Sequence[str], port: int, *, tls: ssl.SSLContext | None, name: str, seconds: float
) -> Connection:
    """To the first of these addresses that answers; the certificate must be for `name`. Unreachable, or TimeoutError after
    so many seconds in all."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    for left in range(len(addresses), 0, -1):
        # An address that swallows packets must not use up the time of the next one.
        share = max(0.1, (end - loop.time()) / (1 if left == 1 else 2))
        secured: dict[str, Any] = {"ssl": tls, "server_hostname": name} if tls else {}
        try:
            async with asyncio.timeout(share):
                _, connection = await loop.create_connection(Connection, addresses[-left], port, **secured)
                crash_point("connection.opened", name)
                return connection
        except (ssl.SSLError, ssl.CertificateError) as exc:
            raise Unreachable(type(exc).__name__) from None
        except TimeoutError:
            if left == 1:
                raise
        except OSError as exc:
            if left == 1:
                raise Unreachable(type(exc).__name__) from None
    raise Unreachable("NoAddress")
