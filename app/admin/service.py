"""Administration: users, jobs of all users, and the health of the application.

Each change and its audit log entry are one transaction, with one exception. Deleting an unfinished job first cancels it in a
separate transaction: a crash in between leaves it cancelled but not deleted, without an entry.

Deleting a user is here and not in accounts, because it affects every feature.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version
from typing import Final

from app.accounts.schemas import Role, User
from app.accounts.service import Accounts
from app.admin.schemas import DatabaseHealth, DeletionPreview, Disk, OwnedJob, Retried, Stats
from app.audit.schemas import Action, Actor, Entry
from app.audit.service import Audit
from app.base import clock
from app.base.errors import AtelierError, Invalid, Missing
from app.base.loop_watchdog import LoopBlock, LoopWatchdog
from app.base.metrics import Metrics
from app.base.paging import Page
from app.catalog.service import Catalog
from app.db.database import Database
from app.db.transaction import Transaction
from app.idempotency.schemas import IdempotencyKey
from app.jobs.schemas import Job, JobEvent, JobStatus
from app.jobs.service import Jobs
from app.ledger.service import Ledger
from app.library.service import Library
from app.providers.contract import Kind
from app.storage.files import Files

VERSIONS: Final = ("litestar", "duckdb", "aiohttp", "av", "pillow")
MAX_AGE: Final = 36_500  # days

# Deletes what a feature stores about a user; called with the user id inside the transaction that deletes the user.
Forget = Callable[[Transaction, str], None]


class Admin:
    """The operations of admins."""

    def __init__(
        self,
        database: Database,
        audit: Audit,
        accounts: Accounts,
        ledger: Ledger,
        catalog: Catalog,
        library: Library,
        jobs: Jobs,
        files: Files,
        *,
        forget: Sequence[Forget] = (),
        metrics: Metrics,
        loop_watchdog: LoopWatchdog,
        program_version: str,
    ) -> None:
        self._database = database
        self._audit = audit
        self._accounts = accounts
        self._ledger = ledger
        self._catalog = catalog
        self._library = library
        self._jobs = jobs
        self._files = files
        self._forget = forget
        self._metrics = metrics
        self._loop_watchdog = loop_watchdog
        self._program_version = program_version

    # Status and metrics

    async def stats(self) -> Stats:
        accounts = await self._accounts.stats()
        jobs, spent = await self._jobs.all.tally(), await self._ledger.spent_any()
        return Stats(users=accounts.users, tokens=accounts.tokens, jobs=jobs, cost_nano=spent)

    async def database_health(self) -> DatabaseHealth:
        """Measured on the writer thread, because that is the bottleneck."""
        started = time.perf_counter()
        try:
            ok = await self._database.write(_select_one)
        except AtelierError:
            ok = False
        return DatabaseHealth(ok, round((time.perf_counter() - started) * 1000, 2))

    async def disk(self) -> Disk:
        usage = await self._files.usage()
        return Disk(usage.stored, usage.free)

    def versions(self) -> Mapping[str, str]:
        return {"atelier": self._program_version, **{name: version(name) for name in VERSIONS}}

    def loop_blocks(self) -> Sequence[LoopBlock]:
        """Recent blocks of the event loop, newest first."""
        return self._loop_watchdog.newest()

    def longest_loop_block(self) -> float:
        """The longest block of the event loop in the last hour, in seconds."""
        return self._loop_watchdog.longest()

    async def metrics(self) -> bytes:
        """All metrics in the Prometheus text format."""
        await self._jobs.all.tally()
        return await self._metrics.text()

    async def log(self, *, before: str | None = None, limit: int = 24) -> Page[Entry]:
        """The audit log, newest first."""
        return await self._audit.newest(before=before, limit=limit)

    # Users

    async def users(self, *, q: str = "", after: str | None = None, limit: int = 24) -> Page[User]:
        return await self._accounts.users.newest(q=q, after=after, limit=limit)

    async def set_role(self, actor: Actor, user_id: str, role: Role) -> User:
        return await self._accounts.users.set_role(user_id, role, actor)

    async def set_active(self, actor: Actor, user_id: str, is_active: bool) -> User:
        return await self._accounts.users.set_active(user_id, is_active, actor)

    async def delete_user(self, actor: Actor, user_id: str) -> User:
        """Delete a user with their sessions, keys, conversations and media. Their jobs are cancelled; only the costs are
        kept."""

        def change(tx: Transaction) -> User:
            user = self._accounts.users.remove(tx, actor.id or "", user_id)
            self._jobs.all.forget_user(tx, user_id)
            self._library.forget_user(tx, user_id)
            self._catalog.preferences.forget_user(tx, user_id)
            for forget in self._forget:
                forget(tx, user_id)
            self._audit.record(tx, actor, Action.USER_DELETED, user.email)
            return user

        user = await self._database.write(change)
        await self._library.sweep()
        return user

    async def deletion_preview(self, user_id: str) -> DeletionPreview:
        """What deleting the user would delete."""
        users = await self._accounts.users.by_id([user_id])
        if user_id not in users:
            raise Missing("User not found.")
        jobs = await self._jobs.newest(user_id, limit=1)
        unfinished = await self._jobs.newest(user_id, statuses=(JobStatus.QUEUED, JobStatus.PROCESSING), limit=1)
        assets = await self._library.newest(user_id, limit=1)
        return DeletionPreview(users[user_id], jobs.total, unfinished.total, assets.total)

    async def purge_tokens(self, actor: Actor) -> int:
        """Delete expired and revoked refresh tokens; returns their number."""
        return await self._accounts.sessions.purge_tokens(actor)

    # Jobs of all users

    async def jobs(
        self,
        *,
        kinds: Sequence[Kind] = (),
        statuses: Sequence[JobStatus] = (),
        user: str = "",
        q: str = "",
        before: str | None = None,
        limit: int = 24,
    ) -> Page[OwnedJob]:
        """Newest first. `user` is part of an email or name, or an id; `q` are terms in the prompt."""
        owners: list[str] | None = None
        if user:
            owners = [found.id for found in (await self._accounts.users.newest(q=user, limit=100)).items] + [user]
        page = await self._jobs.all.newest(
            kinds=kinds, statuses=statuses, owners=owners, q=q, before=before, limit=limit
        )
        return Page(await self._owned(page.items), page.total, page.next)

    async def job(self, id: str, kinds: Sequence[Kind] = ()) -> OwnedJob:
        job = await self._jobs.all.find(id, kinds)
        return (await self._owned([job]))[0]

    async def events(self, job: Job) -> Sequence[JobEvent]:
        """The job's timeline."""
        return await self._jobs.events(job.owner_id, job.id)

    async def cancel(self, actor: Actor, id: str, kinds: Sequence[Kind] = ()) -> OwnedJob:
        job = await self._jobs.all.find(id, kinds)

        def note(tx: Transaction, _: Job) -> None:
            self._audit.record(tx, actor, Action.JOB_CANCELLED, id)

        cancelled = await self._jobs.cancel(job.owner_id, id, also_in_tx=note)
        return (await self._owned([cancelled]))[0]

    async def retry(
        self,
        actor: Actor,
        id: str,
        kinds: Sequence[Kind] = (),
        key: IdempotencyKey | None = None,
        *,
        single_flight: bool = False,
    ) -> Retried:
        """As `Jobs.retry`, for the owner of the job and at their cost. Disabled models stay disabled for admins."""
        job = await self._jobs.all.find(id, kinds)

        def note(tx: Transaction, retry: Job) -> None:
            self._audit.record(tx, actor, Action.JOB_RETRIED, id, new_job_id=retry.id)

        accepted = await self._jobs.retry(job.owner_id, id, key, single_flight=single_flight, also_in_tx=note)
        return Retried((await self._owned([accepted.job]))[0], accepted.repeated)

    async def delete(self, actor: Actor, id: str, kinds: Sequence[Kind] = ()) -> None:
        """Delete a job and its results permanently; only its cost is kept. An unfinished job is cancelled first."""
        job = await self._jobs.all.find(id, kinds)
        if not job.final:
            await self._jobs.cancel(job.owner_id, id)

        def change(tx: Transaction) -> None:
            self._jobs.all.erase(tx, [id])
            self._audit.record(tx, actor, Action.JOB_DELETED, id)

        await self._database.write(change)
        await self._library.sweep()

    async def purge(
        self,
        actor: Actor,
        older_than_days: int,
        *,
        statuses: Sequence[JobStatus] = (),
        kinds: Sequence[Kind] = (),
        dry_run: bool = False,
    ) -> int:
        """Permanently delete jobs that ended more than `older_than_days` ago; returns their number. A dry run only counts."""
        if not 0 <= older_than_days <= MAX_AGE:
            message = f"must be 0 to {MAX_AGE}"
            raise Invalid(f"The age in days {message}.", fields={"older_than_days": message})
        if any(not status.final for status in statuses):
            message = "must be completed, failed or cancelled"
            raise Invalid(f"The statuses {message}.", fields={"statuses": message})
        before = clock.now() - timedelta(days=older_than_days)
        found = await self._jobs.all.ended_before(before, kinds=kinds, statuses=statuses)
        if dry_run or not found:
            return len(found)

        def change(tx: Transaction) -> None:
            self._jobs.all.erase(tx, found)
            count, states = len(found), list(statuses)
            self._audit.record(
                tx, actor, Action.JOBS_PURGED, count=count, older_than_days=older_than_days, statuses=states
            )

        await self._database.write(change)
        await self._library.sweep()
        return len(found)

    def overdue(self, kinds: Sequence[Kind] = ()) -> Sequence[Job]:
        """Processing jobs that are past their deadline."""
        return self._jobs.all.overdue(kinds)

    async def time_out(self, actor: Actor, kinds: Sequence[Kind] = ()) -> int:
        """Mark processing jobs that are past their deadline as failed; returns their number."""
        overdue = self._jobs.all.overdue(kinds)

        def change(tx: Transaction) -> int:
            failed = self._jobs.all.time_out(tx, overdue)
            self._audit.record(tx, actor, Action.JOBS_TIMED_OUT, count=failed)
            return failed

        return await self._database.write(change)

    async def _owned(self, jobs: Sequence[Job]) -> list[OwnedJob]:
        users = await self._accounts.users.by_id(list({job.owner_id for job in jobs}))
        return [OwnedJob(job, users[job.owner_id].email if job.owner_id in users else None) for job in jobs]


def _select_one(tx: Transaction) -> bool:
    return bool(tx.value((), "select 1") == 1)
