"""Measures every request and writes one line about it to the log.

An ASGI wrapper around the whole application, because Litestar answers unknown routes before its own middleware.
"""

from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from app.base import logging
from app.base.metrics import Metrics
from app.web.http_metrics import HttpMetrics, RequestMetrics
from app.web.paths import rule_for

_SKIP: Final = "atelier_skip_access_log"
_METRICS: Final = "atelier_metrics"
logger = logging.get("http")


def skip_access_log(scope: Scope) -> None:
    """Leave this request out of the access log."""
    scope[_SKIP] = True  # type: ignore[typeddict-unknown-key]


def seconds_since(scope: Scope) -> float:
    """Seconds since the request arrived."""
    metrics: RequestMetrics = scope[_METRICS]  # type: ignore[typeddict-item]
    return metrics.seconds


def logged_path(scope: Scope) -> str:
    """The path without the query; only the route when the path contains a secret."""
    rule = rule_for(scope["path"])
    return str(scope.get("path_template") or f"{rule.path}/…") if rule.secret else scope["path"]


class AccessLog:
    """The ASGI wrapper."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = HttpMetrics(metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        metrics = RequestMetrics(self._metrics)
        scope[_METRICS] = metrics  # type: ignore[typeddict-unknown-key]

        async def send_observed(message: Message) -> None:
            metrics.answer(message)
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        finally:
            metrics.end(scope)
            if _SKIP not in scope and rule_for(scope["path"]).in_access_log:
                logger.info(
                    "request",
                    method=scope["method"],
                    path=logged_path(scope),
                    status=metrics.status,
                    ms=round(metrics.seconds * 1000, 1),
                )
