"""Gives every cookie the prefix `__Host-`. Browsers accept such cookies over HTTPS only and send them only to the host that
set them (RFC 6265bis), so that no other host, such as another subdomain, can set one."""

from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

PREFIX: Final = b"__Host-"


class HostCookies:
    """The ASGI wrapper, for sites with HTTPS. The application behind it sees cookie names without the prefix."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_prefixed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [_add_prefix(name, value) for name, value in message["headers"]]
            await send(message)

        if scope["type"] == ScopeType.HTTP:
            scope["headers"] = [_strip_prefix(name, value) for name, value in scope["headers"]]
        await self._app(scope, receive, send_prefixed)


def _add_prefix(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """An outgoing cookie. All of ours have `Path=/` and no domain, as the prefix requires."""
    return (name, PREFIX + value + b"; Secure") if name.lower() == b"set-cookie" else (name, value)


def _strip_prefix(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Incoming cookies: those with the prefix, without it; others are dropped."""
    if name != b"cookie":
        return name, value
    cookies = [cookie.strip() for cookie in value.split(b";")]
    return name, b"; ".join(cookie.removeprefix(PREFIX) for cookie in cookies if cookie.startswith(PREFIX))
