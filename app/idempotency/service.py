"""Finds and records the results of requests that carried an idempotency key.

A request first asks for an earlier result, before it downloads, uploads or checks anything, and its key is recorded in the
transaction that creates its result. Requests that arrive at the same time with one key wait for the first of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

from app.base import clock
from app.base.errors import Conflict
from app.db.database import Database
from app.db.transaction import Row, Transaction
from app.idempotency import repository
from app.idempotency.schemas import IdempotencyKey

KEY_TTL: Final = timedelta(hours=24)


class Idempotency:
    """The idempotency keys of all users."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # By owner and key; a lock exists as long as a request uses it.
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def first_result(self, key: IdempotencyKey | None) -> AsyncIterator[str | None]:
        """Enclose everything that a request does until its result is recorded. Yields the id of the first request's result,
        or None if this is the first request or has no key. Raises Conflict if the first request was different."""
        if key is None:
            yield None
            return
        lock = self._locks.setdefault((key.owner, key.key), asyncio.Lock())
        async with lock:
            found = await self._database.read(repository.find, key.owner, key.key, clock.now() - KEY_TTL)
            yield _result_of(found, key)

    def record(self, tx: Transaction, key: IdempotencyKey, result_id: str, now: datetime) -> str | None:
        """Record the result of a request in the transaction that creates it. None if it was recorded. Otherwise another
        process was faster: returns the id of that result, and nothing must be created; raises Conflict as
        `first_result`."""
        if repository.record(tx, key.owner, key.key, key.request_hash, result_id, now, now - KEY_TTL):
            return None
        return _result_of(repository.find(tx, key.owner, key.key, now - KEY_TTL), key)

    def forget(self, tx: Transaction, result_id: str) -> None:
        """The provider did nothing for this result: the next request with its key is executed."""
        repository.forget_any(tx, result_id)

    async def sweep(self) -> None:
        """Delete expired keys."""
        await self._database.write(repository.delete_expired_any, clock.now() - KEY_TTL)


def _result_of(found: Row | None, key: IdempotencyKey) -> str | None:
    if found is None:
        return None
    if found["request_hash"] != key.request_hash:
        raise Conflict("This Idempotency-Key was used for a different request. Use a new key.")
    result_id: str = found["result_id"]
    return result_id
