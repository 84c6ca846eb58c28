"""SQL of the audit log. It belongs to the admins, not to the users named in it."""

import msgspec

from app.audit.schemas import Entry
from app.db.transaction import Transaction


def add_any(tx: Transaction, entry: Entry) -> None:
    tx.execute(
        "audit",
        "insert into audit (id, happened_at, actor_id, actor_email, action, subject, detail)"
        " values ($1, $2, $3, $4, $5, $6, $7)",
        entry.id,
        entry.happened_at,
        entry.actor_id,
        entry.actor_email,
        entry.action.value,
        entry.subject,
        msgspec.json.encode(entry.detail).decode(),
    )


def newest_any(tx: Transaction, before: str | None, limit: int) -> list[Entry]:
    rows = tx.rows(
        "audit",
        "select id, happened_at, actor_id, actor_email, action, subject, detail from audit"
        " where cast($1 as text) is null or id < $1 order by id desc limit $2",
        before,
        limit,
    )
    return [msgspec.convert({**row, "detail": msgspec.json.decode(row["detail"])}, Entry) for row in rows]


def count_any(tx: Transaction) -> int:
    return int(tx.value("audit", "select count(*) from audit"))
