"""The HTTP/1.1 protocol. uvicorn's fast parser (httptools) handles ordinary requests; requests it rejects, such as those
with an unknown method, go to uvicorn's other parser (h11), so that the application can answer them with its own errors. So do
requests of HTTP/1.0 clients, which the fast one would answer in chunks that they cannot read.

Adds two checks that uvicorn lacks with httptools: a head may be at most `MAX_HEAD` bytes, and trailers are not merged into
the request headers.
"""

import asyncio
from typing import Any, Final

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.base.ids import uuid7
from app.web.errors import Envelope, Problem
from app.web.security_headers import HEADERS

MAX_HEAD: Final = 64 * 1024  # bytes of the request line and headers together
FAST_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
MAX_METHOD: Final = max(map(len, FAST_METHODS))


class Protocol(HttpToolsProtocol):
    """One connection; the `http` class of uvicorn's Config."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._between = True  # the next byte begins a request
        self._in_head = False
        self._head = 0  # bytes of the current head so far
        self._ended = False  # ignore further data

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if self._between and not self._answering and not _is_fast(data):
            self._hand_over(data)
            return
        super().data_received(data)
        if self._in_head and not self._ended:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._refuse(f"The request line and headers must be at most {MAX_HEAD // 1024} KiB.")

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def on_message_begin(self) -> None:
        self._between, self._in_head, self._head = False, True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._between = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """`msg` is uvicorn's log message and not sent to the client."""
        self._refuse("The request is not valid HTTP.")

    def _refuse(self, message: str) -> None:
        """Answer 400 without the application and close the connection, because the start of the next request is unknown.
        If earlier requests are still being answered, only close the connection after the last of them."""
        self._ended = True
        if self._answering:
            last = self.pipeline[0][0] if self.pipeline else self.cycle
            last.keep_alive = False
            return
        body = msgspec.json.encode(Envelope(Problem("VALIDATION_ERROR", message)))
        headers = {
            **HEADERS,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            "x-request-id": uuid7(),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[400] + lines.encode() + b"\r\n" + body)
        self.transport.close()

    def _hand_over(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        other = H11Protocol(self.config, self.server_state, self.app_state, self.loop)
        other.connection_made(self.transport)
        self.transport.set_protocol(other)
        other.data_received(data)


def _is_fast(data: bytes) -> bool:
    """Whether the first bytes of a request, possibly incomplete, start with one of `FAST_METHODS`, and are not HTTP/1.0."""
    if b" HTTP/1.0\r\n" in data[:MAX_HEAD].lstrip(b"\r\n").partition(b"\n")[0] + b"\n":
        return False
    method, space, _ = data[: MAX_METHOD + 1].lstrip(b"\r\n").partition(b" ")
    return method in FAST_METHODS if space else any(known.startswith(method) for known in FAST_METHODS)
