"""SQL of the ledger. Rows are added and never changed."""

from datetime import datetime

from app.base.database import Row, Transaction
from app.quota.schemas import Subject


def add(
    tx: Transaction,
    owner: str,
    id: str,
    kind: Subject,
    subject: str,
    entry: str,
    held_nano: int,
    spent_nano: int | None,
    now: datetime,
) -> None:
    tx.gather(
        "ledger",
        "insert into ledger (id, owner_id, subject_kind, subject_id, entry, held_nano, spent_nano, happened_at)"
        " select unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]), unnest($5::text[]),"
        " unnest($6::bigint[]), unnest($7::bigint[]), unnest($8::timestamp[])",
        id,
        owner,
        kind.value,
        subject,
        entry,
        held_nano,
        spent_nano,
        now,
    )


def settle(tx: Transaction, owner: str, id: str, subject: str, spent_nano: int | None, now: datetime) -> None:
    """Close the subject's hold, whatever it was."""
    tx.gather(
        "ledger",
        "insert into ledger (id, owner_id, subject_kind, subject_id, entry, held_nano, spent_nano, happened_at)"
        " select ended.id, held.owner_id, subject_kind, held.subject_id, 'settlement', -held_nano, ended.spent, ended.now"
        " from (select unnest($1::text[]) as id, unnest($2::text[]) as owner_id, unnest($3::text[]) as subject_id,"
        " unnest($4::bigint[]) as spent, unnest($5::timestamp[]) as now) as ended"
        " join ledger as held on held.owner_id = ended.owner_id and held.subject_id = ended.subject_id"
        " and held.entry = 'hold'",
        id,
        owner,
        subject,
        spent_nano,
        now,
    )


def months(tx: Transaction, owner: str) -> list[Row]:
    """Rows of month (as 202611), spent, subjects, unknown; the newest month first."""
    return tx.rows(
        "select cast(extract(year from happened_at) * 100 + extract(month from happened_at) as integer) as month, cast(coalesce(sum(spent_nano), 0) as bigint) as spent,"
        " cast(sum(case when entry = 'settlement' then 1 else 0 end) as bigint) as subjects,"
        " cast(sum(case when entry = 'settlement' and spent_nano is null then 1"
        " when entry = 'correction' then -1 else 0 end) as bigint) as unknown"
        " from ledger where owner_id = $1 and entry <> 'hold' group by 1 order by 1 desc",
        owner,
    )


def totals_any(tx: Transaction) -> Row:
    """What everybody has spent and what is held, in nano-dollars; spent is None while nothing is known."""
    row = tx.row(
        "select cast(sum(spent_nano) as bigint) as spent, cast(coalesce(sum(held_nano), 0) as bigint) as held from ledger"
    )
    return row or {"spent": None, "held": 0}


def sums_any(tx: Transaction) -> list[Row]:
    """Per subject: its entries by kind, what is still held, what was spent."""
    return tx.rows(
        "select subject_kind, subject_id, owner_id,"
        " cast(sum(case when entry = 'hold' then 1 else 0 end) as bigint) as holds,"
        " cast(sum(case when entry = 'settlement' then 1 else 0 end) as bigint) as settlements,"
        " cast(sum(held_nano) as bigint) as held, cast(sum(spent_nano) as bigint) as spent"
        " from ledger group by subject_kind, subject_id, owner_id"
    )
