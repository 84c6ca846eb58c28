"""Responses as raw ASGI applications, including broken ones: truncated, one byte per second, endless, or none at all.

A web framework prevents a handler from sending a broken response, but simulating broken responses is a main purpose of
the simulator, so its handlers return these instead.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.providers.simulator.runtime import Runtime

CHUNK_BYTES = 64 * 1024
HUGE_BYTES = 2 * 1024**3
JSON = "application/json"
EVENTS = "text/event-stream"

Headers = Mapping[str, str]


class PlainResponse:
    """A complete response: status, headers, body."""

    def __init__(self, body: bytes, media_type: str = JSON, status: int = 200, headers: Headers | None = None) -> None:
        self.body = body
        self.media_type = media_type
        self.status = status
        self.headers = dict(headers or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"content-length": str(len(self.body)), **self.headers}
        await _start(send, self.status, self.media_type, headers)
        await _body(send, self.body, more=False)


def json_response(content: Any, status: int = 200, headers: Headers | None = None) -> PlainResponse:
    """A complete JSON response."""
    return PlainResponse(msgspec.json.encode(content), JSON, status, headers)


class StreamedResponse:
    """A streamed response. Stops and closes its source as soon as the client disconnects."""

    def __init__(self, chunks: AsyncIterator[bytes], media_type: str, headers: Headers | None = None) -> None:
        self.chunks = chunks
        self.media_type = media_type
        self.headers = dict(headers or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The server silently drops data for a disconnected client, so an endless response must detect this itself.
        sending = asyncio.create_task(self._send(send))
        disconnecting = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({sending, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, disconnecting):
                task.cancel()
            results = await asyncio.gather(sending, disconnecting, return_exceptions=True)
            await _close(self.chunks)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _send(self, send: Send) -> None:
        await _start(send, 200, self.media_type, self.headers)
        async for chunk in self.chunks:
            await _body(send, chunk, more=True)
        await _body(send, b"", more=False)


class ClosedConnection:
    """Closes the connection without a response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await close_connection(receive)


class NoResponse:
    """Sends nothing, but keeps the connection open until the client disconnects."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _wait_for_disconnect(receive)


class TruncatedResponse:
    """Announces the full length, sends half of the body, then closes the connection."""

    def __init__(self, response: PlainResponse) -> None:
        self.response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = self.response.body
        headers = {"content-length": str(len(body)), **self.response.headers}
        await _start(send, self.response.status, self.response.media_type, headers)
        await _body(send, body[: len(body) // 2], more=True)
        await close_connection(receive)


async def trickle(runtime: Runtime, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, one per second regardless of the simulator's speed: this tests timeouts."""
    async for chunk in chunks:
        for index in range(len(chunk)):
            yield chunk[index : index + 1]
            await runtime.clock.sleep(1)


async def endless(head: bytes, filler: bytes, tail: bytes = b"") -> AsyncIterator[bytes]:
    """Head, then about 2 GiB of filler, then tail, generated while it is sent."""
    yield head
    chunk = (filler * (CHUNK_BYTES // len(filler) + 1))[: CHUNK_BYTES // len(filler) * len(filler)]
    for _ in range(HUGE_BYTES // len(chunk)):
        yield chunk
        await asyncio.sleep(0)  # otherwise a fast socket would block the event loop
    yield tail


def damaged(runtime: Runtime, response: PlainResponse, faults: frozenset[str]) -> ASGIApp:
    """The response, truncated or one byte per second if `faults` say so."""
    if "cut" in faults:
        return TruncatedResponse(response)
    if "trickle" in faults:
        slowly = trickle(runtime, _single_chunk(response.body))
        return StreamedResponse(slowly, response.media_type, response.headers)
    return response


async def _single_chunk(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def file_chunks(runtime: Runtime, path: Path, length: int) -> AsyncIterator[bytes]:
    """The first `length` bytes of the file, read in a thread while they are sent."""
    start = 0
    while start < length and (chunk := await runtime.run_io(_read_chunk, path, start)):
        start += len(chunk)
        yield chunk


def _read_chunk(path: Path, start: int) -> bytes:
    """Opens the file for each chunk, so that a disconnected client leaves no file open."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(CHUNK_BYTES)


async def file_response(runtime: Runtime, path: Path, media_type: str) -> StreamedResponse:
    """A file with its content length."""
    length = (await runtime.run_io(path.stat)).st_size
    return StreamedResponse(file_chunks(runtime, path, length), media_type, {"content-length": str(length)})


async def json_list(runtime: Runtime, lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Lines of JSON as one JSON array, streamed."""
    source = iter(lines)
    before = b"["
    while batch := await runtime.run_io(_next_lines, source):
        yield before + b",\n".join(batch)
        before = b",\n"
    yield b"[]" if before == b"[" else b"]"


def _next_lines(source: Any) -> list[bytes]:
    return [line for _, line in zip(range(200), source, strict=False)]


def event(content: Any) -> bytes:
    """One server-sent event."""
    text = content.encode() if isinstance(content, str) else msgspec.json.encode(content)
    return b"data: " + text + b"\n\n"


def comment(text: str) -> bytes:
    """An SSE comment, which keeps the connection alive."""
    return f": {text}\n\n".encode()


PROCESSING = comment("OPENROUTER PROCESSING")


class AbortableRequests(ASGIMiddleware):
    """Lets the server stop during a request: a cancelled request closes its connection without a response or a log message."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        runtime: Runtime = scope["litestar_app"].state.runtime
        try:
            with runtime.tracked_request():
                await next_app(scope, receive, send)
        except asyncio.CancelledError:
            await close_connection(receive)


async def close_connection(receive: Receive) -> None:
    """Close the connection now. ASGI has no message for this, so it uses uvicorn's transport.

    Data sent before is still delivered. Under another server it raises ConnectionAbortedError.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionAbortedError("the simulator closed the connection")
    transport.close()
    # Wait until the server has noticed; otherwise it would send an error response of its own.
    await _wait_for_disconnect(receive)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _close(chunks: AsyncIterator[bytes]) -> None:
    with suppress(AttributeError):
        await chunks.aclose()  # type: ignore[attr-defined]


async def _start(send: Send, status: int, media_type: str, headers: Headers) -> None:
    all_headers = {"content-type": media_type, **headers}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in all_headers.items()],
        }
    )


async def _body(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
