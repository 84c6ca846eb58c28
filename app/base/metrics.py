"""Prometheus metrics. One registry per application, so that two can run in one process.

Each module registers its own metrics here. Labels have few values, all known in advance: route templates, providers, states.
Never a path, an id, an address or personal data.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # which Litestar adds to every text response
Values = Mapping[str, float]
T = TypeVar("T")

disable_created_metrics()  # type: ignore[no-untyped-call]  # `_created` series double the output and are not used


class Metrics:
    """Counters, gauges and histograms, with names that begin with `atelier_`, and Prometheus's standard process metrics
    (memory, CPU time, open files). Registering a name again returns the same metric."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._registered: dict[str, Any] = {}
        self._callbacks: dict[str, _CallbackGauge] = {}
        ProcessCollector(registry=self._registry)

    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Counter:
        return self._register(Counter, name, description, labels)

    def gauge(self, name: str, description: str, labels: Sequence[str] = ()) -> Gauge:
        """A value that goes up and down, set by the module that owns it."""
        return self._register(Gauge, name, description, labels)

    def histogram(
        self, name: str, description: str, labels: Sequence[str] = (), *, up_to: Sequence[float]
    ) -> Histogram:
        """`up_to` are the upper bounds of the buckets, in seconds."""
        return self._register(Histogram, name, description, labels, buckets=up_to)

    def gauge_callback(self, name: str, description: str, read: Callable[[], float]) -> None:
        """A value that is computed when the metrics are read; `read` is called in the event loop."""
        self._register_callback(name, description, None, lambda: {"": read()})

    def gauge_callbacks(self, name: str, description: str, label: str, read: Callable[[], Values]) -> None:
        """Like `gauge_callback`, with one label; `read` returns a value for each label value."""
        self._register_callback(name, description, label, read)

    async def text(self) -> bytes:
        """All metrics in Prometheus's text format (`MEDIA_TYPE`). Some thousand lines, so formatted in a thread."""
        for callback in self._callbacks.values():
            callback.update()
        return await asyncio.to_thread(generate_latest, self._registry)

    def _register(self, kind: type[T], name: str, description: str, labels: Sequence[str], **options: Any) -> T:
        if name not in self._registered:
            create: Any = kind
            self._registered[name] = create(f"atelier_{name}", description, labels, registry=self._registry, **options)
        found: T = self._registered[name]
        return found

    def _register_callback(self, name: str, description: str, label: str | None, read: Callable[[], Values]) -> None:
        if name in self._callbacks:
            self._registry.unregister(self._callbacks[name])
        self._callbacks[name] = _CallbackGauge(f"atelier_{name}", description, label, read)
        self._registry.register(self._callbacks[name])


class _CallbackGauge(Collector):
    """A gauge that returns the values of its last update."""

    def __init__(self, name: str, description: str, label: str | None, read: Callable[[], Values]) -> None:
        self._name = name
        self._description = description
        self._labels = [label] if label else []
        self._read = read
        self._values: Values = {}

    def update(self) -> None:
        self._values = self._read()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._description, labels=self._labels)
        for label, number in self._values.items():
            family.add_metric([label] if self._labels else [], number)
        yield family
