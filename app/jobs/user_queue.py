"""What users do to their own waiting jobs: see them in order, move and pause them, and cancel many at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from app.base.errors import Conflict, Invalid, Missing
from app.base.paging import Page
from app.db.database import Database
from app.jobs.live_jobs import LiveJobs
from app.jobs.schemas import CancelFailure, CancelledJobs, Job, JobStatus, LateResultPolicy, QueueStep
from app.jobs.transitions import Transitions
from app.providers.contract import Kind

AT_ONCE = 50  # jobs that are cancelled before the event loop may do something else

# Cancels one job of a user.
CancelOne = Callable[[str, str, LateResultPolicy], Awaitable[Job]]
# Finds one job of a user, or raises Missing.
FindOne = Callable[[str, str], Awaitable[Job]]

# Makes sure that it is known how long jobs of these models take.
LearnDurations = Callable[[Iterable[str]], Awaitable[None]]


class UserQueue:
    """The waiting jobs of each user, from memory."""

    def __init__(
        self,
        database: Database,
        live: LiveJobs,
        transitions: Transitions,
        *,
        find: FindOne,
        cancel: CancelOne,
        learn_durations: LearnDurations,
    ) -> None:
        """`find` and `cancel` are for one job of a user."""
        self._database = database
        self._live = live
        self._transitions = transitions
        self._find = find
        self._cancel = cancel
        self._learn_durations = learn_durations

    # Reading

    def count(self, owner: str) -> int:
        """How many jobs of the user are queued, those that are paused or wait for a retry included."""
        return len(self._live.of_user(owner, JobStatus.QUEUED))

    async def page(
        self, owner: str, *, kinds: Sequence[Kind] = (), before: str | None = None, limit: int = 24
    ) -> Page[Job]:
        """The user's queued jobs: in the order in which they are started, then those that cannot be started yet. `before` is the id
        of the last job of the previous page."""
        queued = {job.id: job for job in self._live.of_user(owner, JobStatus.QUEUED) if not kinds or job.kind in kinds}
        due = [queued.pop(id) for id in self._live.waiting(owner) if id in queued]
        jobs = [*due, *queued.values()]
        start = next((index for index, job in enumerate(jobs, 1) if job.id == before), 0)
        page = Page.of(jobs[start : start + limit + 1], len(jobs), limit)
        await self._learn_durations({job.model for job in page.items})
        return Page([self._live.estimate(job) for job in page.items], page.total, page.next)

    # Changing

    async def move(self, owner: str, id: str, before: str | None) -> Job:
        """Start a queued job directly before another one, whose priority it takes on, or after all others. Raises Missing, Invalid if
        there is no such other job, and Conflict if one of them is not queued."""
        job = await self._find(owner, id)
        if job.status is not JobStatus.QUEUED:
            raise Conflict("This job is no longer in the queue, so it cannot be moved.")
        if before is not None:
            try:
                other = await self._find(owner, before)
            except Missing:
                raise Invalid("There is no such job.", fields={"before": "is not the id of one of your jobs"}) from None
            if other.status is not JobStatus.QUEUED:
                raise Conflict("The job to move it before is no longer in the queue.")
        if not await self._database.write_for(owner, self._transitions.reorder, owner, id, before):
            raise Conflict("One of these jobs has just been started or cancelled.")
        return await self._find(owner, id)

    async def pause(self, owner: str, id: str, paused: bool) -> Job:
        """Do not start a queued job until it is resumed, or resume it. Raises Missing, and Conflict if it is not queued."""
        job = await self._find(owner, id)
        if job.status is not JobStatus.QUEUED:
            raise Conflict("This job is no longer in the queue, so it cannot be paused.")
        if job.paused is not paused and not await self._database.write_for(
            id, self._transitions.pause, owner, id, paused
        ):
            raise Conflict("This job has just been started or cancelled.")
        return await self._find(owner, id)

    async def step(self, owner: str, id: str, step: QueueStep) -> Job:
        """Move a job among those that can be started; nothing happens at the end of the queue."""
        order = self._live.waiting(owner)
        if id not in order:
            await self._find(owner, id)
            raise Conflict("This job is not waiting in the queue, so it cannot be moved.")
        at = order.index(id)
        match step:
            case QueueStep.FRONT:
                return await self.move(owner, id, order[0])
            case QueueStep.UP:
                return await self.move(owner, id, order[max(at - 1, 0)])
            case QueueStep.DOWN if at + 1 < len(order):
                # The next one is moved before it. Behind all others it would also be behind the jobs that are paused.
                await self.move(owner, order[at + 1], id)
        return await self._find(owner, id)

    async def cancel_all(
        self, owner: str, status: JobStatus, late: LateResultPolicy = LateResultPolicy.DISCARD
    ) -> CancelledJobs:
        """Cancel the user's jobs that are queued, or those that are processing."""
        return await self.cancel(owner, [job.id for job in self._live.of_user(owner, status)], late)

    async def cancel(
        self, owner: str, ids: Iterable[str], late: LateResultPolicy = LateResultPolicy.DISCARD
    ) -> CancelledJobs:
        """Cancel these jobs, each as if by itself: one that cannot be cancelled does not keep the others from it."""
        result = CancelledJobs()
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            queued = {job.id for job in self._live.of_user(owner, JobStatus.QUEUED)}.intersection(some)
            unsent = await self._cancel_unsent(owner, [id for id in some if id in queued])
            result.cancelled += len(unsent)
            others = [id for id in some if id not in unsent]
            for outcome in await asyncio.gather(*(self._cancel_one(owner, id, late) for id in others)):
                match outcome:
                    case CancelFailure():
                        result.failed.append(outcome)
                    case Job(final=True):
                        result.cancelled += 1
                    case Job():
                        result.requested += 1
        return result

    async def _cancel_unsent(self, owner: str, ids: Sequence[str]) -> set[str]:
        """Cancel those that are still queued, in one transaction; returns their ids."""
        if not ids:
            return set()
        return set(await self._database.write_for(owner, self._transitions.cancel_unsent, owner, ids))

    async def _cancel_one(self, owner: str, id: str, late: LateResultPolicy) -> Job | CancelFailure:
        try:
            return await self._cancel(owner, id, late)
        except (Conflict, Missing) as exc:
            return CancelFailure(id, exc.code, exc.message)
