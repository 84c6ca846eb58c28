"""When a queued job will be started, estimated from how long jobs of its model took."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

STEP: Final = timedelta(seconds=10)  # an estimate that slips does not change all the time


def starts_at(
    now: datetime, ends: Iterable[datetime], slots: int, ahead: int, seconds: float | None
) -> datetime | None:
    """When the job gets one of so many slots: those in use are free at `ends`, `ahead` other jobs get one before it, and each of them
    keeps it for so many seconds. `now` if there is a free slot for it; None if `seconds` is unknown and needed."""
    free = sorted(max(end, now) for end in ends)[:slots]
    free = [now] * (slots - len(free)) + free
    if ahead < slots and free[ahead] == now:
        return now
    if seconds is None:
        return None
    start = free[ahead % slots] + timedelta(seconds=seconds) * (ahead // slots)
    return start + -(start - datetime.min) % STEP
