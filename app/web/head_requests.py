"""Answers HEAD on every route that has GET: the route runs as for GET, and the server drops the body."""

from typing import cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from app.web.paths import rule_for


class HeadAsGet:
    """The ASGI wrapper."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD" or rule_for(scope["path"]).handles_head:
            await self._app(scope, receive, send)
            return
        # A copy, because the server looks at the method in its own scope to know that no body may follow.
        as_get = cast(HTTPScope, {**scope, "method": "GET"})
        try:
            await self._app(as_get, receive, send)
        finally:
            scope.update(
                cast(HTTPScope, {**as_get, "method": "HEAD"})
            )  # the route that was found, for the layers outside
