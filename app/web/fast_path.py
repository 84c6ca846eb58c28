"""Answers what every open page polls from memory: before routing, middleware and the access log, which cost many times more
than such an answer."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from app.web.access_log import skip_access_log


class FastResponse(NamedTuple):
    """A response whose content is in memory."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


# Answers a GET request from its scope and the id in its path. None: it takes the normal route.
Responder = Callable[[HTTPScope, str], Awaitable[FastResponse | None]]


class FastPath:
    """The ASGI wrapper. `responders` by path template, such as `/jobs/{id}/card`: the template of the route that gives the same
    response when the responder does not."""

    def __init__(self, app: ASGIApp, responders: Mapping[str, Responder]) -> None:
        self._app = app
        self._responders = [
            (re.compile(re.escape(template).replace(r"\{id\}", "([0-9a-f]{32})")), template, responder)
            for template, responder in responders.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "GET":
            for pattern, template, responder in self._responders:
                found = pattern.fullmatch(scope["path"])
                if found and (response := await responder(scope, found[1])):
                    scope["path_template"] = template  # as the router would set it
                    skip_access_log(scope)
                    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
                    await send({"type": "http.response.body", "body": response.body, "more_body": False})
                    return
        await self._app(scope, receive, send)
