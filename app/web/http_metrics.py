"""How long answers take, by route, and how many are being sent piece by piece at this moment."""

from time import perf_counter
from typing import Final

from litestar.types import Message, Scope

from app.base.metrics import Metrics

BUCKETS: Final = (0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0)
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NOWHERE: Final = "none"  # the route of what leads to none
EVENTS: Final = b"text/event-stream"


class HttpMetrics:
    """All requests of one program."""

    def __init__(self, metrics: Metrics) -> None:
        self.seconds = metrics.histogram(
            "http_request_duration_seconds",
            "From a request to the end of its answer; of one that is sent piece by piece to its beginning.",
            ("method", "route", "status"),
            up_to=BUCKETS,
        )
        self.under_way = metrics.gauge("http_requests_in_progress", "Requests whose answer has not ended.")
        self.streams = metrics.gauge("open_streams", "Answers that are being sent piece by piece.")


class RequestMetrics:
    """One request, from its arrival to the end of its answer."""

    def __init__(self, traffic: HttpMetrics) -> None:
        self._traffic = traffic
        self._began = perf_counter()
        self._answered: float | None = None  # seconds until the first piece, of an answer that comes in pieces
        self.status = 0  # none was sent
        traffic.under_way.inc()

    @property
    def seconds(self) -> float:
        return perf_counter() - self._began

    def answer(self, message: Message) -> None:
        """Its answer begins with this `http.response.start`."""
        if message["type"] != "http.response.start":
            return
        self.status = message["status"]
        if any(name.lower() == b"content-type" and value.startswith(EVENTS) for name, value in message["headers"]):
            self._answered = self.seconds
            self._traffic.streams.inc()

    def end(self, scope: Scope, method: str) -> None:
        """Only what is known beforehand becomes a label: a path, or a method that somebody invented, would fill the
        memory of whoever collects this."""
        route = scope.get("path_template") or NOWHERE
        method = method if method in METHODS else NOWHERE
        seconds = self.seconds if self._answered is None else self._answered
        self._traffic.seconds.labels(method, route, str(self.status)).observe(seconds)
        self._traffic.under_way.dec()
        if self._answered is not None:
            self._traffic.streams.dec()


# Whose paths hold a secret.
SECRETIVE: Final = ("/webhooks/",)


def path_of(scope: Scope) -> str:
    """The path as the log may show it, without the query: where it holds a secret, only which route it is."""
    path = scope["path"]
    return str(scope.get("path_template") or f"{SECRETIVE[0]}…") if path.startswith(SECRETIVE) else path
