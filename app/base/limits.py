"""At most so many in so long, counted exactly and in memory; a restart forgets."""

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from app.base.errors import Exhausted

KEYS: Final = 10_000  # whoever invents new keys faster than they expire only makes us forget the oldest


class Limit:
    """`count` in any `seconds`, for each key by itself."""

    def __init__(self, count: int, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._seconds = seconds
        self._clock = clock
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Count one; Exhausted, without counting it, when there is none left for now."""
        now = self._clock()
        taken = self._taken.setdefault(key, deque())
        self._taken.move_to_end(key)
        while taken and taken[0] <= now - self._seconds:
            taken.popleft()
        if len(taken) >= self._count:
            wait = math.ceil(taken[0] + self._seconds - now)
            raise Exhausted(f"Too many tries. Wait {max(1, wait)} seconds.", retry_after=wait)
        taken.append(now)
        if len(self._taken) > KEYS:
            self._taken.popitem(last=False)
