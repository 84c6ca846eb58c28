"""The audit log. An entry is written in the transaction of the change itself and never modified."""

from typing import Any

from app.audit import repository
from app.audit.schemas import Action, Actor, Entry
from app.base import clock
from app.base.ids import uuid7
from app.base.paging import Page
from app.db.database import Database
from app.db.transaction import Transaction


class Audit:
    """Records and lists the actions of admins."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, tx: Transaction, actor: Actor, action: Action, subject: str | None = None, **detail: Any) -> None:
        """Add an entry inside the transaction of the change: both are stored, or neither."""
        entry = Entry(
            id=uuid7(),
            happened_at=clock.now(),
            actor_id=actor.id,
            actor_email=actor.email,
            action=action,
            subject=subject,
            detail=detail,
        )
        repository.add_any(tx, entry)

    async def newest(self, *, before: str | None = None, limit: int = 24) -> Page[Entry]:
        return await self._database.read(_newest, before, limit)


def _newest(tx: Transaction, before: str | None, limit: int) -> Page[Entry]:
    found = repository.newest_any(tx, before, limit + 1)
    return Page.of(found, repository.count_any(tx), limit)
