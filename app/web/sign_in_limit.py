"""Limits concurrent sign-ins, so that a burst of them does not slow down other requests.

Checking a password is the most expensive operation here, and sign-ins come in bursts (the start of a day, an attack).
Waiting requests cost almost nothing; only a few are processed at a time.
"""

import asyncio
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope, Receive, Scope, Send, WebSocketReceiveMessage

from app.web.paths import rule_for

MAX_BODY: Final = 64 * 1024  # bytes; far more than an email and a password need
MAX_CONCURRENT: Final = 8  # more than there are password threads, so that none is idle


class SignInConcurrencyLimit:
    """ASGI wrapper; runs before anything expensive."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and _applies(scope):
            await self._limited(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body before taking a slot, so that a slow client does not hold one."""
        messages, size, more = [], 0, True
        while more and size <= MAX_BODY:
            messages.append(message := await receive())
            more = message["type"] == "http.request" and message["more_body"]
            size += len(message["body"]) if message["type"] == "http.request" else 0

        async def replay() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            return messages.pop(0) if messages else await receive()

        if size > MAX_BODY:  # rejected as too large, which is cheap
            await self._app(scope, replay, send)
            return
        async with self._slots:
            await self._app(scope, replay, send)


def _applies(scope: HTTPScope) -> bool:
    """Whether the request is limited. A body whose declared length is too large is rejected without being read."""
    if scope["method"] != "POST" or not rule_for(scope["path"]).limits_concurrency:
        return False
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return not (length.isdigit() and int(length) > MAX_BODY)
