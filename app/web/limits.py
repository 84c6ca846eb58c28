"""How often a person, a key or an address may ask, and how much they may send.

A route says what it costs in `opt["limit"]`: `sign-in`, `registration`, `paid`, `callback`, or `none` for what the pages themselves
fetch. Everything else has the common allowance. Trying one account's password again and again is counted by
`accounts`, which knows the account. How large a body may be says the route's `request_max_body_size`: `BODY` by itself,
`FILES` for what takes files.
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
FILES: Final = None  # as many as the settings say, which no module knows: see `Bodies`


class Throttle(ASGIMiddleware):
    """Stands behind whoever finds out who asks. The figures are the contract's, per minute as `timer` shows seconds."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, timer: Callable[[], float] = clock.steady) -> None:
        def limit(count: int) -> RateLimit:
            return RateLimit(count, MINUTE, timer=timer)

        self._sign_in = limit(30)
        self._registration = limit(5)
        self._paid = limit(60)
        self._signed_in = limit(600)
        self._signed_out = limit(120)
        self._callback = limit(600)  # a batch of clips may end in one minute

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        self._count(scope)
        await next_app(scope, receive, send)

    def _count(self, scope: Scope) -> None:
        kind = scope["route_handler"].opt.get("limit", "")
        if kind == "none" or scope["path"].startswith("/static/"):
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
            self._signed_in.take(_asker(scope, user.id))
        else:
            self._signed_out.take(address(scope))


class BodySizeLimit(ASGIMiddleware):
    """Bounds the bodies of the routes that take files: a larger one is refused before it is read when its sender says how
    large it is, else at the first byte too many. Litestar bounds all others. `largest` is in bytes."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, largest: int) -> None:
        self._largest = largest

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        handler, left = scope["route_handler"], self._largest
        if not isinstance(handler, HTTPRouteHandler) or handler.resolve_request_max_body_size() is not FILES:
            await next_app(scope, receive, send)
            return
        if (Request(scope).content_length or 0) > left:
            raise _too_large()

        async def received() -> Any:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
            if left < 0:
                raise _too_large()
            return message

        await next_app(scope, received, send)


def _too_large() -> TooLarge:
    return TooLarge("This is larger than what is taken here.")


def address(scope: Scope) -> str:
    """The caller's address; of IPv6 the network of one customer, who could otherwise take a new address each time."""
    client = scope.get("client")
    host = client[0] if client else "unknown"
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network(f"{host}/64", strict=False)) if found.version == 6 else host


def _asker(scope: Scope, user_id: str) -> str:
    """A key has an allowance of its own, so that one program cannot use up the person's."""
    auth: Any = scope.get("auth")
    return f"{user_id} {auth.id}" if auth is not None and auth.how == "key" else user_id
