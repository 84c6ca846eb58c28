"""At most so many in so long, for each key by itself; counted in memory, so a restart forgets."""

import math
import time

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from app.base.errors import Exhausted


class Limit:
    """`count` in any `seconds`."""

    def __init__(self, count: int, seconds: int) -> None:
        self._item = RateLimitItemPerSecond(count, seconds)
        self._windows = MovingWindowRateLimiter(MemoryStorage())

    async def take(self, *key: str) -> None:
        """Count one; Exhausted, without counting it, when there is none left for now."""
        if await self._windows.hit(self._item, *key):
            return
        stats = await self._windows.get_window_stats(self._item, *key)
        wait = max(1, math.ceil(stats.reset_time - time.time()))
        raise Exhausted(f"Too many tries. Wait {wait} seconds.", retry_after=wait)
