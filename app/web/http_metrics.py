"""Request metrics: duration by route, requests in progress and open streams."""

from time import perf_counter
from typing import Final

from litestar.types import HTTPScope, Message

from app.base.metrics import Metrics

BUCKETS: Final = (0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0)
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NO_ROUTE: Final = "none"  # the label for unknown routes and methods
EVENT_STREAM: Final = b"text/event-stream"


class HttpMetrics:
    """The metrics of all requests."""

    def __init__(self, metrics: Metrics) -> None:
        self.seconds = metrics.histogram(
            "http_request_duration_seconds",
            "Time to the end of the response; for a stream, time to its first byte.",
            ("method", "route", "status"),
            up_to=BUCKETS,
        )
        self.in_progress = metrics.gauge("http_requests_in_progress", "Requests whose response has not ended.")
        self.streams = metrics.gauge("open_streams", "Open event streams.")


class RequestMetrics:
    """One request, from its arrival to the end of its response."""

    def __init__(self, metrics: HttpMetrics) -> None:
        self._metrics = metrics
        self._started = perf_counter()
        self._stream_started: float | None = None  # seconds until the first byte of a stream
        self.status = 0  # 0 until the response starts
        metrics.in_progress.inc()

    @property
    def seconds(self) -> float:
        return perf_counter() - self._started

    def answer(self, message: Message) -> None:
        """Called with every ASGI message that is sent; records the start of the response."""
        if message["type"] != "http.response.start":
            return
        self.status = message["status"]
        if dict(message["headers"]).get(b"content-type", b"").startswith(EVENT_STREAM):
            self._stream_started = self.seconds
            self._metrics.streams.inc()

    def end(self, scope: HTTPScope) -> None:
        """Record the request. Labels take only known values: arbitrary paths or methods would create unbounded series."""
        route = scope.get("path_template") or NO_ROUTE
        method = scope["method"] if scope["method"] in METHODS else NO_ROUTE
        seconds = self.seconds if self._stream_started is None else self._stream_started
        self._metrics.seconds.labels(method, route, str(self.status)).observe(seconds)
        self._metrics.in_progress.dec()
        if self._stream_started is not None:
            self._metrics.streams.dec()
