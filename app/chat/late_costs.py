"""Looks up what an answer has cost when it was cut off before the provider reported it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from app.base import clock
from app.base.errors import Unready
from app.chat import repository
from app.chat.schemas import Message
from app.db.database import Database
from app.db.transaction import Transaction
from app.ledger.schemas import Subject
from app.ledger.service import Ledger
from app.providers.contract import Provider

DELAYS: Final = (1.0, 4.0, 15.0, 60.0, 300.0)  # seconds before each lookup
MAX_AGE: Final = 3600.0  # seconds; older answers are not looked up again at startup


class LateCosts:
    """The lookups that are running, one task for each answer."""

    def __init__(self, database: Database, ledger: Ledger, providers: Mapping[str, Provider]) -> None:
        self._database = database
        self._ledger = ledger
        self._providers = providers
        self._lookups: set[asyncio.Task[None]] = set()
        self._closed = False

    def schedule(self, message: Message, generation_id: str) -> None:
        """Look up the cost of an answer by the id that its provider gave it."""
        provider = self._providers.get(message.provider or "")
        if provider is not None and not self._closed:
            lookup = asyncio.create_task(self._fetch(provider, message, generation_id), name=f"cost {message.id}")
            self._lookups.add(lookup)
            lookup.add_done_callback(self._lookups.discard)

    async def resume(self) -> None:
        """At startup: continue the lookups that a stop or crash interrupted."""
        since = clock.after(-MAX_AGE)
        for message, generation_id in await self._database.read(repository.without_cost_any, since):
            self.schedule(message, generation_id)

    def close(self) -> None:
        """Cancel all lookups; the next startup continues them."""
        self._closed = True
        for lookup in self._lookups:
            lookup.cancel()

    async def _fetch(self, provider: Provider, message: Message, generation_id: str) -> None:
        for wait in DELAYS:
            await asyncio.sleep(wait)
            cost = await provider.cost_nano(generation_id)
            if cost is not None:
                with suppress(Unready):  # the next startup tries again
                    await self._database.write(self._save, message, cost)
                return

    def _save(self, tx: Transaction, answer: Message, cost_nano: int) -> None:
        """The ledger and the answer's row always agree on the cost."""
        if repository.set_cost(tx, answer.owner_id, answer.id, cost_nano):
            self._ledger.correct(tx, answer.owner_id, Subject.ANSWER, answer.id, cost_nano)
