"""The jobs of batches: added all at once, found in their order, counted and paused together."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.db.database import Database
from app.db.transaction import Transaction
from app.idempotency.schemas import IdempotencyKey
from app.jobs import queue_repository
from app.jobs.live_jobs import LiveJobs
from app.jobs.schemas import UNDO_PERIOD, Job, JobStatus
from app.jobs.transitions import Transitions


class BatchJobs:
    """What `batches` needs of jobs."""

    def __init__(
        self,
        database: Database,
        live: LiveJobs,
        transitions: Transitions,
        with_files: Callable[[Transaction, str, Sequence[Job]], list[Job]],
    ) -> None:
        """`with_files` adds inputs and assets to jobs."""
        self._database = database
        self._live = live
        self._transitions = transitions
        self._with_files = with_files

    async def enqueue(
        self,
        jobs: Sequence[Job],
        batch_id: str,
        key: IdempotencyKey | None,
        limits: KeyLimits | None,
        also_in_tx: Callable[[Transaction], None],
    ) -> str | None:
        """Add all jobs of a batch in one transaction. None, or the id of the batch of an equal earlier request. Raises Exhausted if
        all of them together would exceed the API key's spending limit."""
        return await self._database.write_for(
            jobs[0].owner_id, self._transitions.enqueue_all, jobs, batch_id, key, limits, also_in_tx
        )

    def set_paused(self, tx: Transaction, owner: str, batch_id: str, paused: bool) -> int:
        """Pause or resume the unfinished jobs in the caller's transaction; returns how many there are."""
        return self._transitions.set_paused(tx, owner, batch_id, paused)

    def cancel_queued(self, tx: Transaction, owner: str, batch_id: str) -> None:
        """Cancel the jobs that have not been sent, in the caller's transaction."""
        self._transitions.cancel_queued(tx, owner, batch_id)

    def find(self, tx: Transaction, owner: str, batch_id: str) -> list[Job]:
        """The newest job of each place, with its inputs and assets; without those that were deleted."""
        return self._with_files(tx, owner, queue_repository.of_batch(tx, owner, batch_id))

    def current(self, jobs: Sequence[Job], *, estimates: bool = False) -> list[Job]:
        """The jobs as they are now, with their queue estimates if asked for: the database does not know all of an unfinished one."""
        found = [job if job.final else self._live.find(job.id) or job for job in jobs]
        return [job if job.final or not estimates else self._live.estimate(job) for job in found]

    def in_use_any(self, tx: Transaction) -> list[str]:
        """The batches of all users that have a job, or one that can be restored."""
        return queue_repository.batches_in_use_any(tx, clock.now() - UNDO_PERIOD)

    def tally(self, tx: Transaction, owner: str, ids: Sequence[str]) -> Mapping[str, Counter[JobStatus]]:
        """How many places of each batch are in each status."""
        found: dict[str, Counter[JobStatus]] = {id: Counter() for id in ids}
        for row in queue_repository.tally_batches(tx, owner, ids):
            found[row["batch_id"]][JobStatus(row["status"])] = row["jobs"]
        return found

    def spent(self, tx: Transaction, owner: str, ids: Sequence[str]) -> dict[str, int]:
        """The known costs of the batches' jobs, in nano-dollars."""
        return queue_repository.spent_by_batch(tx, owner, ids)
