"""At most so many in so long, for each key by itself; counted in memory, so a restart forgets."""

import math
from collections import OrderedDict, deque
from collections.abc import Callable

from app.base import clock
from app.base.errors import Exhausted


class RateLimit:
    """`count` in any `seconds`, as `timer` shows them. Used in the event loop only."""

    def __init__(self, count: int, seconds: float, *, timer: Callable[[], float] = clock.steady) -> None:
        self._count = count
        self._seconds = seconds
        self._timer = timer
        self._taken: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()  # the key used last is the last one

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._taken)

    def take(self, *key: str) -> None:
        """Count one; Exhausted, without counting it, when there is none left for now."""
        now = self._timer()
        self._forget(now - self._seconds)
        taken = self._taken.setdefault(key, deque())
        while taken and taken[0] <= now - self._seconds:
            taken.popleft()
        if len(taken) >= self._count:
            wait = max(1, math.ceil(taken[0] + self._seconds - now))
            raise Exhausted(f"Too many tries. Wait {wait} seconds.", retry_after=wait)
        taken.append(now)
        self._taken.move_to_end(key)

    def _forget(self, before: float) -> None:
        """Drop the keys that were last counted at that time or before, so that memory is bounded by what was asked lately."""
        while self._taken and next(iter(self._taken.values()))[-1] <= before:
            self._taken.popitem(last=False)
