"""A cache of verified credentials, so that authenticating a request does not need a database query.

It stays coherent because there is only one process, and every change to a user, session or API key goes through
`Accounts`, which removes the user from the cache when the change is committed. `generation` counts removals: a result that
was read from the database before a removal is not stored after it.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from app.accounts.schemas import Credential, Principal, User

SIZE: Final = 20_000  # credentials; about 1 kB each, including the user


class _CachedUser(msgspec.Struct):
    user: User
    credentials: dict[str, Credential]


class CredentialCache:
    """An LRU cache by user. Not thread-safe: used on the event loop only."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._users: OrderedDict[str, _CachedUser] = OrderedDict()
        self._owners: dict[str, str] = {}
        self.generation = 0

    def __len__(self) -> int:
        return len(self._owners)

    def find(self, key: str) -> Principal | None:
        owner = self._owners.get(key)
        if owner is None:
            return None
        self._users.move_to_end(owner)
        cached = self._users[owner]
        return Principal(cached.user, cached.credentials[key])

    def store(self, key: str, principal: Principal, generation: int) -> None:
        """Store what was read from the database at `generation`, unless something was removed since."""
        if generation != self.generation:
            return
        user = principal.user
        cached = self._users.setdefault(user.id, _CachedUser(user, {}))
        cached.user = user
        cached.credentials[key] = principal.credential
        self._owners[key] = user.id
        self._users.move_to_end(user.id)
        while len(self._owners) > self._size:
            self._drop(next(iter(self._users)))

    def invalidate(self, user_id: str) -> None:
        """Remove the user and all their credentials."""
        self.generation += 1
        self._drop(user_id)

    def _drop(self, user_id: str) -> None:
        cached = self._users.pop(user_id, None)
        for key in cached.credentials if cached else ():
            del self._owners[key]


class KnownAddresses:
    """Recent (email, IP address) pairs of successful sign-ins. An LRU set, kept in memory only."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __contains__(self, pair: tuple[str, str]) -> bool:
        return pair in self._known

    def add(self, email: str, address: str) -> None:
        self._known[email, address] = None
        self._known.move_to_end((email, address))
        if len(self._known) > self._size:
            self._known.popitem(last=False)
