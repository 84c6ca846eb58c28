"""Who has proved themselves lately, so that a request need not ask the database who is asking.

It is coherent because this is the only process and every change to a person, a session or a key passes through
`Accounts`, which has that person forgotten when the change is committed. What was read before somebody was forgotten and
arrives after it is not kept: `epoch` tells.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from app.accounts.schemas import Credential, Principal, User

SIZE: Final = 20_000  # credentials; some 1 kB each with their person


class _Person(msgspec.Struct):
    user: User
    credentials: dict[str, Credential]


class CredentialCache:
    """Bounded; who was seen longest ago is forgotten first. Used in the event loop only."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._people: OrderedDict[str, _Person] = OrderedDict()
        self._owners: dict[str, str] = {}
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._owners)

    def find(self, mark: str) -> Principal | None:
        """Whoever proved themselves with the credential of this mark."""
        owner = self._owners.get(mark)
        if owner is None:
            return None
        self._people.move_to_end(owner)
        person = self._people[owner]
        return Principal(person.user, person.credentials[mark])

    def keep(self, mark: str, known: Principal, epoch: int) -> None:
        """Remember what was read from the database when `epoch` was current."""
        if epoch != self.epoch:
            return
        person = self._people.setdefault(known.user.id, _Person(known.user, {}))
        person.user = known.user
        person.credentials[mark] = known.credential
        self._owners[mark] = known.user.id
        self._people.move_to_end(known.user.id)
        while len(self._owners) > self._size:
            self._drop(next(iter(self._people)))

    def forget(self, user_id: str) -> None:
        """Everything about this person has to be read again."""
        self.epoch += 1
        self._drop(user_id)

    def _drop(self, user_id: str) -> None:
        person = self._people.pop(user_id, None)
        for mark in person.credentials if person else ():
            del self._owners[mark]


class KnownAddresses:
    """Which addresses people have signed in from, rightly and lately. Bounded, and forgotten by a restart."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __contains__(self, home: tuple[str, str]) -> bool:
        return home in self._known

    def add(self, email: str, address: str) -> None:
        self._known[email, address] = None
        self._known.move_to_end((email, address))
        if len(self._known) > self._size:
            self._known.popitem(last=False)
