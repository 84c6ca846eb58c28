"""A sliding-window rate limit per key, counted in memory, so a restart resets it."""

import math
from collections import OrderedDict, deque
from collections.abc import Callable

from app.base import clock
from app.base.errors import Exhausted


class RateLimit:
    """At most `count` calls within any `seconds`; `timer` returns monotonic seconds. Use in the event loop only."""

    def __init__(self, count: int, seconds: float, *, timer: Callable[[], float] = clock.steady) -> None:
        self._count = count
        self._seconds = seconds
        self._timer = timer
        self._calls: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()  # least recently used key first

    def __len__(self) -> int:
        """The number of keys in memory."""
        return len(self._calls)

    def take(self, *key: str) -> None:
        """Count one call; raises Exhausted, without counting it, when the limit is reached."""
        now = self._timer()
        self._remove_expired(now - self._seconds)
        calls = self._calls.setdefault(key, deque())
        while calls and calls[0] <= now - self._seconds:
            calls.popleft()
        if len(calls) >= self._count:
            wait = max(1, math.ceil(calls[0] + self._seconds - now))
            raise Exhausted(f"Too many attempts. Try again in {wait} seconds.", retry_after=wait)
        calls.append(now)
        self._calls.move_to_end(key)

    def _remove_expired(self, before: float) -> None:
        """Remove keys whose last call was at that time or before, so that memory use is bounded by recent calls."""
        while self._calls and next(iter(self._calls.values()))[-1] <= before:
            self._calls.popitem(last=False)
