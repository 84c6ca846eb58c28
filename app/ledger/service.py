"""The rules of the ledger: a hold when work is accepted, a settlement when it ends, corrections for what is known late.

All verbs that write join the transaction of the work itself, so money and work can never disagree.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.base.crash_points import crash_point
from app.base.errors import Exhausted
from app.base.money import usd
from app.base.secret import uuid7
from app.db.database import Database, Row, Transaction
from app.ledger import repository
from app.ledger.schemas import Month, Subject


class Ledger:
    """The ledger, in whole nano-dollars."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(
        self,
        tx: Transaction,
        owner: str,
        kind: Subject,
        subject: str,
        nano: int = 0,
        limits: KeyLimits | None = None,
    ) -> None:
        """Promise what the work is expected to cost. Exhausted when that goes beyond what the API key that asks may still
        spend this month: what others asked for with it at the same moment counts, because all of it passes here one by
        one."""
        now = clock.now()
        if limits is not None and limits.cap_nano is not None:
            _keep_within(limits.cap_nano, nano, *repository.of_key(tx, owner, limits.key_id, _month(now)), now)
        repository.hold(tx, owner, uuid7(), kind, subject, nano, now, limits.key_id if limits else None)
        crash_point("ledger.hold_written", subject)

    def settle(self, tx: Transaction, owner: str, subject: str, nano: int | None) -> None:
        """The work has ended and cost this much; None when nobody said."""
        repository.settle(tx, owner, uuid7(), subject, nano, clock.now())
        crash_point("ledger.settlement_written", subject)

    def settle_answer(self, tx: Transaction, owner: str, answer: str, nano: int | None, key: str | None) -> None:
        """The same for an answer, for which nothing was held, to this API key if to any."""
        repository.settle_nothing_held(tx, owner, uuid7(), Subject.ANSWER, answer, nano, clock.now(), key)

    def correct(self, tx: Transaction, owner: str, kind: Subject, subject: str, nano: int) -> None:
        """A cost that became known after the end."""
        repository.correct(tx, owner, uuid7(), kind, subject, nano, clock.now())
        crash_point("ledger.correction_written", subject)

    def spent_by_keys(self, tx: Transaction, owner: str, keys: Sequence[str], now: datetime) -> dict[str, int]:
        """What was spent with these API keys in the month of that moment, in nano-dollars, as far as costs are known."""
        return repository.spent_by_keys(tx, owner, keys, _month(now)) if keys else {}

    async def months(self, owner: str) -> Sequence[Month]:
        """What the person spent, the newest month first."""
        rows = await self._database.read(repository.months, owner)
        return [
            Month(
                f"{row['month'] // 100}-{row['month'] % 100:02}", row["spent"], row["subjects"], max(0, row["unknown"])
            )
            for row in rows
        ]

    async def spent(self, owner: str) -> int | None:
        """What the person has spent on jobs and answers, deleted ones too, as far as it is known; None while nothing is."""
        return await self._database.read(repository.spent, owner)

    async def spent_any(self) -> int | None:
        """The same of everybody, those who are gone too."""
        return await self._database.read(repository.spent_any)

    def sums_any(self, tx: Transaction) -> list[Row]:
        """For `doctor`: the entries of every subject, added up."""
        return repository.sums_any(tx)


def _keep_within(cap: int, nano: int, spent: int, held: int, now: datetime) -> None:
    """Exhausted when so much may not be held as well, and when nothing is left for work of unknown cost either."""
    if spent + held < cap and spent + held + nano <= cap:
        return
    end = _month(_month(now) + timedelta(days=31))
    said = f"${usd(spent)} of ${usd(cap)} are spent" + (f", ${usd(held)} are held for work under way" if held else "")
    if spent + held < cap:
        said += f", and this is expected to cost ${usd(nano)}"
    raise Exhausted(
        f"This would go beyond the monthly limit of this API key: {said}. A new month begins on {end:%-d %B} (UTC).",
        retry_after=int((end - now).total_seconds()) + 1,
        quota=True,
    )


def _month(moment: datetime) -> datetime:
    """When the month of that moment begins."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
