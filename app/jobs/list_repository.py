"""SQL of many jobs: lists, newest first, and counts, durations and costs of all that match. Ids sort by time, so newest first is
`order by id desc` and a cursor is an id."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from app.base.text import folded
from app.db.transaction import Row, Transaction
from app.jobs.job_rows import COLUMNS, many
from app.jobs.schemas import GenerationType, Job, JobStatus
from app.providers.contract import Kind

_NO_ENHANCEMENTS = f" and generation_type <> '{GenerationType.PROMPT_ENHANCEMENT}'"


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
    sql = f"select {COLUMNS} from jobs where {where} order by id {order} limit ${len(parameters)}"
    return many(tx, sql, *parameters)


def edits(tx: Transaction, owner: str, asset_id: str, limit: int) -> list[Job]:
    """The latest jobs that edit this image, newest first."""
    return many(
        tx,
        f"select {COLUMNS} from jobs where owner_id = $1 and parent_asset_id = $2 and deleted_at is null"
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


def unfinished(tx: Transaction, owner: str) -> list[Job]:
    sql = f"select {COLUMNS} from jobs where owner_id = $1 and status in ('queued', 'processing') order by id"
    return many(tx, sql, owner)


def unfinished_any(tx: Transaction) -> list[Job]:
    return many(tx, f"select {COLUMNS} from jobs where status in ('queued', 'processing') order by id")


def awaiting_late_any(tx: Transaction) -> list[Job]:
    """Cancelled jobs whose provider may still send a result or a cost."""
    return many(
        tx, f"select {COLUMNS} from jobs where status = 'cancelled' and late_result_policy is not null order by id"
    )


def ids(tx: Transaction, owner: str) -> list[str]:
    """The ids of all jobs, including deleted ones."""
    return [row["id"] for row in tx.rows("jobs", "select id from jobs where owner_id = $1", owner)]


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
    sql = f"select {COLUMNS} from jobs where {where} order by id desc limit ${len(parameters)}"
    return many(tx, sql, *parameters)


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


def ended_before_any(
    tx: Transaction, before: datetime, *, kinds: Sequence[Kind], statuses: Sequence[JobStatus]
) -> list[str]:
    where, parameters = _where_any(kinds, statuses, None, ())
    parameters.append(before)
    rows = tx.rows(
        "jobs", f"select id from jobs where {where} and ended_at < ${len(parameters)} order by id", *parameters
    )
    return [row["id"] for row in rows]


def tally(tx: Transaction, owner: str) -> list[Row]:
    """The number of jobs per kind and status, as rows, without those that rewrite a prompt."""
    return tx.rows(
        "jobs",
        "select kind, status, count(*) as jobs from jobs"
        f" where owner_id = $1 and deleted_at is null{_NO_ENHANCEMENTS} group by kind, status",
        owner,
    )


def tally_any(tx: Transaction) -> list[Row]:
    """The number of jobs per status, as rows."""
    return tx.rows("jobs", "select status, count(*) as jobs from jobs where deleted_at is null group by status")


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


def last_cost_any(tx: Transaction, model: str) -> int | None:
    """The cost of the latest completed job of a model whose cost is known."""
    cost: int | None = tx.value(
        "jobs",
        "select cost_nano from jobs where model = $1 and status = 'completed' and cost_nano is not null"
        " order by id desc limit 1",
        model,
    )
    return cost


def spent_by_provider_any(tx: Transaction, since: datetime) -> dict[str, int]:
    rows = tx.rows(
        "jobs",
        "select provider, cast(sum(cost_nano) as bigint) as spent from jobs"
        " where ended_at >= $1 and cost_nano is not null group by provider",
        since,
    )
    return {row["provider"]: row["spent"] for row in rows}


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
