"""The jobs of all users, as admins see and remove them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from app.base import clock
from app.base.errors import Missing
from app.base.metrics import Metrics
from app.base.paging import Page
from app.db.database import Database
from app.db.transaction import Transaction
from app.jobs import list_repository, repository
from app.jobs.execution import TIMED_OUT, Execution
from app.jobs.live_jobs import LiveJobs
from app.jobs.schemas import UNDO_PERIOD, Job, JobStatus, LateResultPolicy
from app.jobs.transitions import Transitions
from app.library.service import Library
from app.providers.contract import Kind


class AllJobs:
    """Empty `kinds` or `statuses` mean all of them."""

    def __init__(
        self,
        database: Database,
        library: Library,
        live: LiveJobs,
        transitions: Transitions,
        execution: Execution,
        find_own: Callable[[str, str], Awaitable[Job]],
        metrics: Metrics,
    ) -> None:
        """`find_own` finds a job by its owner and id."""
        self._database = database
        self._library = library
        self._live = live
        self._transitions = transitions
        self._execution = execution
        self._find_own = find_own
        self._status_gauge = metrics.gauge("jobs", "Jobs by state, without those deleted by their users.", ("state",))

    async def find(self, id: str, kinds: Sequence[Kind] = ()) -> Job:
        """Any user's job with its inputs and assets, or Missing."""
        job = self._live.find(id) or await self._database.read(repository.find_any, id)
        if job is None or (kinds and job.kind not in kinds):
            raise Missing("There is no such job.")
        return await self._find_own(job.owner_id, id)

    async def spent_by_provider(self, since: datetime) -> dict[str, int]:
        """The known costs of the jobs that ended since then, in nano-dollars."""
        return await self._database.read(list_repository.spent_by_provider_any, since)

    async def newest(
        self,
        *,
        kinds: Sequence[Kind] = (),
        statuses: Sequence[JobStatus] = (),
        owners: Sequence[str] | None = None,
        q: str = "",
        before: str | None = None,
        limit: int = 24,
    ) -> Page[Job]:
        """Newest first, without inputs and assets; `owners` None means every user."""
        terms = q.split()[:8]

        def find(tx: Transaction) -> Page[Job]:
            found = list_repository.newest_any(
                tx, kinds=kinds, statuses=statuses, owners=owners, terms=terms, before=before, limit=limit + 1
            )
            total = list_repository.count_any(tx, kinds=kinds, statuses=statuses, owners=owners, terms=terms)
            return Page.of(found, total, limit)

        return await self._database.read(find)

    async def tally(self) -> dict[str, int]:
        """The number of jobs per status; also updates the `jobs` metric."""
        rows = await self._database.read(list_repository.tally_any)
        found = {row["status"]: row["jobs"] for row in rows}
        tally = {status.value: found.get(status, 0) for status in JobStatus}
        for state, count in tally.items():
            self._status_gauge.labels(state).set(count)
        return tally

    async def ended_before(
        self, before: datetime, *, kinds: Sequence[Kind] = (), statuses: Sequence[JobStatus] = ()
    ) -> Sequence[str]:
        """The ids of jobs that ended before that time."""
        return await self._database.read(list_repository.ended_before_any, before, kinds=kinds, statuses=statuses)

    def overdue(self, kinds: Sequence[Kind] = ()) -> Sequence[Job]:
        """Processing jobs past their deadline."""
        processing = self._live.processing()
        return [job for job in processing if self._execution.is_overdue(job) and (not kinds or job.kind in kinds)]

    # In the caller's transaction

    def time_out(self, tx: Transaction, jobs: Sequence[Job]) -> int:
        """Fail jobs that are past their deadline; returns how many had not ended meanwhile."""
        return sum(self._transitions.fail(tx, job, TIMED_OUT) for job in jobs)

    def erase(self, tx: Transaction, ids: Sequence[str]) -> None:
        """Erase finished jobs and their assets for good; only their costs remain."""
        repository.erase_any(tx, ids, clock.now() - 2 * UNDO_PERIOD)
        self._library.erase_of_jobs(tx, ids)

    def forget_user(self, tx: Transaction, owner: str) -> None:
        """Cancel the user's unfinished jobs, then erase all of them."""
        for job in list_repository.unfinished(tx, owner):
            self._transitions.cancel(tx, job, LateResultPolicy.DISCARD)
        self.erase(tx, list_repository.ids(tx, owner))
