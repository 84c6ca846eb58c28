"""How long the latest jobs of each model took and what they cost, from which the next one is estimated."""

import statistics
from collections.abc import Sequence
from time import monotonic
from typing import Final

MIN_SAMPLES: Final = 3  # completed jobs needed for an estimate
HISTORY_TTL: Final = 60.0  # seconds before durations are read again


class ModelHistory:
    """Durations and costs by model, in memory; its users fill it from the database."""

    def __init__(self) -> None:
        self._durations: dict[str, tuple[float, float | None, float | None]] = {}  # read at, median, 90th percentile
        self._costs: dict[str, int] = {}
        self._queued_upstream: set[str] = set()

    def knows(self, model: str) -> bool:
        found = self._durations.get(model)
        return found is not None and monotonic() - found[0] < HISTORY_TTL

    def learn_durations(self, model: str, seconds: Sequence[float]) -> None:
        durations = sorted(seconds)
        median = statistics.median(durations) if len(durations) >= MIN_SAMPLES else None
        p90 = durations[min(len(durations) - 1, int(len(durations) * 0.9))] if len(durations) >= MIN_SAMPLES else None
        self._durations[model] = (monotonic(), median, p90)

    def learn(self, model: str, cost_nano: int | None) -> None:
        if cost_nano is not None:
            self._costs[model] = cost_nano

    def cost(self, model: str) -> int | None:
        """What the last job of this model cost, in nano-dollars; this amount is held for the next one."""
        return self._costs.get(model)

    def learn_queued_upstream(self, model: str) -> None:
        """The provider has a queue for this model: sending a job does not take as long as carrying it out."""
        self._queued_upstream.add(model)

    def is_queued_upstream(self, model: str) -> bool:
        return model in self._queued_upstream

    def durations(self, model: str) -> tuple[float | None, float | None]:
        """Median and 90th percentile in seconds; None while there are too few jobs."""
        _, median, p90 = self._durations.get(model, (0.0, None, None))
        return median, p90
