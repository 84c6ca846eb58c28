"""SQL of one job: its row, its inputs and its events.

Every state change names the state it starts from, so a late response can never change a job that has ended.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from app.base.text import folded
from app.catalog.schemas import Model
from app.db.transaction import Transaction
from app.jobs.job_rows import COLUMNS, as_json, job_of, one
from app.jobs.schemas import EventType, Job, JobEvent, JobInput, JobInputRole, JobStatus, JobWarning, LateResultPolicy
from app.providers.contract import Completed, Failed, Pending, UpstreamJob, Usage

DOWNLOADED = "downloaded"


def add(tx: Transaction, owner: str, job: Job) -> None:
    tx.insert(
        "jobs (id, owner_id, kind, generation_type, provider, model, model_name, upstream_model, route, prompt,"
        " system_prompt, params, status, retry_of, batch_id, clip_id, plan_id, upstream_job_id, upstream_poll_url,"
        " run_at, created_at, priority, search_text, enhanced_prompt, enhanced_by, batch_position, paused, parent_asset_id,"
        " warnings)",
        job.id,
        owner,
        job.kind.value,
        job.generation_type.value,
        job.provider,
        job.model,
        job.model_name,
        job.upstream_model,
        job.route,
        job.prompt,
        job.system_prompt,
        as_json(job.params),
        JobStatus.QUEUED.value,
        job.retry_of,
        job.batch_id,
        job.clip_id,
        job.plan_id,
        job.upstream_job.id if job.upstream_job else None,
        job.upstream_job.polling_url if job.upstream_job else None,
        job.run_at,
        job.created_at,
        job.priority,
        folded(f"{job.prompt}\n{job.enhanced_prompt}" if job.enhanced_prompt else job.prompt),
        job.enhanced_prompt,
        job.enhanced_by,
        job.batch_position,
        job.paused,
        job.parent_asset_id,
        as_json(job.warnings),
    )
    for position, used in enumerate(job.inputs):
        tx.insert(
            "job_inputs (job_id, position, owner_id, role, asset_id, weight)",
            job.id,
            position,
            owner,
            used.role.value,
            used.asset_id,
            used.weight,
        )


def add_event(tx: Transaction, owner: str, job_id: str, now: datetime, event: EventType, **detail: Any) -> None:
    """Add an entry to the job's timeline."""
    tx.insert(
        "job_events (job_id, owner_id, happened_at, event, detail)", job_id, owner, now, event.value, as_json(detail)
    )


def events(tx: Transaction, owner: str, job_id: str) -> list[JobEvent]:
    rows = tx.rows(
        "job_events",
        "select happened_at, event, detail from job_events where job_id = $1 and owner_id = $2 order by happened_at",
        job_id,
        owner,
    )
    return [
        JobEvent(at=row["happened_at"], event=EventType(row["event"]), detail=msgspec.json.decode(row["detail"]))
        for row in rows
    ]


def find(tx: Transaction, owner: str, id: str) -> Job | None:
    return one(tx, f"select {COLUMNS} from jobs where id = $1 and owner_id = $2 and deleted_at is null", id, owner)


def with_inputs_any(tx: Transaction, jobs: Sequence[Job]) -> list[Job]:
    """These jobs with their inputs, by at most one query."""
    ids = [job.id for job in jobs if job.generation_type.has_inputs]
    if not ids:
        return list(jobs)
    rows = tx.rows(
        "job_inputs",
        "select job_id, role, asset_id, weight from job_inputs where job_id in (select unnest($1::text[]))"
        " order by job_id, position",
        ids,
    )
    inputs: dict[str, list[JobInput]] = {}
    for row in rows:
        used = JobInput(JobInputRole(row["role"]), row["asset_id"], row["weight"])
        inputs.setdefault(row["job_id"], []).append(used)
    return [msgspec.structs.replace(job, inputs=tuple(inputs[job.id])) if job.id in inputs else job for job in jobs]


def find_deleted(tx: Transaction, owner: str, id: str) -> Job | None:
    return one(tx, f"select {COLUMNS} from jobs where id = $1 and owner_id = $2 and deleted_at is not null", id, owner)


def result_holder(tx: Transaction, owner: str, provider: str, upstream_job: UpstreamJob) -> str | None:
    """The job that has fetched the result of this upstream job, or is about to."""
    id: str | None = tx.value(
        "jobs",
        "select id from jobs where owner_id = $1 and provider = $2 and upstream_job_id = $3 and deleted_at is null"
        " and status in ('queued', 'processing', 'completed') order by id desc limit 1",
        owner,
        provider,
        upstream_job.id,
    )
    return id


def unfinished_retry(tx: Transaction, owner: str, id: str) -> str | None:
    """The unfinished job that is a retry of this one."""
    found: str | None = tx.value(
        "jobs",
        "select id from jobs where owner_id = $1 and retry_of = $2 and status in ('queued', 'processing') limit 1",
        owner,
        id,
    )
    return found


def mark_possibly_sent(tx: Transaction, owner: str, id: str, now: datetime) -> Job | None:
    """Move a queued job to processing because it may have been sent."""
    return _changed(tx, "status = 'processing', started_at = coalesce(started_at, $3)", "queued", owner, id, now)


def record_recovery(tx: Transaction, owner: str, id: str) -> Job | None:
    """Record that a restart found the job unfinished; counted only if its result was being processed."""
    count = f"recovery_count = recovery_count + case when upstream_state = '{DOWNLOADED}' then 1 else 0 end"
    return _changed(tx, count, "processing", owner, id)


def mark_downloaded(tx: Transaction, owner: str, id: str) -> Job | None:
    """Record that the result was downloaded; None if the job is no longer processing."""
    return _changed(tx, f"upstream_state = '{DOWNLOADED}'", "processing", owner, id)


def record_upstream_job(tx: Transaction, owner: str, id: str, pending: Pending, run_at: datetime) -> Job | None:
    """Store the upstream job and its state; None if the job is no longer processing."""
    return _changed(
        tx,
        "upstream_job_id = $3, upstream_poll_url = $4, upstream_state = $5, progress = $6, run_at = $7",
        "processing",
        owner,
        id,
        pending.upstream_job.id,
        pending.upstream_job.polling_url,
        pending.state,
        pending.progress,
        run_at,
    )


def record_late_upstream_job(tx: Transaction, owner: str, id: str, upstream_job: UpstreamJob) -> Job | None:
    """Store the upstream job of a job that was cancelled while it was submitted; None if nothing more is expected of
    it."""
    return one(
        tx,
        f"update jobs set upstream_job_id = $3, upstream_poll_url = $4"
        f" where id = $1 and owner_id = $2 and status = 'cancelled'"
        f" and late_result_policy is not null and upstream_job_id is null returning {COLUMNS}",
        id,
        owner,
        upstream_job.id,
        upstream_job.polling_url,
    )


def requeue(tx: Transaction, owner: str, id: str, run_at: datetime) -> Job | None:
    """From processing back to queued, to be started again at `run_at`."""
    return _changed(
        tx, "status = 'queued', run_at = $3, upstream_state = null, progress = null", "processing", owner, id, run_at
    )


def move(tx: Transaction, owner: str, id: str, now: datetime, model: Model) -> Job | None:
    """From processing back to queued, for another provider that has the same model; never when the job was submitted."""
    return one(
        tx,
        "update jobs set status = 'queued', run_at = $3, upstream_state = null, progress = null, provider = $4, model = $5,"
        " model_name = $6, upstream_model = $7, route = $8 where id = $1 and owner_id = $2 and status = 'processing'"
        f" and not cancel_requested and upstream_job_id is null returning {COLUMNS}",
        id,
        owner,
        now,
        model.provider,
        model.id,
        model.name,
        model.upstream_id,
        model.route,
    )


def complete(
    tx: Transaction, owner: str, id: str, now: datetime, done: Completed, warnings: Sequence[JobWarning]
) -> bool:
    """From processing to completed; False if it is no longer processing, or its result is to be discarded."""
    return _ended(
        tx,
        "status = 'completed', ended_at = $3, text = $4, usage = $5, cost_nano = $6, generation_id = $7,"
        " warnings = $8, progress = 100, run_at = null, late_result_policy = null",
        "(not cancel_requested or late_result_policy is distinct from 'discard')",
        owner,
        id,
        now,
        done.text,
        as_json(done.usage) if done.usage else None,
        done.cost_nano,
        done.generation_id,
        as_json(warnings),
    )


def fail(tx: Transaction, owner: str, id: str, now: datetime, failed: Failed) -> bool:
    """From processing to failed; False if it is no longer processing, or a cancel was requested."""
    return _ended(
        tx,
        "status = 'failed', ended_at = $3, error_code = $4, error_message = $5, error_detail = $6, text = $7,"
        " cost_nano = $8, run_at = null",
        "not cancel_requested",
        owner,
        id,
        now,
        failed.code.value,
        failed.message,
        failed.detail,
        failed.text,
        failed.cost_nano,
    )


def cancel(
    tx: Transaction, owner: str, id: str, now: datetime, late_result_policy: LateResultPolicy | None
) -> Job | None:
    """From queued or processing to cancelled; None if it has already ended. `late_result_policy` says what happens to a
    result that may still arrive; a queued job was never sent, so none can."""
    return one(
        tx,
        f"update jobs set status = 'cancelled', ended_at = $3, cancel_requested = true, run_at = null,"
        f" late_result_policy = case when status = 'processing' then $4 end,"
        f" cost_nano = case when status = 'queued' then 0 end"
        f" where id = $1 and owner_id = $2 and status in ('queued', 'processing') and deleted_at is null"
        f" returning {COLUMNS}",
        id,
        owner,
        now,
        late_result_policy.value if late_result_policy else None,
    )


def request_cancel(tx: Transaction, owner: str, id: str, late_result_policy: LateResultPolicy) -> Job | None:
    """Record a cancel request on a processing job and make it due at once, so that it is forwarded."""
    return _changed(
        tx,
        "cancel_requested = true, late_result_policy = $3, run_at = null",
        "processing",
        owner,
        id,
        late_result_policy.value,
    )


def finish_cancel(
    tx: Transaction, owner: str, id: str, now: datetime, cost_nano: int | None, has_result: bool
) -> Job | None:
    """From processing to cancelled, if a cancel was requested. With `has_result`, only if the result is to be
    discarded."""
    unwanted = " and late_result_policy = 'discard'" if has_result else ""
    return one(
        tx,
        f"update jobs set status = 'cancelled', ended_at = $3, cost_nano = $4, run_at = null, late_result_policy = null"
        f" where id = $1 and owner_id = $2 and status = 'processing' and cancel_requested{unwanted}"
        f" returning {COLUMNS}",
        id,
        owner,
        now,
        cost_nano,
    )


def end_late(
    tx: Transaction,
    owner: str,
    id: str,
    cost_nano: int | None,
    text: str | None,
    usage: Usage | None,
    warnings: Sequence[JobWarning],
) -> Job | None:
    """Store the cost of a cancelled job, and its text and warnings if its result is to be kept; nothing more is expected of it then.
    Returns the job as it was before, with its `late_result_policy`; None if nothing was expected."""
    row = tx.row(
        "jobs",
        f"select {COLUMNS} from jobs"
        f" where id = $1 and owner_id = $2 and status = 'cancelled' and late_result_policy is not null",
        id,
        owner,
    )
    if row is None:
        return None
    waiting = job_of(row)
    kept = waiting.late_result_policy is LateResultPolicy.KEEP and waiting.deleted_at is None
    tx.execute(
        "jobs",
        "update jobs set late_result_policy = null, cost_nano = coalesce(cost_nano, $3), text = $4, usage = $5,"
        " warnings = $6 where id = $1 and owner_id = $2",
        id,
        owner,
        cost_nano,
        text if kept else None,
        as_json(usage) if kept and usage else None,
        as_json(warnings if kept else waiting.warnings),
    )
    return waiting


def mark_deleted(tx: Transaction, owner: str, id: str, now: datetime) -> Job | None:
    """Soft-delete a job that has ended; the row and its cost remain."""
    return one(
        tx,
        f"update jobs set deleted_at = $3 where id = $1 and owner_id = $2 and deleted_at is null"
        f" and status in ('completed', 'failed', 'cancelled') returning {COLUMNS}",
        id,
        owner,
        now,
    )


def mark_restored(tx: Transaction, owner: str, id: str) -> bool:
    sql = "update jobs set deleted_at = null where id = $1 and owner_id = $2 and deleted_at is not null returning id"
    return tx.value("jobs", sql, id, owner) is not None


def find_any(tx: Transaction, id: str) -> Job | None:
    return one(tx, f"select {COLUMNS} from jobs where id = $1 and deleted_at is null", id)


def erase_any(tx: Transaction, ids: Sequence[str], long_ago: datetime) -> None:
    """Erase the content of ended jobs; only their status and cost remain. `long_ago` is too old to be restored."""
    tx.execute("job_events", "delete from job_events where job_id in (select unnest($1::text[]))", list(ids))
    tx.execute("job_inputs", "delete from job_inputs where job_id in (select unnest($1::text[]))", list(ids))
    tx.execute(
        "jobs",
        "update jobs set prompt = '', enhanced_prompt = null, search_text = '', system_prompt = null, params = '{}', text = null, error_detail = null,"
        " deleted_at = $2 where id in (select unnest($1::text[])) and ended_at is not null",
        list(ids),
        long_ago,
    )


def _changed(tx: Transaction, changes: str, state: str, owner: str, id: str, *parameters: Any) -> Job | None:
    return one(
        tx,
        f"update jobs set {changes} where id = $1 and owner_id = $2 and status = '{state}' returning {COLUMNS}",
        id,
        owner,
        *parameters,
    )


def _ended(tx: Transaction, changes: str, condition: str, owner: str, id: str, *parameters: Any) -> bool:
    """True if the job was changed. The row is not returned: it is not needed, and reading it would double the time."""
    where = f"id = $1 and owner_id = $2 and status = 'processing' and {condition}"
    return tx.count("jobs", f"update jobs set {changes} where {where}", id, owner, *parameters) == 1
