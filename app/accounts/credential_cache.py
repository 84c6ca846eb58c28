"""A cache of verified credentials, so that authenticating a request does not need a database query.

It stays coherent because there is only one process, and every change to a user, session or API key goes through a part of
`Accounts`, which removes the user from the cache when the change is committed. `generation` counts removals: a result that
was read from the database before a removal is not stored after it.
"""

from typing import Final

from cachetools import LRUCache

from app.accounts.schemas import Principal

SIZE: Final = 20_000  # credentials; about 1 kB each, including the user


class CredentialCache:
    """The most recently used credentials. Not thread-safe: used on the event loop only."""

    def __init__(self, size: int = SIZE) -> None:
        self._principals: LRUCache[str, Principal] = LRUCache(size)
        self._keys: dict[str, set[str]] = {}  # of each user
        self.generation = 0

    def __len__(self) -> int:
        return len(self._principals)

    def find(self, key: str) -> Principal | None:
        return self._principals.get(key)

    def store(self, key: str, principal: Principal, generation: int) -> None:
        """Store what was read from the database at `generation`, unless something was removed since."""
        if generation != self.generation:
            return
        if len(self._principals) >= self._principals.maxsize:
            self._forget(*self._principals.popitem())
        self._principals[key] = principal
        self._keys.setdefault(principal.user.id, set()).add(key)

    def invalidate(self, user_id: str) -> None:
        """Remove the user and all their credentials."""
        self.generation += 1
        for key in self._keys.pop(user_id, ()):
            del self._principals[key]

    def _forget(self, key: str, principal: Principal) -> None:
        keys = self._keys[principal.user.id]
        keys.remove(key)
        if not keys:
            del self._keys[principal.user.id]
