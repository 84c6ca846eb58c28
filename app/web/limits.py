"""Rate limits per user, API key and address, and limits on the size of request bodies.

A route names its limit in `opt["limit"]`: `sign-in`, `registration`, `paid`, `callback`, or `none` for what pages poll and
for static files.
All other routes share the general limit. Repeated sign-in attempts on one account are counted in `accounts`. A route's
`request_max_body_size` is `BODY` by default, and `FILES` for uploads.
"""

import ipaddress
from collections.abc import Callable
from typing import Any, Final

from litestar import Request
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.base import clock
from app.base.errors import TooLarge
from app.base.rate_limit import RateLimit

MINUTE: Final = 60
PAID: Final = {"limit": "paid"}
SIGN_IN: Final = {"limit": "sign-in"}
REGISTRATION: Final = {"limit": "registration"}
CALLBACK: Final = {"limit": "callback"}
POLLED: Final = {"limit": "none"}
BODY: Final = 1024 * 1024  # bytes of a request that carries no file
FILES: Final = None  # the limit comes from the settings: see `BodySizeLimit`


class RateLimits:
    """The limits per minute, and what is left of them. `timer` returns seconds."""

    def __init__(self, timer: Callable[[], float] = clock.steady) -> None:
        def limit(count: int) -> RateLimit:
            return RateLimit(count, MINUTE, timer=timer)

        self._sign_in = limit(30)
        self._registration = limit(5)
        self._paid = limit(60)
        self._signed_in = limit(600)
        self._signed_out = limit(120)
        self._callback = limit(600)  # a batch of videos may finish within one minute

    def check(self, scope: Scope) -> None:
        """Count a request. Raises Exhausted."""
        kind = scope["route_handler"].opt.get("limit", "")
        if kind == "none":
            return
        user: Any = scope.get("user")
        posted = scope["method"] == "POST"  # type: ignore[typeddict-item]
        if kind == "sign-in" and posted:
            self._sign_in.take(address(scope))
        elif kind == "registration" and posted:
            self._registration.take(address(scope))
        elif kind == "paid" and posted and user is not None:
            self._paid.take(user.id)
        elif kind == "callback":
            self._callback.take(address(scope))
        elif user is not None:
            self._signed_in.take(_caller(scope, user.id))
        else:
            self._signed_out.take(address(scope))


class Throttle(ASGIMiddleware):
    """Enforces the rate limits, unless they are switched off; runs after authentication."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        limits: RateLimits | None = scope["litestar_app"].state.rate_limits
        if limits is not None:
            limits.check(scope)
        await next_app(scope, receive, send)


class BodySizeLimit(ASGIMiddleware):
    """Limits the bodies of upload routes to the application's `max_body` bytes: a body that is too large is rejected by its
    declared length, or as soon as it exceeds the limit. Litestar limits all other routes."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        handler, remaining = scope["route_handler"], scope["litestar_app"].state.max_body
        if not isinstance(handler, HTTPRouteHandler) or handler.resolve_request_max_body_size() is not FILES:
            await next_app(scope, receive, send)
            return
        if (Request(scope).content_length or 0) > remaining:
            raise _too_large()

        async def limited_receive() -> Any:
            nonlocal remaining
            message = await receive()
            if message["type"] == "http.request":
                remaining -= len(message.get("body", b""))
            if remaining < 0:
                raise _too_large()
            return message

        await next_app(scope, limited_receive, send)


def _too_large() -> TooLarge:
    return TooLarge("The upload is too large.")


def address(scope: Scope) -> str:
    """The caller's IP address; for IPv6 its /64 network, because one client can use any address in it."""
    client = scope.get("client")
    host = client[0] if client else "unknown"
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network(f"{host}/64", strict=False)) if parsed.version == 6 else host


def _caller(scope: Scope, user_id: str) -> str:
    """The user, or the API key: each key has a limit of its own, so that one client cannot use up the user's."""
    auth: Any = scope.get("auth")
    return f"{user_id} {auth.id}" if auth is not None and auth.method == "key" else user_id
