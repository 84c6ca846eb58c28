"""A scripted provider: real HTTP on loopback that records every request.

It uses raw sockets because the tests need faults that an HTTP server library cannot produce: closing mid-response, sending
slowly, declaring more than it sends, or never responding.
"""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from socket import SO_LINGER, SOL_SOCKET
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

SECONDS = 300.0  # only a broken product takes this long


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A received request; header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    port: int

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def key(self) -> str | None:
        return self.headers.get("authorization")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A response. `pieces` are sent one by one, `pause` seconds apart, each after acquiring `gate` if there is one. `length` is
    the declared length if it differs from the real one; `ending` is what happens after the last piece."""

    status: int = 200
    headers: dict[str, str] = {}
    pieces: Iterable[bytes] = ()
    pause: float = 0.0
    gate: Any = None  # an asyncio.Semaphore
    length: int | None = None
    chunked: bool = False
    ending: str = "close"  # close | keep | hang | reset


class Silence(msgspec.Struct, frozen=True):
    """No response: the connection hangs, closes or is reset after the request has been read."""

    ending: str = "hang"  # hang | close | reset


Script = Callable[[Recorded], "Reply | Silence"]

# All ways to lose a response after the request was sent.
LOST_ANSWERS: dict[str, Reply | Silence] = {
    "reset": Silence("reset"),
    "closed": Silence("close"),
    "silent": Silence(),
    "incomplete": Reply(pieces=(b"{",), length=9),
}


def js(body: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON answer; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(
        status=status, headers={"Content-Type": "application/json", **named}, pieces=(msgspec.json.encode(body),)
    )


def plain(body: bytes, mime: str = "application/octet-stream", status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers={"Content-Type": mime, **named}, pieces=(body,))


def error(status: int, message: str = "no", metadata: dict[str, Any] | None = None, **headers: str) -> Reply:
    """An error in OpenRouter's envelope."""
    envelope = {"code": status, "message": message} | ({"metadata": metadata} if metadata else {})
    return js({"error": envelope}, status, **headers)


def sse(*events: Any, done: bool = True, ending: str = "close", gate: asyncio.Semaphore | None = None) -> Reply:
    """A stream of events. Strings are sent unchanged (such as comments), anything else as a data line with JSON."""
    lines = [event if isinstance(event, str) else f"data: {msgspec.json.encode(event).decode()}" for event in events]
    if done:
        lines.append("data: [DONE]")
    return Reply(
        headers={"Content-Type": "text/event-stream"},
        pieces=tuple(f"{line}\n\n".encode() for line in lines),
        chunked=True,
        ending=ending,
        gate=gate,
    )


def joined(reply: Reply) -> Reply:
    """The same reply, sent in one piece."""
    return msgspec.structs.replace(reply, pieces=(b"".join(reply.pieces),))


async def until(condition: Callable[[], object]) -> None:
    """Poll until the condition is true."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Upstream:
    """Scripts by method and path. Several replies are used in order; the last one repeats."""

    def __init__(self) -> None:
        self.after_piece: Callable[[], object] = lambda: None  # called after sending a piece
        self.when_silent: Callable[[], object] = lambda: None  # called when a request gets no further response
        self.port = 0
        self.scheme = "http"
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.reset()

    def reset(self) -> None:
        """Clear all scripts and recorded requests."""
        self.requests: list[Recorded] = []
        self.connections = 0
        self._disconnected = asyncio.Event()
        self._arrived = asyncio.Event()
        self._scripts: dict[tuple[str, str], list[Reply | Silence | Script]] = {}

    @property
    def origin(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/api/v1"

    def on(self, method: str, path: str, *replies: "Reply | Silence | Script") -> None:
        self._scripts[method, path] = list(replies)

    def received(self, method: str, path: str) -> list[Recorded]:
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    def only(self, method: str, path: str) -> Recorded:
        found = self.received(method, path)
        assert len(found) == 1, [(request.method, request.path) for request in self.requests]
        return found[0]

    async def request_arrived(self) -> None:
        """Wait for a request."""
        async with asyncio.timeout(SECONDS):
            await self._arrived.wait()

    async def client_disconnected(self) -> None:
        """Wait until a client has closed the connection during a response."""
        async with asyncio.timeout(SECONDS):
            await self._disconnected.wait()

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self.scheme = "https" if tls else "http"
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self._disconnected.set()
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Respond to one request. True if the connection is kept open."""
        head = await reader.readuntil(b"\r\n\r\n")
        request = await self._read(head.decode("latin-1"), reader)
        self.requests.append(request)
        reply = self._reply(request)
        self._arrived.set()
        if isinstance(reply, Silence):
            return await self._end(reply.ending, reader, writer)
        writer.write(_head(reply))
        for piece in reply.pieces:
            if reply.gate is not None:
                await reply.gate.acquire()
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece)
            await writer.drain()
            self.after_piece()
            await asyncio.sleep(reply.pause)
        if reply.chunked and reply.ending in ("close", "keep"):
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        return await self._end(reply.ending, reader, writer)

    async def _end(self, ending: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if ending == "hang":
            self.when_silent()
            await reader.read()  # returns when the client disconnects
            self._disconnected.set()
        if ending == "reset":
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return ending == "keep"

    async def _read(self, head: str, reader: asyncio.StreamReader) -> Recorded:
        first, *lines = head.rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        parts = urlsplit(target)
        return Recorded(
            method=method,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers=headers,
            body=body,
            port=self.port,
        )

    def _reply(self, request: Recorded) -> Reply | Silence:
        script = self._scripts.get((request.method, request.path)) or self._scripts.get(
            (request.method, unquote(request.path))
        )
        if not script:
            return error(404, f"nothing is scripted for {request.method} {request.path}")
        script_reply = script.pop(0) if len(script) > 1 else script[0]
        return script_reply(request) if callable(script_reply) else script_reply


def _head(reply: Reply) -> bytes:
    headers = dict(reply.headers)
    if reply.chunked:
        headers["Transfer-Encoding"] = "chunked"
    else:
        length = sum(map(len, reply.pieces)) if reply.length is None else reply.length
        headers["Content-Length"] = str(length)
    if reply.ending != "keep":
        headers.setdefault("Connection", "close")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} Scripted\r\n{lines}\r\n".encode("latin-1")


@contextlib.asynccontextmanager
async def running(tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.start(tls)
    try:
        yield upstream
    finally:
        await upstream.stop()
