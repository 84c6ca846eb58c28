"""Gives every request an id: in the response, on error pages and in every line that is logged while it runs."""

import re
from typing import Final

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from app.base.ids import uuid7

HEADER: Final = b"x-request-id"
_FORMAT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SCOPE_KEY: Final = "atelier_request_id"


def request_id(scope: Scope) -> str:
    """The id of this request in the log."""
    return str(scope.get(_SCOPE_KEY, ""))


class RequestId:
    """The ASGI wrapper."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        id = _sent_id(scope) or uuid7()
        scope[_SCOPE_KEY] = id  # type: ignore[typeddict-unknown-key]

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (HEADER, id.encode())]
            await send(message)

        structlog.contextvars.bind_contextvars(request=id)
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            structlog.contextvars.unbind_contextvars("request")


def _sent_id(scope: HTTPScope) -> str | None:
    """The id that the caller sent, so that it can find its request in the log; ignored when malformed."""
    for name, value in scope["headers"]:
        if name == HEADER:
            text = value.decode("latin-1")
            return text if _FORMAT.fullmatch(text) else None
    return None
