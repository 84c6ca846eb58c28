"""SQL of jobs. Ids sort by time, so newest first is `order by id desc` and a cursor is an id.

Every state change names the state it starts from, so a late response can never change a job that has ended.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from app.base.text import folded
from app.catalog.schemas import Model
from app.db.transaction import Row, Transaction
from app.jobs.queue_order import QueuePlace
from app.jobs.schemas import (
    EventType,
    GenerationType,
    Job,
    JobError,
    JobEvent,
    JobInput,
    JobInputRole,
    JobStatus,
    JobWarning,
    LateResultPolicy,
)
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Pending, UpstreamJob, Usage

_COLUMNS = (
    "id, owner_id, kind, generation_type, provider, model, model_name, upstream_model, route, prompt, system_prompt,"
    " params, status, progress, upstream_state, attempts, cancel_requested, error_code, error_message, text, usage,"
    " cost_nano, retry_of, batch_id, clip_id, plan_id, upstream_job_id, upstream_poll_url, run_at, created_at,"
    " started_at, ended_at, deleted_at, priority, late_result_policy, recovery_count,"
    " enhanced_prompt, enhanced_by, batch_position, paused, parent_asset_id, warnings, queue_rank"
)
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
        _json(job.params),
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
        _json(job.warnings),
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
        "job_events (job_id, owner_id, happened_at, event, detail)", job_id, owner, now, event.value, _json(detail)
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
    return _one(tx, f"select {_COLUMNS} from jobs where id = $1 and owner_id = $2 and deleted_at is null", id, owner)


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


def of_batch(tx: Transaction, owner: str, batch_id: str) -> list[Job]:
    """The newest job of each place in the batch that was not deleted, in order."""
    return _all(
        tx,
        f"select {_COLUMNS} from jobs where id in (select max(id) from jobs where owner_id = $1 and batch_id = $2"
        " and deleted_at is null group by batch_position) order by batch_position",
        owner,
        batch_id,
    )


def tally_batches(tx: Transaction, owner: str, ids: Sequence[str]) -> list[Row]:
    """Per batch and status, how many places have a job in it as their newest one, as rows of batch_id, status and jobs."""
    return tx.rows(
        "jobs",
        "select batch_id, status, count(*) as jobs from jobs where id in (select max(id) from jobs where owner_id = $1"
        " and batch_id in (select unnest($2::text[])) group by batch_id, batch_position) group by batch_id, status",
        owner,
        list(ids),
    )


def spent_by_batch(tx: Transaction, owner: str, ids: Sequence[str]) -> dict[str, int]:
    """What the jobs of these batches have cost, retries included; batches without a known cost are left out."""
    rows = tx.rows(
        "jobs",
        "select batch_id, cast(sum(cost_nano) as bigint) as spent from jobs where owner_id = $1"
        " and batch_id in (select unnest($2::text[])) and cost_nano is not null group by batch_id",
        owner,
        list(ids),
    )
    return {row["batch_id"]: row["spent"] for row in rows}


def set_paused(tx: Transaction, owner: str, batch_id: str, paused: bool) -> list[str]:
    """Pause or resume the unfinished jobs of a batch; returns their ids. To one that is processing it matters only when it has to
    be queued again."""
    rows = tx.rows(
        "jobs",
        "update jobs set paused = $3 where owner_id = $1 and batch_id = $2 and status in ('queued', 'processing')"
        " returning id",
        owner,
        batch_id,
        paused,
    )
    return [row["id"] for row in rows]


def cancel_queued(tx: Transaction, owner: str, batch_id: str, now: datetime) -> list[str]:
    """From queued to cancelled, for all jobs of a batch; returns their ids."""
    rows = tx.rows(
        "jobs",
        "update jobs set status = 'cancelled', ended_at = $3, cancel_requested = true, run_at = null, cost_nano = 0"
        " where owner_id = $1 and batch_id = $2 and status = 'queued' returning id",
        owner,
        batch_id,
        now,
    )
    return [row["id"] for row in rows]


def cancel_unsent(tx: Transaction, owner: str, ids: Sequence[str], now: datetime) -> list[str]:
    """From queued to cancelled, for those of these jobs that are queued; returns their ids."""
    rows = tx.rows(
        "jobs",
        "update jobs set status = 'cancelled', ended_at = $3, cancel_requested = true, run_at = null, cost_nano = 0"
        " where owner_id = $1 and id in (select unnest($2::text[])) and status = 'queued' returning id",
        owner,
        list(ids),
        now,
    )
    return [row["id"] for row in rows]


def queue_places(tx: Transaction, owner: str) -> list[QueuePlace]:
    """The places of the user's queued jobs, in any order."""
    rows = tx.rows("jobs", "select id, priority, queue_rank from jobs where owner_id = $1 and status = 'queued'", owner)
    return [QueuePlace(row["id"], row["priority"], row["queue_rank"] or row["id"]) for row in rows]


def set_queue_places(tx: Transaction, owner: str, places: Sequence[QueuePlace]) -> None:
    tx.execute(
        "jobs",
        "update jobs set priority = moved.priority, queue_rank = moved.queue_rank from (select unnest($2::text[]) as id,"
        " unnest($3::integer[]) as priority, unnest($4::text[]) as queue_rank) as moved"
        " where jobs.id = moved.id and owner_id = $1",
        owner,
        [place.id for place in places],
        [place.priority for place in places],
        [place.rank for place in places],
    )


def find_deleted(tx: Transaction, owner: str, id: str) -> Job | None:
    return _one(
        tx, f"select {_COLUMNS} from jobs where id = $1 and owner_id = $2 and deleted_at is not null", id, owner
    )


def newest(
    tx: Transaction,
    owner: str,
    *,
    kinds: Sequence[Kind],
    statuses: Sequence[JobStatus],
    before: str | None,
    limit: int,
    oldest_first: bool = False,
    enhancements: bool = True,
) -> list[Job]:
    """At most `limit` jobs of these kinds and statuses (empty means all): newest first and older than `before`, or with
    `oldest_first` the reverse. Without `enhancements`, jobs that rewrite a prompt are left out."""
    where, parameters = _where(owner, kinds, statuses, enhancements=enhancements)
    comparison, order = (">", "asc") if oldest_first else ("<", "desc")
    if before:
        parameters.append(before)
        where += f" and id {comparison} ${len(parameters)}"
    parameters.append(limit)
    sql = f"select {_COLUMNS} from jobs where {where} order by id {order} limit ${len(parameters)}"
    return _all(tx, sql, *parameters)


def edits(tx: Transaction, owner: str, asset_id: str, limit: int) -> list[Job]:
    """The latest jobs that edit this image, newest first."""
    return _all(
        tx,
        f"select {_COLUMNS} from jobs where owner_id = $1 and parent_asset_id = $2 and deleted_at is null"
        " order by id desc limit $3",
        owner,
        asset_id,
        limit,
    )


def count(
    tx: Transaction, owner: str, *, kinds: Sequence[Kind], statuses: Sequence[JobStatus], enhancements: bool = True
) -> int:
    where, parameters = _where(owner, kinds, statuses, enhancements=enhancements)
    return int(tx.value("jobs", f"select count(*) from jobs where {where}", *parameters))


def tally(tx: Transaction, owner: str) -> list[Row]:
    """The number of jobs per kind and status, as rows, without those that rewrite a prompt."""
    return tx.rows(
        "jobs",
        "select kind, status, count(*) as jobs from jobs"
        f" where owner_id = $1 and deleted_at is null{_NO_ENHANCEMENTS} group by kind, status",
        owner,
    )


def claim_any(tx: Transaction, now: datetime, ids: Sequence[str]) -> list[Job]:
    """Move these queued jobs to processing: from here on the paid request may be sent. Counts as an attempt unless the
    job already has an upstream job, which is then only polled."""
    return _all(
        tx,
        f"update jobs set status = 'processing', run_at = null,"
        f" attempts = attempts + case when upstream_job_id is null then 1 else 0 end,"
        f" started_at = coalesce(started_at, $1) where id in (select unnest($2::text[])) and status = 'queued'"
        f" and paused is not true returning {_COLUMNS}",
        now,
        list(ids),
    )


def durations_any(tx: Transaction, model: str, limit: int) -> list[float]:
    """How long the latest completed jobs of a model took, in seconds."""
    rows = tx.rows(
        "jobs",
        "select started_at, ended_at from jobs where model = $1 and status = 'completed' order by id desc limit $2",
        model,
        limit,
    )
    return [(row["ended_at"] - row["started_at"]).total_seconds() for row in rows if row["started_at"]]


def costs_any(tx: Transaction, model: str, limit: int) -> list[tuple[dict[str, Any], int]]:
    """The parameters and costs of the latest completed jobs of a model whose cost is known."""
    rows = tx.rows(
        "jobs",
        "select params, cost_nano from jobs where model = $1 and status = 'completed' and cost_nano is not null"
        " order by id desc limit $2",
        model,
        limit,
    )
    return [(msgspec.json.decode(row["params"]), row["cost_nano"]) for row in rows]


def spent_by_provider_any(tx: Transaction, since: datetime) -> dict[str, int]:
    rows = tx.rows(
        "jobs",
        "select provider, cast(sum(cost_nano) as bigint) as spent from jobs"
        " where ended_at >= $1 and cost_nano is not null group by provider",
        since,
    )
    return {row["provider"]: row["spent"] for row in rows}


def last_cost_any(tx: Transaction, model: str) -> int | None:
    """The cost of the latest completed job of a model whose cost is known."""
    cost: int | None = tx.value(
        "jobs",
        "select cost_nano from jobs where model = $1 and status = 'completed' and cost_nano is not null"
        " order by id desc limit 1",
        model,
    )
    return cost


def awaiting_late_any(tx: Transaction) -> list[Job]:
    """Cancelled jobs whose provider may still send a result or a cost."""
    return _all(
        tx, f"select {_COLUMNS} from jobs where status = 'cancelled' and late_result_policy is not null order by id"
    )


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


def unfinished_any(tx: Transaction) -> list[Job]:
    return _all(tx, f"select {_COLUMNS} from jobs where status in ('queued', 'processing') order by id")


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
    return _one(
        tx,
        f"update jobs set upstream_job_id = $3, upstream_poll_url = $4"
        f" where id = $1 and owner_id = $2 and status = 'cancelled'"
        f" and late_result_policy is not null and upstream_job_id is null returning {_COLUMNS}",
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
    return _one(
        tx,
        "update jobs set status = 'queued', run_at = $3, upstream_state = null, progress = null, provider = $4, model = $5,"
        " model_name = $6, upstream_model = $7, route = $8 where id = $1 and owner_id = $2 and status = 'processing'"
        f" and not cancel_requested and upstream_job_id is null returning {_COLUMNS}",
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
        _json(done.usage) if done.usage else None,
        done.cost_nano,
        done.generation_id,
        _json(warnings),
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
    return _one(
        tx,
        f"update jobs set status = 'cancelled', ended_at = $3, cancel_requested = true, run_at = null,"
        f" late_result_policy = case when status = 'processing' then $4 end,"
        f" cost_nano = case when status = 'queued' then 0 end"
        f" where id = $1 and owner_id = $2 and status in ('queued', 'processing') and deleted_at is null"
        f" returning {_COLUMNS}",
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
    return _one(
        tx,
        f"update jobs set status = 'cancelled', ended_at = $3, cost_nano = $4, run_at = null, late_result_policy = null"
        f" where id = $1 and owner_id = $2 and status = 'processing' and cancel_requested{unwanted}"
        f" returning {_COLUMNS}",
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
        f"select {_COLUMNS} from jobs"
        f" where id = $1 and owner_id = $2 and status = 'cancelled' and late_result_policy is not null",
        id,
        owner,
    )
    if row is None:
        return None
    waiting = _job(row)
    kept = waiting.late_result_policy is LateResultPolicy.KEEP and waiting.deleted_at is None
    tx.execute(
        "jobs",
        "update jobs set late_result_policy = null, cost_nano = coalesce(cost_nano, $3), text = $4, usage = $5,"
        " warnings = $6 where id = $1 and owner_id = $2",
        id,
        owner,
        cost_nano,
        text if kept else None,
        _json(usage) if kept and usage else None,
        _json(warnings if kept else waiting.warnings),
    )
    return waiting


def mark_deleted(tx: Transaction, owner: str, id: str, now: datetime) -> Job | None:
    """Soft-delete a job that has ended; the row and its cost remain."""
    return _one(
        tx,
        f"update jobs set deleted_at = $3 where id = $1 and owner_id = $2 and deleted_at is null"
        f" and status in ('completed', 'failed', 'cancelled') returning {_COLUMNS}",
        id,
        owner,
        now,
    )


def mark_restored(tx: Transaction, owner: str, id: str) -> bool:
    sql = "update jobs set deleted_at = null where id = $1 and owner_id = $2 and deleted_at is not null returning id"
    return tx.value("jobs", sql, id, owner) is not None


def find_any(tx: Transaction, id: str) -> Job | None:
    return _one(tx, f"select {_COLUMNS} from jobs where id = $1 and deleted_at is null", id)


def newest_any(
    tx: Transaction,
    *,
    kinds: Sequence[Kind],
    statuses: Sequence[JobStatus],
    owners: Sequence[str] | None,
    terms: Sequence[str],
    before: str | None,
    limit: int,
) -> list[Job]:
    """All users' jobs, newest first; `owners` None means every user."""
    where, parameters = _where_any(kinds, statuses, owners, terms)
    if before:
        parameters.append(before)
        where += f" and id < ${len(parameters)}"
    parameters.append(limit)
    sql = f"select {_COLUMNS} from jobs where {where} order by id desc limit ${len(parameters)}"
    return _all(tx, sql, *parameters)


def count_any(
    tx: Transaction,
    *,
    kinds: Sequence[Kind],
    statuses: Sequence[JobStatus],
    owners: Sequence[str] | None,
    terms: Sequence[str],
) -> int:
    where, parameters = _where_any(kinds, statuses, owners, terms)
    return int(tx.value("jobs", f"select count(*) from jobs where {where}", *parameters))


def ended_since(tx: Transaction, owner: str, since: datetime, limit: int) -> list[Row]:
    """The user's jobs that were completed or failed after that time, oldest first: id, kind, status, prompt and ended_at."""
    return tx.rows(
        "jobs",
        "select id, kind, status, prompt, ended_at from jobs where owner_id = $1 and ended_at > $2 and deleted_at is null"
        " and status in ('completed', 'failed') order by ended_at limit $3",
        owner,
        since,
        limit,
    )


def tally_any(tx: Transaction) -> list[Row]:
    """The number of jobs per status, as rows."""
    return tx.rows("jobs", "select status, count(*) as jobs from jobs where deleted_at is null group by status")


def ended_before_any(
    tx: Transaction, before: datetime, *, kinds: Sequence[Kind], statuses: Sequence[JobStatus]
) -> list[str]:
    where, parameters = _where_any(kinds, statuses, None, ())
    parameters.append(before)
    rows = tx.rows(
        "jobs", f"select id from jobs where {where} and ended_at < ${len(parameters)} order by id", *parameters
    )
    return [row["id"] for row in rows]


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


def unfinished(tx: Transaction, owner: str) -> list[Job]:
    sql = f"select {_COLUMNS} from jobs where owner_id = $1 and status in ('queued', 'processing') order by id"
    return _all(tx, sql, owner)


def ids(tx: Transaction, owner: str) -> list[str]:
    """The ids of all jobs, including deleted ones."""
    return [row["id"] for row in tx.rows("jobs", "select id from jobs where owner_id = $1", owner)]


def _where_any(
    kinds: Sequence[Kind], statuses: Sequence[JobStatus], owners: Sequence[str] | None, terms: Sequence[str]
) -> tuple[str, list[Any]]:
    where, parameters = "deleted_at is null", list[Any]()
    if owners is not None:
        parameters.append(list(owners))
        where += " and owner_id in (select unnest($1::text[]))"
    where += _filters(kinds, statuses, parameters)
    for term in terms:
        parameters.append(folded(term))
        where += f" and strpos(search_text, ${len(parameters)}) > 0"
    return where, parameters


def _changed(tx: Transaction, changes: str, state: str, owner: str, id: str, *parameters: Any) -> Job | None:
    return _one(
        tx,
        f"update jobs set {changes} where id = $1 and owner_id = $2 and status = '{state}' returning {_COLUMNS}",
        id,
        owner,
        *parameters,
    )


def _ended(tx: Transaction, changes: str, condition: str, owner: str, id: str, *parameters: Any) -> bool:
    """True if the job was changed. The row is not returned: it is not needed, and reading it would double the time."""
    where = f"id = $1 and owner_id = $2 and status = 'processing' and {condition}"
    return tx.count("jobs", f"update jobs set {changes} where {where}", id, owner, *parameters) == 1


_NO_ENHANCEMENTS = f" and generation_type <> '{GenerationType.PROMPT_ENHANCEMENT}'"


def _where(
    owner: str, kinds: Sequence[Kind], statuses: Sequence[JobStatus], *, enhancements: bool
) -> tuple[str, list[Any]]:
    parameters: list[Any] = [owner]
    where = "owner_id = $1 and deleted_at is null" + ("" if enhancements else _NO_ENHANCEMENTS)
    return where + _filters(kinds, statuses, parameters), parameters


def _filters(kinds: Sequence[Kind], statuses: Sequence[JobStatus], parameters: list[Any]) -> str:
    """SQL conditions for these filters; their values are appended to `parameters`."""
    where = ""
    for column, values in (("kind", kinds), ("status", statuses)):
        if values:
            parameters.append([value.value for value in values])
            where += f" and {column} in (select unnest(${len(parameters)}::text[]))"
    return where


def _one(tx: Transaction, sql: str, *parameters: Any) -> Job | None:
    row = tx.row("jobs", sql, *parameters)
    return _job(row) if row else None


def _all(tx: Transaction, sql: str, *parameters: Any) -> list[Job]:
    return [_job(row) for row in tx.rows("jobs", sql, *parameters)]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _job(row: Row) -> Job:
    values = dict(row)
    code, message = values.pop("error_code"), values.pop("error_message")
    upstream_job_id, upstream_poll_url = values.pop("upstream_job_id"), values.pop("upstream_poll_url")
    usage, warnings = values.pop("usage"), values.pop("warnings")
    return msgspec.convert(
        {
            **values,
            "params": msgspec.json.decode(values["params"]),
            "error": JobError(ErrorCode(code), message or "") if code else None,
            "upstream_job": UpstreamJob(upstream_job_id, upstream_poll_url) if upstream_job_id else None,
            "usage": msgspec.json.decode(usage, type=Usage) if usage else None,
            "warnings": msgspec.json.decode(warnings, type=tuple[JobWarning, ...]) if warnings else (),
        },
        Job,
    )
