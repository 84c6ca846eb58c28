"""What every answer carries, whatever made it: the request id, the security headers, and its line in the log.

One ASGI wrapper around the whole program, because Litestar answers unknown routes before its own middleware.
"""

import re
from typing import Final, cast

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from app.base import logging
from app.base.metrics import Metrics
from app.base.secret import uuid7
from app.web.http_metrics import HttpMetrics, RequestMetrics, path_of

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
}
# What is not said otherwise is somebody's own: no cache, shared or private, may keep it.
DEFAULTS: Final = {"cache-control": "no-store"}
ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
logger = logging.get("http")


def request_id(scope: Scope) -> str:
    """The id under which this request stands in the log."""
    return str(scope.get("atelier_request_id", ""))


def skip_access_log(scope: Scope) -> None:
    """Nobody wants to read in the log that this request was answered."""
    scope["atelier_quiet"] = True  # type: ignore[typeddict-unknown-key]


def seconds_since(scope: Scope) -> float:
    """How long this request has been here."""
    passage: RequestMetrics = scope["atelier_passage"]  # type: ignore[typeddict-item]
    return passage.seconds


# These routes answer HEAD themselves, without reading a file for nothing; for all others it is GET without the body,
# which the server leaves out.
HEADED: Final = ("/media/", "/static/")


# A cookie of this name browsers take over https only, and send to nobody but the host that set it (RFC 6265bis).
HOST: Final = b"__Host-"


class Headers:
    """The wrapper. `https` adds Strict-Transport-Security and gives every cookie the prefix `__Host-`, which the program
    behind it knows nothing of: there is no cookie of ours that somebody else could have set."""

    def __init__(self, app: ASGIApp, *, https: bool, metrics: Metrics | None = None) -> None:
        self._app = app
        self._https = https
        self._traffic = HttpMetrics(metrics or Metrics())
        fixed = dict(HEADERS)
        if https:
            fixed["strict-transport-security"] = "max-age=31536000; includeSubDomains"
        self._fixed = [(name.encode(), value.encode()) for name, value in fixed.items()]
        self._defaults = [(name.encode(), value.encode()) for name, value in DEFAULTS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        identity = _asked_id(scope) or uuid7()
        scope["atelier_request_id"] = identity  # type: ignore[typeddict-unknown-key]
        structlog.contextvars.bind_contextvars(request=identity)
        passage = RequestMetrics(self._traffic)
        scope["atelier_passage"] = passage  # type: ignore[typeddict-unknown-key]

        async def send_with_headers(message: Message) -> None:
            passage.answer(message)
            if message["type"] == "http.response.start":
                message["headers"] = self._complete(list(message["headers"]), identity)
            await send(message)

        asked = scope
        if scope["method"] == "HEAD" and not scope["path"].startswith(HEADED):
            asked = cast(HTTPScope, {**scope, "method": "GET"})
        if self._https:
            asked["headers"] = [_read(name, value) for name, value in scope["headers"]]
        try:
            await self._app(asked, receive, send_with_headers)
        finally:
            passage.end(asked, scope["method"])
            if "atelier_quiet" not in asked and not scope["path"].startswith("/static/"):
                logger.info(
                    "request",
                    method=scope["method"],
                    path=path_of(asked),
                    status=passage.status,
                    ms=round(passage.seconds * 1000, 1),
                )
            structlog.contextvars.unbind_contextvars("request")

    def _complete(self, headers: list[tuple[bytes, bytes]], identity: str) -> list[tuple[bytes, bytes]]:
        given = {name.lower() for name, _ in headers}
        if self._https:
            headers = [_set(name, value) for name, value in headers]
        headers += [(b"x-request-id", identity.encode())]
        headers += [pair for pair in self._fixed if pair[0] not in given]
        headers += [pair for pair in self._defaults if pair[0] not in given]
        return headers


def _set(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A cookie of ours as it goes out over https; all of them have `Path=/` and no domain, as the prefix asks."""
    return (name, HOST + value + b"; Secure") if name.lower() == b"set-cookie" else (name, value)


def _read(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Cookies as they come in over https: ours without the prefix, and no others."""
    if name != b"cookie":
        return name, value
    cookies = [cookie.strip() for cookie in value.split(b";")]
    return name, b"; ".join(cookie.removeprefix(HOST) for cookie in cookies if cookie.startswith(HOST))


def _asked_id(scope: HTTPScope) -> str | None:
    """An id that the caller chose, so that it can find its request in our log; anything odd is ignored."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if ID.fullmatch(text) else None
    return None
