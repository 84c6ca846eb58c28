"""How a row of `jobs` becomes a Job, for the modules with SQL of jobs."""

from typing import Any

import msgspec

from app.db.transaction import Row, Transaction
from app.jobs.schemas import Job, JobError, JobWarning
from app.providers.contract import ErrorCode, UpstreamJob, Usage

COLUMNS = (
    "id, owner_id, kind, generation_type, provider, model, model_name, upstream_model, route, prompt, system_prompt,"
    " params, status, progress, upstream_state, attempts, cancel_requested, error_code, error_message, text, usage,"
    " cost_nano, retry_of, batch_id, clip_id, plan_id, upstream_job_id, upstream_poll_url, run_at, created_at,"
    " started_at, ended_at, deleted_at, priority, late_result_policy, recovery_count,"
    " enhanced_prompt, enhanced_by, batch_position, paused, parent_asset_id, warnings, queue_rank"
)


def one(tx: Transaction, sql: str, *parameters: Any) -> Job | None:
    """The job that the statement returns; it returns COLUMNS."""
    row = tx.row("jobs", sql, *parameters)
    return job_of(row) if row else None


def many(tx: Transaction, sql: str, *parameters: Any) -> list[Job]:
    """All jobs that the statement returns; it returns COLUMNS."""
    return [job_of(row) for row in tx.rows("jobs", sql, *parameters)]


def job_of(row: Row) -> Job:
    """The job of a row with COLUMNS, without its inputs and assets."""
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


def as_json(value: object) -> str:
    """A value as it is stored in a text column."""
    return msgspec.json.encode(value).decode()
