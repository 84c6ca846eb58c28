"""A narrow gate before sign-in, so that a crowd there holds up nobody else.

Checking a password costs more than anything else that is asked here, and a crowd (the start of a day, an attack) comes all
at once. Whoever waits at the gate costs next to nothing; behind it are only as many as can be looked after at a time.
"""

import asyncio
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope, Receive, Scope, Send, WebSocketReceiveMessage

CROWDED: Final = frozenset({"/api/v1/auth/login", "/api/v1/auth/register", "/login", "/register"})
LONGEST: Final = 64 * 1024  # bytes of a form with an email and a password, and far more than that
AT_A_TIME: Final = 8  # more than there are threads for passwords, so that none of these is ever idle


class SignInConcurrencyLimit:
    """Stands before everything that costs time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._places = asyncio.Semaphore(AT_A_TIME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"] in CROWDED and _may_pass(scope):
            await self._one_of_many(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _one_of_many(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whoever sends slowly, or without end, does so before the gate and takes nobody's place."""
        come, size, more = [], 0, True
        while more and size <= LONGEST:
            come.append(message := await receive())
            more = message["type"] == "http.request" and message["more_body"]
            size += len(message["body"]) if message["type"] == "http.request" else 0

        async def again() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            return come.pop(0) if come else await receive()

        if size > LONGEST:  # refused as too large, which is soon done
            await self._app(scope, again, send)
            return
        async with self._places:
            await self._app(scope, again, send)


def _may_pass(scope: HTTPScope) -> bool:
    """Whether this is a sign-in at all; what says that it is too large is refused without being read."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return scope["method"] == "POST" and not (length.isdigit() and int(length) > LONGEST)
