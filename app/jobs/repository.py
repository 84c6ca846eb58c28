"""SQL of jobs. Ids sort by time, so newest first is `order by id desc` and a cursor is an id.

Every change of state names the state it starts from, so a late_result_policy answer can never overturn what has been settled.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from app.db.database import Row, Transaction
from app.jobs.schemas import Event, EventType, Job, JobError, LateResultPolicy, Status
from app.providers.contract import ErrorCode, Kind, UpstreamJob, Usage

_COLUMNS = (
    "id, owner_id, kind, generation_type, provider, model, model_name, upstream_model, route, prompt, system_prompt,"
    " params, status, progress, upstream_state, attempts, cancel_requested, error_code, error_message, text, usage,"
    " cost_nano, input_asset_id, retry_of, upstream_job_id, upstream_poll_url, run_at, created_at, started_at, ended_at, deleted_at,"
    " priority, late_result_policy, recovery_count"
)
DOWNLOADED = "downloaded"


def add(tx: Transaction, owner: str, job: Job) -> None:
    tx.insert(
        "jobs (id, owner_id, kind, generation_type, provider, model, model_name, upstream_model, route, prompt,"
        " system_prompt, params, status, input_asset_id, retry_of, upstream_job_id, upstream_poll_url, run_at, created_at, priority)",
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
        Status.QUEUED.value,
        job.input_asset_id,
        job.retry_of,
        job.upstream_job.id if job.upstream_job else None,
        job.upstream_job.polling_url if job.upstream_job else None,
        job.run_at,
        job.created_at,
        job.priority,
    )


def add_event(tx: Transaction, owner: str, job_id: str, now: datetime, event: EventType, **detail: Any) -> None:
    """Add an entry to the job's timeline."""
    tx.insert(
        "job_events (job_id, owner_id, happened_at, event, detail)", job_id, owner, now, event.value, _json(detail)
    )


def events(tx: Transaction, owner: str, job_id: str) -> list[Event]:
    rows = tx.rows(
        "select happened_at, event, detail from job_events where job_id = $1 and owner_id = $2 order by happened_at",
        job_id,
        owner,
    )
    return [
        Event(at=row["happened_at"], event=EventType(row["event"]), detail=msgspec.json.decode(row["detail"]))
        for row in rows
    ]


def find(tx: Transaction, owner: str, id: str) -> Job | None:
    row = tx.row(f"select {_COLUMNS} from jobs where id = $1 and owner_id = $2 and deleted_at is null", id, owner)
    return _job(row) if row else None


def find_deleted(tx: Transaction, owner: str, id: str) -> Job | None:
    row = tx.row(f"select {_COLUMNS} from jobs where id = $1 and owner_id = $2 and deleted_at is not null", id, owner)
    return _job(row) if row else None


def newest(
    tx: Transaction,
    owner: str,
    *,
    kinds: Sequence[Kind],
    statuses: Sequence[Status],
    before: str | None,
    limit: int,
    oldest_first: bool = False,
) -> list[Job]:
    """At most `limit` jobs of these kinds in these states (none named: all), newest first and older than `before`, or the
    other way round."""
    where, parameters = _where(owner, kinds, statuses)
    beyond, order = (">", "asc") if oldest_first else ("<", "desc")
    if before:
        parameters.append(before)
        where += f" and id {beyond} ${len(parameters)}"
    parameters.append(limit)
    sql = f"select {_COLUMNS} from jobs where {where} order by id {order} limit ${len(parameters)}"
    return [_job(row) for row in tx.rows(sql, *parameters)]


def count(tx: Transaction, owner: str, *, kinds: Sequence[Kind], statuses: Sequence[Status]) -> int:
    where, parameters = _where(owner, kinds, statuses)
    return int(tx.value(f"select count(*) from jobs where {where}", *parameters))


def tally(tx: Transaction, owner: str) -> list[Row]:
    """Rows of kind, status, and how many."""
    return tx.rows(
        "select kind, status, count(*) as jobs from jobs"
        " where owner_id = $1 and deleted_at is null group by kind, status",
        owner,
    )


def remember(
    tx: Transaction, owner: str, key: str, request: str, job_id: str, now: datetime, since: datetime
) -> Row | None:
    """Note a request by its key; when the key was taken `since`, the row that has it instead (request_hash, job_id)."""
    added = tx.value(
        "insert into idempotency as known (owner_id, idempotency_key, request_hash, job_id, created_at)"
        " values ($1, $2, $3, $4, $5) on conflict (owner_id, idempotency_key) do update"
        " set request_hash = excluded.request_hash, job_id = excluded.job_id, created_at = excluded.created_at"
        " where known.created_at < $6 returning job_id",
        owner,
        key,
        request,
        job_id,
        now,
        since,
    )
    if added is not None:
        return None
    return tx.row(
        "select request_hash, job_id from idempotency where owner_id = $1 and idempotency_key = $2", owner, key
    )


def forget_any(tx: Transaction, before: datetime) -> None:
    """Drop the keys of requests older than that."""
    tx.execute("delete from idempotency where created_at < $1", before)


def claim_any(tx: Transaction, now: datetime, ids: Sequence[str]) -> list[Job]:
    """Take these queued jobs into work: from here on the paid call may happen. Counts as an attempt, except where there
    is a ticket already: then nothing is sent but the question what became of it."""
    rows = tx.rows(
        f"update jobs set status = 'processing', run_at = null,"
        f" attempts = attempts + case when upstream_job_id is null then 1 else 0 end,"
        f" started_at = coalesce(started_at, $1) where id in (select unnest($2::text[])) and status = 'queued'"
        f" returning {_COLUMNS}",
        now,
        list(ids),
    )
    return [_job(row) for row in rows]


def durations_any(tx: Transaction, model: str, limit: int) -> list[float]:
    """How many seconds the latest completed jobs of a model took."""
    rows = tx.rows(
        "select started_at, ended_at from jobs where model = $1 and status = 'completed' order by id desc limit $2",
        model,
        limit,
    )
    return [(row["ended_at"] - row["started_at"]).total_seconds() for row in rows if row["started_at"]]


def last_cost_any(tx: Transaction, model: str) -> int | None:
    """What the latest completed job of a model cost, of those whose cost is known."""
    cost: int | None = tx.value(
        "select cost_nano from jobs where model = $1 and status = 'completed' and cost_nano is not null"
        " order by id desc limit 1",
        model,
    )
    return cost


def late_any(tx: Transaction) -> list[Job]:
    """Cancelled jobs of whose provider something is still expected."""
    return [
        _job(row)
        for row in tx.rows(
            f"select {_COLUMNS} from jobs where status = 'cancelled' and late_result_policy is not null order by id"
        )
    ]


def holder(tx: Transaction, owner: str, provider: str, upstream_job: UpstreamJob) -> str | None:
    """The job that has fetched the result of this ticket, or is about to."""
    id: str | None = tx.value(
        "select id from jobs where owner_id = $1 and provider = $2 and upstream_job_id = $3 and deleted_at is null"
        " and status in ('queued', 'processing', 'completed') order by id desc limit 1",
        owner,
        provider,
        upstream_job.id,
    )
    return id


def retry_of(tx: Transaction, owner: str, id: str) -> str | None:
    """The unfinished job that is a retry of this one."""
    found: str | None = tx.value(
        "select id from jobs where owner_id = $1 and retry_of = $2 and status in ('queued', 'processing') limit 1",
        owner,
        id,
    )
    return found


def doubt(tx: Transaction, owner: str, id: str, now: datetime) -> Job | None:
    """A queued job of which nobody can know whether it was sent counts as being sent."""
    return _changed(tx, "status = 'processing', started_at = coalesce(started_at, $3)", "queued", owner, id, now)


def note_rescue(tx: Transaction, owner: str, id: str) -> Job | None:
    """A start found it unfinished, which speaks against it when its result was being looked at."""
    count = f"recovery_count = recovery_count + case when upstream_state = '{DOWNLOADED}' then 1 else 0 end"
    return _changed(tx, count, "processing", owner, id)


def note_download(tx: Transaction, owner: str, id: str) -> Job | None:
    """Its result is here; None when the job is no longer processing."""
    return _changed(tx, f"upstream_state = '{DOWNLOADED}'", "processing", owner, id)


def unfinished_any(tx: Transaction) -> list[Job]:
    return [
        _job(row)
        for row in tx.rows(f"select {_COLUMNS} from jobs where status in ('queued', 'processing') order by id")
    ]


def put_ticket(
    tx: Transaction,
    owner: str,
    id: str,
    upstream_job: UpstreamJob,
    *,
    state: str,
    progress: int | None,
    run_at: datetime,
) -> Job | None:
    """Write down the provider's ticket or what it said at a poll; None when the job is no longer processing."""
    return _changed(
        tx,
        "upstream_job_id = $3, upstream_poll_url = $4, upstream_state = $5, progress = $6, run_at = $7",
        "processing",
        owner,
        id,
        upstream_job.id,
        upstream_job.polling_url,
        state,
        progress,
        run_at,
    )


def put_late_ticket(tx: Transaction, owner: str, id: str, upstream_job: UpstreamJob) -> Job | None:
    """The ticket of a job that was cancelled while it was being sent; None when nothing is expected of it."""
    row = tx.row(
        f"update jobs set upstream_job_id = $3, upstream_poll_url = $4 where id = $1 and owner_id = $2 and status = 'cancelled'"
        f" and late_result_policy is not null and upstream_job_id is null returning {_COLUMNS}",
        id,
        owner,
        upstream_job.id,
        upstream_job.polling_url,
    )
    return _job(row) if row else None


def put_back(tx: Transaction, owner: str, id: str, run_at: datetime) -> Job | None:
    """From processing to queued again, to be tried anew when run_at."""
    return _changed(
        tx, "status = 'queued', run_at = $3, upstream_state = null, progress = null", "processing", owner, id, run_at
    )


def complete(
    tx: Transaction,
    owner: str,
    id: str,
    now: datetime,
    *,
    text: str | None,
    usage: Usage | None,
    cost_nano: int | None,
    generation_id: str | None,
) -> bool:
    """From processing to completed; False when it is not processing any more, or its result is not wanted."""
    return _ended(
        tx,
        "status = 'completed', ended_at = $3, text = $4, usage = $5, cost_nano = $6, generation_id = $7,"
        " progress = 100, run_at = null, late_result_policy = null",
        "(not cancel_requested or late_result_policy is distinct from 'discard')",
        owner,
        id,
        now,
        text,
        _json(usage) if usage else None,
        cost_nano,
        generation_id,
    )


def fail(
    tx: Transaction,
    owner: str,
    id: str,
    now: datetime,
    *,
    code: ErrorCode,
    message: str,
    detail: str,
    text: str | None = None,
    cost_nano: int | None = None,
) -> bool:
    """From processing to failed; False when it is not processing any more, or its person wished it stopped."""
    return _ended(
        tx,
        "status = 'failed', ended_at = $3, error_code = $4, error_message = $5, error_detail = $6, text = $7,"
        " cost_nano = $8, run_at = null",
        "not cancel_requested",
        owner,
        id,
        now,
        code.value,
        message,
        detail,
        text,
        cost_nano,
    )


def cancel(
    tx: Transaction, owner: str, id: str, now: datetime, late_result_policy: LateResultPolicy | None
) -> Job | None:
    """From queued or processing to cancelled; None when it has ended before. `late_result_policy` says what becomes of a result that
    may still come; a queued job has sent nothing, so nothing can come."""
    row = tx.row(
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
    return _job(row) if row else None


def wish_cancel(tx: Transaction, owner: str, id: str, late_result_policy: LateResultPolicy) -> Job | None:
    """Note on a processing job that the person wants it stopped; it is run_at for that at once."""
    return _changed(
        tx,
        "cancel_requested = true, late_result_policy = $3, run_at = null",
        "processing",
        owner,
        id,
        late_result_policy.value,
    )


def stop(tx: Transaction, owner: str, id: str, now: datetime, cost_nano: int | None, keeping: bool) -> Job | None:
    """From processing to cancelled, when the person has wished it; with `keeping` not when a result is welcome."""
    unwanted = " and late_result_policy = 'discard'" if keeping else ""
    row = tx.row(
        f"update jobs set status = 'cancelled', ended_at = $3, cost_nano = $4, run_at = null, late_result_policy = null"
        f" where id = $1 and owner_id = $2 and status = 'processing' and cancel_requested{unwanted}"
        f" returning {_COLUMNS}",
        id,
        owner,
        now,
        cost_nano,
    )
    return _job(row) if row else None


def end_late(
    tx: Transaction, owner: str, id: str, cost_nano: int | None, text: str | None, usage: Usage | None
) -> Job | None:
    """What a cancelled job turned out to have cost, and its text when it is to be kept; nothing more is expected of it
    then. Returns it as it was, with its `late_result_policy`; None when nothing was expected."""
    row = tx.row(
        f"select {_COLUMNS} from jobs where id = $1 and owner_id = $2 and status = 'cancelled' and late_result_policy is not null",
        id,
        owner,
    )
    if row is None:
        return None
    waiting = _job(row)
    kept = waiting.late_result_policy is LateResultPolicy.KEEP and waiting.deleted_at is None
    tx.execute(
        "update jobs set late_result_policy = null, cost_nano = coalesce(cost_nano, $3), text = $4, usage = $5"
        " where id = $1 and owner_id = $2",
        id,
        owner,
        cost_nano,
        text if kept else None,
        _json(usage) if kept and usage else None,
    )
    return waiting


def mark_deleted(tx: Transaction, owner: str, id: str, now: datetime) -> Job | None:
    """Hide a job that has ended; the row stays and keeps its cost."""
    row = tx.row(
        f"update jobs set deleted_at = $3 where id = $1 and owner_id = $2 and deleted_at is null"
        f" and status in ('completed', 'failed', 'cancelled') returning {_COLUMNS}",
        id,
        owner,
        now,
    )
    return _job(row) if row else None


def mark_restored(tx: Transaction, owner: str, id: str) -> bool:
    sql = "update jobs set deleted_at = null where id = $1 and owner_id = $2 and deleted_at is not null returning id"
    return tx.value(sql, id, owner) is not None


def find_any(tx: Transaction, id: str) -> Job | None:
    row = tx.row(f"select {_COLUMNS} from jobs where id = $1 and deleted_at is null", id)
    return _job(row) if row else None


def newest_any(
    tx: Transaction,
    *,
    kinds: Sequence[Kind],
    statuses: Sequence[Status],
    owners: Sequence[str] | None,
    words: Sequence[str],
    before: str | None,
    limit: int,
) -> list[Job]:
    """Everybody's jobs, newest first; `owners` None means all people."""
    where, parameters = _everybody(kinds, statuses, owners, words)
    if before:
        parameters.append(before)
        where += f" and id < ${len(parameters)}"
    parameters.append(limit)
    sql = f"select {_COLUMNS} from jobs where {where} order by id desc limit ${len(parameters)}"
    return [_job(row) for row in tx.rows(sql, *parameters)]


def count_any(
    tx: Transaction,
    *,
    kinds: Sequence[Kind],
    statuses: Sequence[Status],
    owners: Sequence[str] | None,
    words: Sequence[str],
) -> int:
    where, parameters = _everybody(kinds, statuses, owners, words)
    return int(tx.value(f"select count(*) from jobs where {where}", *parameters))


def tally_any(tx: Transaction) -> list[Row]:
    """Rows of status, and how many there are."""
    return tx.rows("select status, count(*) as jobs from jobs where deleted_at is null group by status")


def ended_before_any(
    tx: Transaction, before: datetime, *, kinds: Sequence[Kind], statuses: Sequence[Status]
) -> list[str]:
    where, parameters = _everybody(kinds, statuses, None, ())
    parameters.append(before)
    rows = tx.rows(f"select id from jobs where {where} and ended_at < ${len(parameters)} order by id", *parameters)
    return [row["id"] for row in rows]


def erase_any(tx: Transaction, ids: Sequence[str], long_ago: datetime) -> None:
    """Of ended jobs nothing stays but that they were, how they ended, and what they cost; no undo reaches back so far."""
    tx.execute("delete from job_events where job_id in (select unnest($1::text[]))", list(ids))
    tx.execute(
        "update jobs set prompt = '', system_prompt = null, params = '{}', text = null, error_detail = null,"
        " deleted_at = $2 where id in (select unnest($1::text[])) and ended_at is not null",
        list(ids),
        long_ago,
    )


def unfinished(tx: Transaction, owner: str) -> list[Job]:
    sql = f"select {_COLUMNS} from jobs where owner_id = $1 and status in ('queued', 'processing') order by id"
    return [_job(row) for row in tx.rows(sql, owner)]


def ids(tx: Transaction, owner: str) -> list[str]:
    """Of all jobs, deleted ones too."""
    return [row["id"] for row in tx.rows("select id from jobs where owner_id = $1", owner)]


def _everybody(
    kinds: Sequence[Kind], statuses: Sequence[Status], owners: Sequence[str] | None, words: Sequence[str]
) -> tuple[str, list[Any]]:
    where, parameters = "deleted_at is null", list[Any]()
    if owners is not None:
        parameters.append(list(owners))
        where += " and owner_id in (select unnest($1::text[]))"
    where += _among(kinds, statuses, parameters)
    for word in words:
        parameters.append(word.lower())
        where += f" and strpos(lower(prompt), ${len(parameters)}) > 0"
    return where, parameters


def _changed(tx: Transaction, changes: str, state: str, owner: str, id: str, *parameters: Any) -> Job | None:
    row = tx.row(
        f"update jobs set {changes} where id = $1 and owner_id = $2 and status = '{state}' returning {_COLUMNS}",
        id,
        owner,
        *parameters,
    )
    return _job(row) if row else None


def _ended(tx: Transaction, changes: str, condition: str, owner: str, id: str, *parameters: Any) -> bool:
    """Without the row, which nobody needs any more and which would cost as much again."""
    where = f"id = $1 and owner_id = $2 and status = 'processing' and {condition}"
    return tx.count(f"update jobs set {changes} where {where}", id, owner, *parameters) == 1


def _where(owner: str, kinds: Sequence[Kind], statuses: Sequence[Status]) -> tuple[str, list[Any]]:
    parameters: list[Any] = [owner]
    return "owner_id = $1 and deleted_at is null" + _among(kinds, statuses, parameters), parameters


def _among(kinds: Sequence[Kind], statuses: Sequence[Status], parameters: list[Any]) -> str:
    """Further conditions; their values are added to `parameters`."""
    where = ""
    for column, values in (("kind", kinds), ("status", statuses)):
        if values:
            parameters.append([value.value for value in values])
            where += f" and {column} in (select unnest(${len(parameters)}::text[]))"
    return where


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _job(row: Row) -> Job:
    values = dict(row)
    code, message = values.pop("error_code"), values.pop("error_message")
    upstream_job_id, upstream_poll_url = values.pop("upstream_job_id"), values.pop("upstream_poll_url")
    usage = values.pop("usage")
    return msgspec.convert(
        {
            **values,
            "params": msgspec.json.decode(values["params"]),
            "error": JobError(ErrorCode(code), message or "") if code else None,
            "upstream_job": UpstreamJob(upstream_job_id, upstream_poll_url) if upstream_job_id else None,
            "usage": msgspec.json.decode(usage, type=Usage) if usage else None,
        },
        Job,
    )
