"""API keys: credentials of programs, which can have an expiry, a monthly spending limit and a list of allowed models."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from app.accounts import repository, validation
from app.accounts.credential_cache import CredentialCache
from app.accounts.schemas import ApiKey, KeyLimits, NewApiKey
from app.accounts.users import existing_user
from app.base.errors import Missing
from app.base.hashing import new_token, sha256_hex
from app.base.ids import uuid7
from app.base.paging import Page
from app.db.database import Database
from app.db.transaction import Transaction

KEY_PREFIX: Final = "atl_"
KEY_PREFIX_LENGTH: Final = 12  # characters of a key that are stored and shown

# What these keys of a user have spent in the month of the given time, in nano-dollars. A callback, because the ledger
# depends on accounts.
Spending = Callable[[Transaction, str, Sequence[str], datetime], Mapping[str, int]]


class ApiKeys:
    def __init__(
        self, database: Database, cache: CredentialCache, spending: Spending, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._cache = cache
        self._spending = spending
        self._clock = clock

    async def newest(self, owner: str, *, after: str | None = None, limit: int = 24) -> Page[ApiKey]:
        """Newest first, each with its spending this month."""
        now = self._clock()

        def find(tx: Transaction) -> Page[ApiKey]:
            found = repository.keys(tx, owner, after, limit + 1)
            spent = self._spending(tx, owner, [key.id for key in found], now)
            keys = [msgspec.structs.replace(key, spent_nano=spent.get(key.id, 0)) for key in found]
            return Page.of(keys, repository.count_keys(tx, owner), limit)

        return await self._database.read(find)

    async def add(
        self,
        owner: str,
        name: str,
        expires_at: datetime | None = None,
        *,
        monthly_cap: str | None = None,
        models: Sequence[str] | None = None,
    ) -> NewApiKey:
        """Create a key; its secret is available only in the result. `expires_at` is a naive UTC time, `monthly_cap` is in
        USD, `models` are the ids of the allowed models; None means no limit."""
        now = self._clock()
        name = validation.name(name)
        if not name:
            raise validation.wrong("name", "is required")
        if expires_at is not None and expires_at <= now:
            raise validation.wrong("expires_at", "must be in the future")
        secret = new_token(KEY_PREFIX)
        key = ApiKey(
            id=uuid7(),
            user_id=owner,
            name=name,
            prefix=secret[:KEY_PREFIX_LENGTH],
            created_at=now,
            expires_at=expires_at,
            monthly_cap_nano=None if monthly_cap is None else validation.cap(monthly_cap),
            allowed_models=None if models is None else validation.models(models),
        )
        await self._database.write(_add, key, sha256_hex(secret))
        return NewApiKey(key, secret)

    def limits(self, tx: Transaction, owner: str, key_id: str) -> KeyLimits | None:
        """None when the key has been removed."""
        return repository.key_limits(tx, owner, key_id)

    async def remove(self, owner: str, key_id: str) -> None:
        if not await self._database.write(self._remove, owner, key_id):
            raise Missing("API key not found.")

    def _remove(self, tx: Transaction, owner: str, key_id: str) -> bool:
        tx.on_commit(self._cache.invalidate, owner)
        return repository.remove_key(tx, owner, key_id)


def _add(tx: Transaction, key: ApiKey, key_hash: str) -> None:
    existing_user(tx, key.user_id)  # the user may have been deleted meanwhile
    repository.add_key(tx, key, key_hash)
