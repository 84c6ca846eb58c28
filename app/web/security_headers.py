"""Adds the security headers to every response, also to those that no route wrote."""

from typing import Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Unless a route says otherwise, a response is private to the user and must not be cached.
    "cache-control": "no-store",
}
HTTPS_ONLY: Final = {"strict-transport-security": "max-age=31536000; includeSubDomains"}


class SecurityHeaders:
    """The ASGI wrapper. A header that the response already has is kept. With `https`, browsers are made to stay on HTTPS."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        headers = HEADERS | (HTTPS_ONLY if https else {})
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                present = {name.lower() for name, _ in headers}
                message["headers"] = headers + [pair for pair in self._headers if pair[0] not in present]
            await send(message)

        await self._app(scope, receive, send_with_headers)
