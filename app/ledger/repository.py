"""SQL of the ledger. Rows are inserted and never changed."""

from collections.abc import Sequence
from datetime import datetime

from app.db.transaction import Row, Transaction
from app.ledger.schemas import Subject

_LEDGER = "ledger (id, owner_id, subject_kind, subject_id, entry, held_nano, spent_nano, happened_at, key_id)"


def hold(
    tx: Transaction,
    owner: str,
    id: str,
    kind: Subject,
    subject: str,
    nano: int,
    now: datetime,
    key: str | None,
) -> None:
    """Open the subject's hold; `key` is the id of the API key that was used, if any."""
    tx.insert(_LEDGER, id, owner, kind.value, subject, "hold", nano, None, now, key)


def key_of(tx: Transaction, owner: str, subject: str) -> str | None:
    """The id of the API key of the subject's hold, if any."""
    key: str | None = tx.value(
        "ledger",
        "select key_id from ledger where owner_id = $1 and subject_id = $2 and entry = 'hold'",
        owner,
        subject,
    )
    return key


def settle_nothing_held(
    tx: Transaction,
    owner: str,
    id: str,
    kind: Subject,
    subject: str,
    spent_nano: int | None,
    now: datetime,
    key: str | None,
) -> None:
    """Settle a subject for which nothing was held, so that no hold has to be looked up."""
    tx.insert(_LEDGER, id, owner, kind.value, subject, "settlement", 0, spent_nano, now, key)


def settle(tx: Transaction, owner: str, id: str, subject: str, spent_nano: int | None, now: datetime) -> None:
    """Close the subject's hold."""
    tx.batch(
        "ledger",
        "insert into ledger (id, owner_id, subject_kind, subject_id, entry, held_nano, spent_nano, happened_at, key_id)"
        " select ended.id, held.owner_id, subject_kind, held.subject_id, 'settlement', -held_nano, ended.spent, ended.now,"
        " held.key_id"
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


def correct(tx: Transaction, owner: str, id: str, kind: Subject, subject: str, spent_nano: int, now: datetime) -> None:
    """Add a cost that became known late to the subject, with the API key of its hold."""
    tx.batch(
        "ledger",
        "insert into ledger (id, owner_id, subject_kind, subject_id, entry, held_nano, spent_nano, happened_at, key_id)"
        " select late.id, late.owner_id, late.kind, late.subject_id, 'correction', 0, late.spent, late.now, held.key_id"
        " from (select unnest($1::text[]) as id, unnest($2::text[]) as owner_id, unnest($3::text[]) as kind,"
        " unnest($4::text[]) as subject_id, unnest($5::bigint[]) as spent, unnest($6::timestamp[]) as now) as late"
        " left join ledger as held on held.owner_id = late.owner_id and held.subject_id = late.subject_id"
        " and held.entry = 'hold'",
        id,
        owner,
        kind.value,
        subject,
        spent_nano,
        now,
    )


def of_key(tx: Transaction, owner: str, key: str, since: datetime) -> tuple[int, int]:
    """The known costs of an API key since then, and everything that is held for it now."""
    row = tx.row(
        "ledger",
        "select cast(coalesce(sum(case when happened_at >= $3 then spent_nano end), 0) as bigint) as spent,"
        " cast(coalesce(sum(held_nano), 0) as bigint) as held from ledger where owner_id = $1 and key_id = $2",
        owner,
        key,
        since,
    )
    return (row["spent"], row["held"]) if row else (0, 0)


def spent_by_keys(tx: Transaction, owner: str, keys: Sequence[str], since: datetime) -> dict[str, int]:
    """The known costs of each of these API keys since then; keys without ledger entries are left out."""
    rows = tx.rows(
        "ledger",
        "select key_id, cast(coalesce(sum(spent_nano), 0) as bigint) as spent from ledger"
        " where owner_id = $1 and key_id = any($2) and happened_at >= $3 group by key_id",
        owner,
        list(keys),
        since,
    )
    return {row["key_id"]: row["spent"] for row in rows}


def months(tx: Transaction, owner: str) -> list[Row]:
    """Rows of month (as 202611), spent, subjects, unknown; the newest month first."""
    return tx.rows(
        "ledger",
        "select cast(extract(year from happened_at) * 100 + extract(month from happened_at) as integer) as month, cast(coalesce(sum(spent_nano), 0) as bigint) as spent,"
        " cast(sum(case when entry = 'settlement' then 1 else 0 end) as bigint) as subjects,"
        " cast(sum(case when entry = 'settlement' and spent_nano is null then 1"
        " when entry = 'correction' then -1 else 0 end) as bigint) as unknown"
        " from ledger where owner_id = $1 and entry <> 'hold' group by 1 order by 1 desc",
        owner,
    )


def spent(tx: Transaction, owner: str) -> int | None:
    """The known costs of a user in nano-dollars; None while no cost is known."""
    found: int | None = tx.value(
        "ledger", "select cast(sum(spent_nano) as bigint) from ledger where owner_id = $1", owner
    )
    return found


def spent_any(tx: Transaction) -> int | None:
    """The known costs of all users; None while no cost is known."""
    found: int | None = tx.value("ledger", "select cast(sum(spent_nano) as bigint) from ledger")
    return found


def sums_any(tx: Transaction) -> list[Row]:
    """Per subject: the number of entries of each kind, the amount still held and the amount spent."""
    return tx.rows(
        "ledger",
        "select subject_kind, subject_id, owner_id,"
        " cast(sum(case when entry = 'hold' then 1 else 0 end) as bigint) as holds,"
        " cast(sum(case when entry = 'settlement' then 1 else 0 end) as bigint) as settlements,"
        " cast(sum(held_nano) as bigint) as held, cast(sum(spent_nano) as bigint) as spent"
        " from ledger group by subject_kind, subject_id, owner_id",
    )
