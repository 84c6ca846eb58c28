"""SQL of the queue: jobs that are claimed, moved, paused or cancelled together, one by one or as the batch they belong to."""

from collections.abc import Sequence
from datetime import datetime

from app.db.transaction import Row, Transaction
from app.jobs.job_rows import COLUMNS, many
from app.jobs.queue_order import QueuePlace
from app.jobs.schemas import Job


def claim_any(tx: Transaction, now: datetime, ids: Sequence[str]) -> list[Job]:
    """Move these queued jobs to processing: from here on the paid request may be sent. Counts as an attempt unless the
    job already has an upstream job, which is then only polled."""
    return many(
        tx,
        f"update jobs set status = 'processing', run_at = null,"
        f" attempts = attempts + case when upstream_job_id is null then 1 else 0 end,"
        f" started_at = coalesce(started_at, $1) where id in (select unnest($2::text[])) and status = 'queued'"
        f" and paused is not true returning {COLUMNS}",
        now,
        list(ids),
    )


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


def of_batch(tx: Transaction, owner: str, batch_id: str) -> list[Job]:
    """The newest job of each place in the batch that was not deleted, in order."""
    return many(
        tx,
        f"select {COLUMNS} from jobs where id in (select max(id) from jobs where owner_id = $1 and batch_id = $2"
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


def batches_in_use_any(tx: Transaction, since: datetime) -> list[str]:
    """The batches that have a job that was not deleted, or only since then."""
    rows = tx.rows(
        "jobs",
        "select distinct batch_id from jobs where batch_id is not null and (deleted_at is null or deleted_at >= $1)",
        since,
    )
    return [row["batch_id"] for row in rows]


def pause(tx: Transaction, owner: str, id: str, paused: bool) -> bool:
    """Pause or resume a queued job. False if it is not queued."""
    return bool(
        tx.rows(
            "jobs",
            "update jobs set paused = $3 where owner_id = $1 and id = $2 and status = 'queued' returning id",
            owner,
            id,
            paused,
        )
    )


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
