"""The job state machine: each state change with its ledger entry, its event and its assets, in one transaction.

A transition returns the changed job, or says that the job was no longer in the state that it starts from. On commit it
updates the copies in memory.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock, logging
from app.catalog.schemas import Model
from app.db.transaction import Transaction
from app.idempotency.schemas import IdempotencyKey
from app.idempotency.service import Idempotency
from app.jobs import list_repository, queue_order, queue_repository, repository
from app.jobs.live_jobs import LiveJobs
from app.jobs.model_history import ModelHistory
from app.jobs.schemas import CancelStage, EventType, Job, JobWarning, LateResultPolicy
from app.ledger.schemas import Subject
from app.ledger.service import Ledger
from app.library.schemas import Asset
from app.library.service import Library
from app.providers.contract import Completed, Failed, Pending, Retryable

# Writes further rows in the transaction that changes a job; called with the changed job, only if it was changed.
TxHook = Callable[[Transaction, Job], None]

logger = logging.get("jobs")


# The limits of this API key of a user; None when it has been removed.
FindKeyLimits = Callable[[Transaction, str, str], KeyLimits | None]


class Transitions:
    """Transaction functions that change the state of a job."""

    def __init__(
        self,
        ledger: Ledger,
        idempotency: Idempotency,
        library: Library,
        live: LiveJobs,
        history: ModelHistory,
        *,
        poll_interval: float,
        key_limits: FindKeyLimits,
    ) -> None:
        """`poll_interval` is the time between two polls of a cancelled job, in seconds."""
        self._ledger = ledger
        self._idempotency = idempotency
        self._library = library
        self._live = live
        self._history = history
        self._poll_interval = poll_interval
        self._key_limits = key_limits

    def enqueue(
        self,
        tx: Transaction,
        job: Job,
        key: IdempotencyKey | None,
        single_flight: bool,
        limits: KeyLimits | None,
        also_in_tx: TxHook | None,
    ) -> str | None:
        """None if the job was added, otherwise the id of the job of an equal earlier request, or of one that already
        fetches the same upstream result: a result is fetched, and its cost counted, once."""
        if job.inputs and not job.generation_type.has_inputs:
            raise ValueError(f"the inputs of a job of type {job.generation_type.value} would not be read again")
        if job.upstream_job is not None and (
            holder := repository.result_holder(tx, job.owner_id, job.provider, job.upstream_job)
        ):
            return holder
        if (
            single_flight
            and job.retry_of
            and (unfinished := repository.unfinished_retry(tx, job.owner_id, job.retry_of))
        ):
            return unfinished
        if key is not None and (first := self._idempotency.record(tx, key, job.id, job.created_at)):
            return first
        self._ledger.hold(tx, job.owner_id, Subject.JOB, job.id, self._expected_cost(tx, job, limits), limits)
        repository.add(tx, job.owner_id, job)
        if job.inputs:
            self._library.attach(tx, job.owner_id, [used.asset_id for used in job.inputs], job.id)
        repository.add_event(tx, job.owner_id, job.id, job.created_at, EventType.QUEUED)
        if also_in_tx is not None:
            also_in_tx(tx, job)
        tx.on_commit(self._live.put, job)
        return None

    def enqueue_all(
        self,
        tx: Transaction,
        jobs: Sequence[Job],
        result_id: str,
        key: IdempotencyKey | None,
        limits: KeyLimits | None,
        also_in_tx: Callable[[Transaction], None],
    ) -> str | None:
        """Add many jobs of one user as one result. None, or the result of an equal earlier request."""
        owner, now = jobs[0].owner_id, jobs[0].created_at
        if key is not None and (first := self._idempotency.record(tx, key, result_id, now)):
            return first
        costs = {job.model: self._expected_cost(tx, job, limits) for job in {job.model: job for job in jobs}.values()}
        self._ledger.hold_all(tx, owner, Subject.JOB, {job.id: costs[job.model] for job in jobs}, limits)
        for job in jobs:
            repository.add(tx, owner, job)
            repository.add_event(tx, owner, job.id, job.created_at, EventType.QUEUED)
            tx.on_commit(self._live.put, job)
        also_in_tx(tx)
        return None

    def pause(self, tx: Transaction, owner: str, id: str, paused: bool) -> bool:
        """Pause or resume one queued job. False if it is not queued."""
        if not queue_repository.pause(tx, owner, id, paused):
            return False
        event = EventType.PAUSED if paused else EventType.RESUMED
        repository.add_event(tx, owner, id, clock.now(), event)
        tx.on_commit(self._live.set_paused, [id], paused)
        return True

    def set_paused(self, tx: Transaction, owner: str, batch_id: str, paused: bool) -> int:
        """Pause or resume the unfinished jobs of a batch; returns how many there are."""
        ids = queue_repository.set_paused(tx, owner, batch_id, paused)
        tx.on_commit(self._live.set_paused, ids, paused)
        return len(ids)

    def cancel_queued(self, tx: Transaction, owner: str, batch_id: str) -> None:
        """From queued to cancelled, for all jobs of a batch: they were not sent."""
        now = clock.now()
        self._record_unsent(tx, owner, queue_repository.cancel_queued(tx, owner, batch_id, now), now)

    def cancel_unsent(self, tx: Transaction, owner: str, ids: Sequence[str]) -> list[str]:
        """From queued to cancelled, for those of these jobs that are still queued; returns their ids."""
        now = clock.now()
        cancelled = queue_repository.cancel_unsent(tx, owner, ids, now)
        self._record_unsent(tx, owner, cancelled, now)
        return cancelled

    def reorder(self, tx: Transaction, owner: str, id: str, before: str | None) -> bool:
        """Move a queued job before another one, or behind all others. False if one of them is not queued any more."""
        places = queue_repository.queue_places(tx, owner)
        if not {id, before or id} <= {place.id for place in places}:
            return False
        if changed := queue_order.move(places, id, before):
            queue_repository.set_queue_places(tx, owner, changed)
            tx.on_commit(self._live.set_places, changed)
        return True

    def claim(self, tx: Transaction, now: datetime, chosen: Sequence[Job]) -> Sequence[Job]:
        """From queued to processing, in this order."""
        inputs = {job.id: job.inputs for job in chosen}
        claimed = {job.id: job for job in queue_repository.claim_any(tx, now, list(inputs))}
        jobs = [msgspec.structs.replace(claimed[id], inputs=inputs[id]) for id in inputs if id in claimed]
        for job in jobs:
            if job.upstream_job:
                repository.add_event(tx, job.owner_id, job.id, now, EventType.RESULT_REQUESTED)
            else:
                repository.add_event(tx, job.owner_id, job.id, now, EventType.STARTED, attempt=job.attempts)
            tx.on_commit(self._live.put, job)
        return jobs

    def record_progress(self, tx: Transaction, job: Job, pending: Pending, run_at: datetime) -> None:
        changed = repository.record_upstream_job(tx, job.owner_id, job.id, pending, run_at)
        if changed is None:
            self._record_late_submission(tx, job, pending, run_at)
        elif job.upstream_job is None:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.SUBMITTED, state=pending.state)
            tx.on_commit(self._history.learn_queued_upstream, job.model)
        elif job.upstream_state != pending.state:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.PROGRESSED, state=pending.state)
        self._update_copy(tx, job, changed)

    def mark_downloaded(self, tx: Transaction, job: Job) -> None:
        changed = repository.mark_downloaded(tx, job.owner_id, job.id)
        if changed is not None:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.DOWNLOADED)
        self._update_copy(tx, job, changed)

    def schedule_retry(self, tx: Transaction, job: Job, retryable: Retryable, run_at: datetime) -> None:
        """From processing back to queued."""
        if self._finish_cancel(tx, job, 0):
            return
        changed = repository.requeue(tx, job.owner_id, job.id, run_at)
        if changed is None:
            self.record_late_result(tx, job, 0, [])
            return
        detail = {"run_at": clock.iso(run_at), "code": retryable.code, "message": retryable.message}
        repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.RETRY_SCHEDULED, **detail)
        self._update_copy(tx, job, changed)

    def allowed(self, tx: Transaction, job: Job, models: list[Model]) -> list[Model]:
        """The models that the API key of the job may use: none when the key has been removed, all when the job has none."""
        key = self._ledger.key_of(tx, job.owner_id, job.id)
        if key is None:
            return models
        limits = self._key_limits(tx, job.owner_id, key)
        return [] if limits is None else [model for model in models if limits.allows(model.id)]

    def move(self, tx: Transaction, job: Job, model: Model) -> bool:
        """From processing back to queued, at another provider with the same model. False if that is not possible any more."""
        now = clock.now()
        changed = repository.move(tx, job.owner_id, job.id, now, model)
        if changed is None:
            return False
        detail = {"from_provider": job.provider, "to_provider": model.provider}
        repository.add_event(tx, job.owner_id, job.id, now, EventType.MOVED, **detail)
        self._update_copy(tx, job, changed)
        return True

    def complete(
        self, tx: Transaction, job: Job, done: Completed, assets: Sequence[Asset], warnings: Sequence[JobWarning] = ()
    ) -> bool:
        """From processing to completed, with all warnings of the job. False if the assets are no longer wanted."""
        now = clock.now()
        if not repository.complete(tx, job.owner_id, job.id, now, done, warnings):
            if self._finish_cancel(tx, job, done.cost_nano, done=True):
                return False
            return self.record_late_result(tx, job, done.cost_nano, assets, done, warnings)
        self._library.add(tx, job.owner_id, assets)
        self._ledger.settle(tx, job.owner_id, job.id, done.cost_nano)
        repository.add_event(tx, job.owner_id, job.id, now, EventType.COMPLETED)
        tx.on_commit(self._history.learn, job.model, done.cost_nano)
        tx.on_commit(self._live.remove, job.id)
        return True

    def fail(self, tx: Transaction, job: Job, failed: Failed) -> bool:
        """From processing to failed. False if the job had already ended, or a cancel was requested."""
        now = clock.now()
        if not repository.fail(tx, job.owner_id, job.id, now, failed):
            if not self._finish_cancel(tx, job, failed.cost_nano):
                self.record_late_result(tx, job, failed.cost_nano, [])
            return False
        self._ledger.settle(tx, job.owner_id, job.id, failed.cost_nano)
        if not failed.carried_out:
            self._idempotency.forget(tx, job.id)
        detail = {"code": failed.code, "message": failed.message}
        repository.add_event(tx, job.owner_id, job.id, now, EventType.FAILED, **detail)
        tx.on_commit(self._after_failure, job, failed)
        return True

    def rescue(self, tx: Transaction, job: Job) -> None:
        """After a restart, the job is still processing."""
        changed = repository.record_recovery(tx, job.owner_id, job.id)
        repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.RECOVERED)
        self._update_copy(tx, job, changed)

    def mark_unknown(self, tx: Transaction, job: Job, failed: Failed) -> None:
        """Fail a queued job because it may have been sent."""
        if repository.mark_possibly_sent(tx, job.owner_id, job.id, clock.now()) is not None:
            self.fail(tx, job, failed)

    def cancel(self, tx: Transaction, job: Job, late: LateResultPolicy, also_in_tx: TxHook | None = None) -> Job | None:
        """From queued or processing to cancelled."""
        now = clock.now()
        changed = repository.cancel(tx, job.owner_id, job.id, now, late)
        if changed is not None:
            self._ledger.settle(tx, job.owner_id, job.id, None if changed.late_result_policy else 0)
            stage = CancelStage.SUBMITTED if changed.late_result_policy else CancelStage.NOT_SUBMITTED
            repository.add_event(tx, job.owner_id, job.id, now, EventType.CANCELLED, stage=stage)
            if changed.late_result_policy and changed.upstream_job:
                run_at = clock.after(self._poll_interval)
                tx.on_commit(self._live.await_late, msgspec.structs.replace(changed, run_at=run_at))
            if also_in_tx is not None:
                also_in_tx(tx, changed)
        self._update_copy(tx, job, changed)
        return changed

    def request_cancel(
        self, tx: Transaction, job: Job, late: LateResultPolicy, also_in_tx: TxHook | None
    ) -> Job | None:
        """The job stays processing until its provider has answered the request."""
        changed = repository.request_cancel(tx, job.owner_id, job.id, late)
        if changed is not None:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.CANCEL_REQUESTED)
            if also_in_tx is not None:
                also_in_tx(tx, changed)
        self._update_copy(tx, job, changed)
        return changed

    def record_late_result(
        self,
        tx: Transaction,
        job: Job,
        cost_nano: int | None,
        assets: Sequence[Asset],
        done: Completed | None = None,
        warnings: Sequence[JobWarning] = (),
    ) -> bool:
        """Record a result that arrived after the cancel: its cost is always settled, its assets are kept if the user
        chose so; True if they were."""
        self._update_copy(tx, job, None)
        text, usage = (done.text, done.usage) if done else (None, None)
        waiting = repository.end_late(tx, job.owner_id, job.id, cost_nano, text, usage, warnings or job.warnings)
        if waiting is None:
            return False
        tx.on_commit(self._live.end_late, job)
        if cost_nano is not None and waiting.cost_nano is None:
            self._ledger.correct(tx, job.owner_id, Subject.JOB, job.id, cost_nano)
        kept = done is not None and waiting.late_result_policy is LateResultPolicy.KEEP and waiting.deleted_at is None
        if kept:
            self._library.add(tx, job.owner_id, assets)
        event = EventType.LATE_RESULT_RECORDED if kept else EventType.FOLLOW_UP_ENDED
        repository.add_event(tx, job.owner_id, job.id, clock.now(), event)
        return kept

    def _record_late_submission(self, tx: Transaction, job: Job, pending: Pending, run_at: datetime) -> None:
        """The job was cancelled while it was submitted: its upstream job is still polled for the cost."""
        waiting = repository.record_late_upstream_job(tx, job.owner_id, job.id, pending.upstream_job)
        if waiting is not None:
            repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.SUBMITTED, state=pending.state)
            tx.on_commit(self._live.await_late, msgspec.structs.replace(waiting, run_at=run_at))

    def _record_unsent(self, tx: Transaction, owner: str, ids: Sequence[str], now: datetime) -> None:
        """These jobs were cancelled before they were sent."""
        for id in ids:
            self._ledger.settle(tx, owner, id, 0)
            repository.add_event(tx, owner, id, now, EventType.CANCELLED, stage=CancelStage.NOT_SUBMITTED)
            tx.on_commit(self._live.remove, id)

    def _finish_cancel(self, tx: Transaction, job: Job, cost_nano: int | None, *, done: bool = False) -> bool:
        """End a job whose cancel was requested, after the provider's response. False if no cancel was requested, or if
        the result is complete (`done`) and the user chose to keep it."""
        changed = repository.finish_cancel(tx, job.owner_id, job.id, clock.now(), cost_nano, has_result=done)
        if changed is None:
            return False
        self._ledger.settle(tx, job.owner_id, job.id, cost_nano)
        stage = CancelStage.FINISHED if done else CancelStage.STOPPED
        repository.add_event(tx, job.owner_id, job.id, clock.now(), EventType.CANCELLED, stage=stage)
        self._update_copy(tx, job, changed)
        return True

    def _expected_cost(self, tx: Transaction, job: Job, limits: KeyLimits | None) -> int:
        """The amount to hold. With a spending limit it is read from the database if memory does not have it after a
        restart."""
        cost = self._history.cost(job.model)
        if cost is None and limits is not None and limits.cap_nano is not None:
            cost = list_repository.last_cost_any(tx, job.model)
            tx.on_commit(self._history.learn, job.model, cost)
        return cost or 0

    def _update_copy(self, tx: Transaction, job: Job, changed: Job | None) -> None:
        """Update the copy in memory on commit; `changed` None means that the job had already ended. The changed row comes
        without the job's inputs, which never change."""
        if changed is not None:
            tx.on_commit(self._live.put, msgspec.structs.replace(changed, inputs=job.inputs))
        else:
            tx.on_commit(self._live.remove_stale, job)

    def _after_failure(self, job: Job, failed: Failed) -> None:
        self._live.remove(job.id)
        logger.info("job failed", job=job.id, code=failed.code.value, detail=failed.detail[:500])
