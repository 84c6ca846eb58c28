"""Adds the request id and the security headers to every response, and writes the access log.

An ASGI wrapper around the whole application, because Litestar answers unknown routes before its own middleware.
"""

import re
from typing import Final, cast

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from app.base import logging
from app.base.ids import uuid7
from app.base.metrics import Metrics
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
# Unless a route says otherwise, a response is private to the user and must not be cached.
DEFAULTS: Final = {"cache-control": "no-store"}
ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
logger = logging.get("http")


def request_id(scope: Scope) -> str:
    """The id of this request in the log."""
    return str(scope.get("atelier_request_id", ""))


def skip_access_log(scope: Scope) -> None:
    """Leave this request out of the access log."""
    scope["atelier_quiet"] = True  # type: ignore[typeddict-unknown-key]


def seconds_since(scope: Scope) -> float:
    """Seconds since the request arrived."""
    metrics: RequestMetrics = scope["atelier_metrics"]  # type: ignore[typeddict-item]
    return metrics.seconds


# These routes handle HEAD themselves, so that no file is read for it. All others run GET, and the server drops the body.
HANDLES_HEAD: Final = ("/media/", "/static/")


# Browsers accept cookies with this prefix over HTTPS only and send them only to the host that set them (RFC 6265bis).
HOST_PREFIX: Final = b"__Host-"


class Headers:
    """The ASGI wrapper. `https` adds Strict-Transport-Security and the prefix `__Host-` to every cookie, so that no other
    host can set one. The application behind it sees cookie names without the prefix."""

    def __init__(self, app: ASGIApp, *, https: bool, metrics: Metrics | None = None) -> None:
        self._app = app
        self._https = https
        self._http_metrics = HttpMetrics(metrics or Metrics())
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
        id = _requested_id(scope) or uuid7()
        scope["atelier_request_id"] = id  # type: ignore[typeddict-unknown-key]
        structlog.contextvars.bind_contextvars(request=id)
        request_metrics = RequestMetrics(self._http_metrics)
        scope["atelier_metrics"] = request_metrics  # type: ignore[typeddict-unknown-key]

        async def send_with_headers(message: Message) -> None:
            request_metrics.answer(message)
            if message["type"] == "http.response.start":
                message["headers"] = self._complete(list(message["headers"]), id)
            await send(message)

        inner = scope
        if scope["method"] == "HEAD" and not scope["path"].startswith(HANDLES_HEAD):
            inner = cast(HTTPScope, {**scope, "method": "GET"})
        if self._https:
            inner["headers"] = [_strip_prefix(name, value) for name, value in scope["headers"]]
        try:
            await self._app(inner, receive, send_with_headers)
        finally:
            request_metrics.end(inner, scope["method"])
            if "atelier_quiet" not in inner and not scope["path"].startswith("/static/"):
                logger.info(
                    "request",
                    method=scope["method"],
                    path=path_of(inner),
                    status=request_metrics.status,
                    ms=round(request_metrics.seconds * 1000, 1),
                )
            structlog.contextvars.unbind_contextvars("request")

    def _complete(self, headers: list[tuple[bytes, bytes]], id: str) -> list[tuple[bytes, bytes]]:
        present = {name.lower() for name, _ in headers}
        if self._https:
            headers = [_add_prefix(name, value) for name, value in headers]
        headers += [(b"x-request-id", id.encode())]
        headers += [pair for pair in self._fixed if pair[0] not in present]
        headers += [pair for pair in self._defaults if pair[0] not in present]
        return headers


def _add_prefix(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """An outgoing cookie. All of ours have `Path=/` and no domain, as the prefix requires."""
    return (name, HOST_PREFIX + value + b"; Secure") if name.lower() == b"set-cookie" else (name, value)


def _strip_prefix(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Incoming cookies: those with the prefix, without it; others are dropped."""
    if name != b"cookie":
        return name, value
    cookies = [cookie.strip() for cookie in value.split(b";")]
    return name, b"; ".join(cookie.removeprefix(HOST_PREFIX) for cookie in cookies if cookie.startswith(HOST_PREFIX))


def _requested_id(scope: HTTPScope) -> str | None:
    """The id that the caller sent in `X-Request-ID`, so that it can find its request in the log; ignored when malformed."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if ID.fullmatch(text) else None
    return None
