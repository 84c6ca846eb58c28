"""The rules of the ledger: a hold when work is accepted, a settlement when it ends, a correction for a cost known later.

Every method that writes takes the transaction of the work itself, so the ledger and the work can never disagree.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.base.crash_points import crash_point
from app.base.errors import Exhausted
from app.base.ids import uuid7
from app.base.money import usd
from app.db.database import Database
from app.db.transaction import Row, Transaction
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
        """Hold the expected cost of the work. Raises Exhausted when that exceeds the monthly limit of the API key. Concurrent
        requests with the same key are counted, because all transactions run one after the other."""
        now = clock.now()
        if limits is not None and limits.cap_nano is not None:
            _check_limit(limits.cap_nano, nano, *repository.of_key(tx, owner, limits.key_id, _month(now)), now)
        repository.hold(tx, owner, uuid7(), kind, subject, nano, now, limits.key_id if limits else None)
        crash_point("ledger.hold_written", subject)

    def hold_all(
        self, tx: Transaction, owner: str, kind: Subject, costs: Mapping[str, int], limits: KeyLimits | None
    ) -> None:
        """Like `hold`, for all works of one request: `costs` are the amounts by subject, and their sum must be within the limit."""
        now = clock.now()
        if limits is not None and limits.cap_nano is not None:
            spent = repository.of_key(tx, owner, limits.key_id, _month(now))
            _check_limit(limits.cap_nano, sum(costs.values()), *spent, now)
        for subject, nano in costs.items():
            repository.hold(tx, owner, uuid7(), kind, subject, nano, now, limits.key_id if limits else None)

    def key_of(self, tx: Transaction, owner: str, subject: str) -> str | None:
        """The id of the API key with which the work was requested; None for work of a page."""
        return repository.key_of(tx, owner, subject)

    def settle(self, tx: Transaction, owner: str, subject: str, nano: int | None) -> None:
        """The work has ended with this cost; None when the provider did not report one."""
        repository.settle(tx, owner, uuid7(), subject, nano, clock.now())
        crash_point("ledger.settlement_written", subject)

    def settle_answer(self, tx: Transaction, owner: str, answer: str, nano: int | None, key: str | None) -> None:
        """Settle a chat answer, for which nothing was held; `key` is the id of the API key that was used, if any."""
        repository.settle_nothing_held(tx, owner, uuid7(), Subject.ANSWER, answer, nano, clock.now(), key)

    def correct(self, tx: Transaction, owner: str, kind: Subject, subject: str, nano: int) -> None:
        """Add a cost that became known after the settlement."""
        repository.correct(tx, owner, uuid7(), kind, subject, nano, clock.now())
        crash_point("ledger.correction_written", subject)

    def spent_by_keys(self, tx: Transaction, owner: str, keys: Sequence[str], now: datetime) -> dict[str, int]:
        """The known costs of these API keys in the month of `now`, in nano-dollars."""
        return repository.spent_by_keys(tx, owner, keys, _month(now)) if keys else {}

    async def months(self, owner: str) -> Sequence[Month]:
        """What the user spent per month, newest first."""
        rows = await self._database.read(repository.months, owner)
        return [
            Month(
                f"{row['month'] // 100}-{row['month'] % 100:02}", row["spent"], row["subjects"], max(0, row["unknown"])
            )
            for row in rows
        ]

    async def spent(self, owner: str) -> int | None:
        """The known costs of the user's jobs and answers, including deleted ones; None while no cost is known."""
        return await self._database.read(repository.spent, owner)

    async def spent_any(self) -> int | None:
        """The known costs of all users, including deleted ones; None while no cost is known."""
        return await self._database.read(repository.spent_any)

    def sums_any(self, tx: Transaction) -> list[Row]:
        """The totals of every subject, for `doctor`."""
        return repository.sums_any(tx)


def _check_limit(cap: int, nano: int, spent: int, held: int, now: datetime) -> None:
    """Raise Exhausted when holding `nano` more exceeds the limit, or when nothing is left (also for work of unknown cost)."""
    if spent + held < cap and spent + held + nano <= cap:
        return
    end = _month(_month(now) + timedelta(days=31))
    details = f"${usd(spent)} of ${usd(cap)} spent" + (f", ${usd(held)} held for unfinished work" if held else "")
    if spent + held < cap:
        details += f", expected cost of this request ${usd(nano)}"
    raise Exhausted(
        f"The monthly limit of this API key is reached: {details}. It resets on {end:%-d %B} (UTC).",
        retry_after=int((end - now).total_seconds()) + 1,
        quota=True,
    )


def _month(time: datetime) -> datetime:
    """The start of the month."""
    return time.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
