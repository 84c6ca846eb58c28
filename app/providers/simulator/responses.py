"""Answers as bytes on the wire, also broken ones: cut in the middle, one byte a second, without an end, or none at all.

Web frameworks keep a handler from sending a broken answer, and breaking answers is half of what a simulator is for.
So handlers here return these, each a small ASGI program of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.providers.simulator.stage import Stage

BLOCK = 64 * 1024
HUGE = 2 * 1024**3
JSON = "application/json"
EVENTS = "text/event-stream"

Headers = Mapping[str, str]


class Whole:
    """A plain answer: status, headers, body."""

    def __init__(self, body: bytes, media_type: str = JSON, status: int = 200, headers: Headers | None = None) -> None:
        self.body = body
        self.media_type = media_type
        self.status = status
        self.headers = dict(headers or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"content-length": str(len(self.body)), **self.headers}
        await _start(send, self.status, self.media_type, headers)
        await _body(send, self.body, more=False)


def json_answer(content: Any, status: int = 200, headers: Headers | None = None) -> Whole:
    """A plain answer in JSON."""
    return Whole(msgspec.json.encode(content), JSON, status, headers)


class Streamed:
    """An answer in pieces. Stops, and closes the source of the pieces, as soon as the client is gone."""

    def __init__(self, pieces: AsyncIterator[bytes], media_type: str, headers: Headers | None = None) -> None:
        self.pieces = pieces
        self.media_type = media_type
        self.headers = dict(headers or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A server drops what is sent to a client that has left, without a word: an endless answer must watch for itself.
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            results = await asyncio.gather(sending, leaving, return_exceptions=True)
            await _close(self.pieces)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _send(self, send: Send) -> None:
        await _start(send, 200, self.media_type, self.headers)
        async for piece in self.pieces:
            await _body(send, piece, more=True)
        await _body(send, b"", more=False)


class HungUp:
    """No answer at all: the connection is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await hang_up(receive)


class Silent:
    """No answer, but the connection stays open until the client gives up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _gone(receive)


class Cut:
    """An answer that promises more than it sends: half of the body, then the connection is closed."""

    def __init__(self, whole: Whole) -> None:
        self.whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = self.whole.body
        headers = {"content-length": str(len(body)), **self.whole.headers}
        await _start(send, self.whole.status, self.whole.media_type, headers)
        await _body(send, body[: len(body) // 2], more=True)
        await hang_up(receive)


async def trickle(stage: Stage, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, one a second whatever the speed: this is about patience, not about time."""
    async for piece in pieces:
        for place in range(len(piece)):
            yield piece[place : place + 1]
            await stage.clock.sleep(1)


async def endless(head: bytes, filling: bytes, tail: bytes = b"") -> AsyncIterator[bytes]:
    """Head, then filling until it is more than anyone wants, then tail. Made while it is sent."""
    yield head
    block = (filling * (BLOCK // len(filling) + 1))[: BLOCK // len(filling) * len(filling)]
    for _ in range(HUGE // len(block)):
        yield block
        await asyncio.sleep(0)  # a socket that takes everything would never let anyone else have a turn
    yield tail


async def once(body: bytes) -> AsyncIterator[bytes]:
    """The body as a stream of one piece."""
    yield body


async def blocks(stage: Stage, path: Path, length: int) -> AsyncIterator[bytes]:
    """The file's first `length` bytes, read in a thread while they are sent. Whoever has them all may throw the file away."""
    start = 0
    while start < length and (block := await stage.disk(_block, path, start)):
        start += len(block)
        yield block


def _block(path: Path, start: int) -> bytes:
    """Opened anew for each block: a client that hangs up in between leaves nothing open."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(BLOCK)


async def file_answer(stage: Stage, path: Path, media_type: str) -> Streamed:
    """A whole file, with its length."""
    length = (await stage.disk(path.stat)).st_size
    return Streamed(blocks(stage, path, length), media_type, {"content-length": str(length)})


async def listed(stage: Stage, lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Lines of JSON as one JSON list, however many there are."""
    source = iter(lines)
    before = b"["
    while batch := await stage.disk(_some, source):
        yield before + b",\n".join(batch)
        before = b",\n"
    yield b"[]" if before == b"[" else b"]"


def _some(source: Any) -> list[bytes]:
    return [line for _, line in zip(range(200), source, strict=False)]


def event(content: Any) -> bytes:
    """One server-sent event."""
    text = content.encode() if isinstance(content, str) else msgspec.json.encode(content)
    return b"data: " + text + b"\n\n"


def comment(text: str) -> bytes:
    """A line that keeps the connection alive and means nothing."""
    return f": {text}\n\n".encode()


PROCESSING = comment("OPENROUTER PROCESSING")


class Interruptible(ASGIMiddleware):
    """Lets the server stop while it answers: a request that is given up ends without an answer and without a word."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        try:
            with self.stage.answering():
                await next_app(scope, receive, send)
        except asyncio.CancelledError:
            await hang_up(receive)


async def hang_up(receive: Receive) -> None:
    """Close the connection now. ASGI has no word for that, so this takes the server's own hand: uvicorn's transport.

    What was sent before is still delivered. Under another server the request is given up instead.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionAbortedError("the simulator hung up")
    transport.close()
    # Until the server has noticed; returning earlier it would write an answer of its own.
    await _gone(receive)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _close(pieces: AsyncIterator[bytes]) -> None:
    with suppress(AttributeError):
        await pieces.aclose()  # type: ignore[attr-defined]


async def _start(send: Send, status: int, media_type: str, headers: Headers) -> None:
    named = {"content-type": media_type, **headers}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in named.items()],
        }
    )


async def _body(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
