"""A sliding-window rate limit per key, counted in memory, so a restart resets it."""

import math
from collections import deque
from collections.abc import Callable

from cachetools import TTLCache

from app.base import clock
from app.base.errors import Exhausted


class RateLimit:
    """At most `count` calls within any `seconds`; `timer` returns monotonic seconds. Use in the event loop only."""

    def __init__(self, count: int, seconds: float, *, timer: Callable[[], float] = clock.steady) -> None:
        self._count = count
        self._seconds = seconds
        self._timer = timer
        self._calls: TTLCache[tuple[str, ...], deque[float]] = TTLCache(math.inf, seconds, timer)

    def __len__(self) -> int:
        """The number of keys in memory: those with a call within the last `seconds`."""
        return len(self._calls)

    def take(self, *key: str) -> None:
        """Count one call; raises Exhausted, without counting it, when the limit is reached."""
        now = self._timer()
        calls = self._calls.get(key) or deque[float]()
        while calls and calls[0] <= now - self._seconds:
            calls.popleft()
        if len(calls) >= self._count:
            wait = max(1, math.ceil(calls[0] + self._seconds - now))
            raise Exhausted(f"Too many attempts. Try again in {wait} seconds.", retry_after=wait)
        calls.append(now)
        self._calls[key] = calls
