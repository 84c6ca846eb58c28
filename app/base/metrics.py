"""What the program counts about itself, for Prometheus. One registry for each program, so that two can run in one process.

Whoever has something to count names it here once, in the words of the place where it happens. Labels take few values,
all known beforehand: route templates, providers, states. Never a path, an id, an address, or anything of a person.
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

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # which the web adds to every text
Values = Mapping[str, float]
T = TypeVar("T")

disable_created_metrics()  # type: ignore[no-untyped-call]  # when each series began: a line more for every series, which nobody reads


class Metrics:
    """Counters, durations and readings, all under names that begin with `atelier_`; beside them the process's own figures
    (memory, processor time, open files) under Prometheus's usual names. Whoever asks for a name once more gets the same."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counted: dict[str, Any] = {}
        self._readings: dict[str, _Reading] = {}
        ProcessCollector(registry=self._registry)

    def counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        return self._once(Counter, name, meaning, labels)

    def gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        """Something that goes up and down, set where it happens."""
        return self._once(Gauge, name, meaning, labels)

    def histogram(self, name: str, meaning: str, labels: Sequence[str] = (), *, up_to: Sequence[float]) -> Histogram:
        """`up_to` are the upper bounds of the buckets, in seconds."""
        return self._once(Histogram, name, meaning, labels, buckets=up_to)

    def gauge_callback(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Something that is looked up when somebody asks; `read` is called in the event loop."""
        self._read(name, meaning, None, lambda: {"": read()})

    def gauge_callbacks(self, name: str, meaning: str, label: str, read: Callable[[], Values]) -> None:
        """The same with one label, by its values."""
        self._read(name, meaning, label, read)

    async def text(self) -> bytes:
        """Everything as it stands, in Prometheus's text format (`MEDIA_TYPE`). Some thousand lines: written in a thread."""
        for reading in self._readings.values():
            reading.take()
        return await asyncio.to_thread(generate_latest, self._registry)

    def _once(self, shape: type[T], name: str, meaning: str, labels: Sequence[str], **more: Any) -> T:
        if name not in self._counted:
            made: Any = shape
            self._counted[name] = made(f"atelier_{name}", meaning, labels, registry=self._registry, **more)
        found: T = self._counted[name]
        return found

    def _read(self, name: str, meaning: str, label: str | None, read: Callable[[], Values]) -> None:
        if name in self._readings:
            self._registry.unregister(self._readings[name])
        self._readings[name] = _Reading(f"atelier_{name}", meaning, label, read)
        self._registry.register(self._readings[name])


class _Reading(Collector):
    """A gauge that keeps what was last read."""

    def __init__(self, name: str, meaning: str, label: str | None, read: Callable[[], Values]) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = [label] if label else []
        self._read = read
        self._taken: Values = {}

    def take(self) -> None:
        self._taken = self._read()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._meaning, labels=self._labels)
        for value, figure in self._taken.items():
            family.add_metric([value] if self._labels else [], figure)
        yield family
