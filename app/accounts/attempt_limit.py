"""Limits how often the password of an account can be tried, so that guessing it takes too long."""

from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

from app.base.rate_limit import RateLimit

ATTEMPTS: Final = (10, 60)  # per account, seconds
KNOWN_ADDRESSES: Final = 20_000


class AttemptLimit:
    """Counts in memory, so a restart resets it. `timer` returns monotonic seconds."""

    def __init__(self, *, enabled: bool, timer: Callable[[], float]) -> None:
        self._enabled = enabled
        self._attempts = RateLimit(*ATTEMPTS, timer=timer)
        # Recent (email, IP address) pairs of successful sign-ins.
        self._known: LRUCache[tuple[str, str], None] = LRUCache(KNOWN_ADDRESSES)

    def count(self, email: str, address: str = "") -> None:
        """Count an attempt; Exhausted if there were too many. Addresses from which the user has signed in before are counted
        separately, so that an attacker elsewhere cannot lock the user out."""
        if self._enabled:
            self._attempts.take(email, *([address] if (email, address) in self._known else []))

    def remember(self, email: str, address: str) -> None:
        """The user has signed in from this address."""
        self._known[email, address] = None
