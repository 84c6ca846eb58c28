"""Gives every cookie a prefix of this instance, because browsers send a host's cookies to all of its ports: without it, two
instances on one host would sign each other's users out. With HTTPS the prefix begins with `__Host-`: browsers accept such
cookies over HTTPS only and send them only to the host that set them (RFC 6265bis), so that no other host, such as another
subdomain, can set one."""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.base.hashing import derive_key


def cookie_prefix(secret: str, *, https: bool) -> str:
    """What the names of this instance's cookies begin with. It depends only on the secret key, which it does not reveal, and
    so stays the same over restarts."""
    mark = derive_key(secret, "cookie names")[:8]
    return f"__Host-atelier-{mark}-" if https else f"atelier-{mark}-"


class CookieNames:
    """The ASGI wrapper. The application behind it sees cookie names without the prefix, and no other cookies."""

    def __init__(self, app: ASGIApp, prefix: str, *, https: bool) -> None:
        self._app = app
        self._prefix = prefix.encode()
        self._suffix = b"; Secure" if https else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_prefixed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [self._add_prefix(name, value) for name, value in message["headers"]]
            await send(message)

        if scope["type"] == ScopeType.HTTP:
            scope["headers"] = [self._strip_prefix(name, value) for name, value in scope["headers"]]
        await self._app(scope, receive, send_prefixed)

    def _add_prefix(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        """An outgoing cookie. All of ours have `Path=/` and no domain, as `__Host-` requires."""
        return (name, self._prefix + value + self._suffix) if name.lower() == b"set-cookie" else (name, value)

    def _strip_prefix(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        """Incoming cookies: those with the prefix, without it; others are dropped."""
        if name != b"cookie":
            return name, value
        cookies = [cookie.strip() for cookie in value.split(b";")]
        prefix = self._prefix
        return name, b"; ".join(cookie.removeprefix(prefix) for cookie in cookies if cookie.startswith(prefix))
