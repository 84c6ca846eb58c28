"""The rules of the ledger: a hold when work is accepted, a settlement when it ends, corrections for what is known late.

All verbs that write join the transaction of the work itself, so money and work can never disagree.
"""

from collections.abc import Sequence

from app.base import clock
from app.base.database import Database, Row, Transaction
from app.base.secret import new_id
from app.quota import repository
from app.quota.schemas import Month, Subject


class Quota:
    """The ledger, in whole nano-dollars."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, tx: Transaction, owner: str, kind: Subject, subject: str, nano: int = 0) -> None:
        """Promise what the work is expected to cost."""
        repository.add(tx, owner, new_id(), kind, subject, "hold", nano, None, clock.now())

    def settle(self, tx: Transaction, owner: str, subject: str, nano: int | None) -> None:
        """The work has ended and cost this much; None when nobody said."""
        repository.settle(tx, owner, new_id(), subject, nano, clock.now())

    def correct(self, tx: Transaction, owner: str, kind: Subject, subject: str, nano: int) -> None:
        """A cost that became known after the end."""
        repository.add(tx, owner, new_id(), kind, subject, "correction", 0, nano, clock.now())

    async def months(self, owner: str) -> Sequence[Month]:
        """What the person spent, the newest month first."""
        rows = await self._database.read(repository.months, owner)
        return [
            Month(
                f"{row['month'] // 100}-{row['month'] % 100:02}", row["spent"], row["subjects"], max(0, row["unknown"])
            )
            for row in rows
        ]

    async def spent_any(self) -> int | None:
        """What everybody has spent as far as it is known; None while nothing is."""
        spent: int | None = (await self._database.read(repository.totals_any))["spent"]
        return spent

    def sums_any(self, tx: Transaction) -> list[Row]:
        """For `doctor`: the entries of every subject, added up."""
        return repository.sums_any(tx)
