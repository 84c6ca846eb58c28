"""SQL of the idempotency keys."""

from datetime import datetime

from app.db.transaction import Row, Transaction


def find(tx: Transaction, owner: str, key: str, since: datetime) -> Row | None:
    """The row (request_hash, result_id) of a key that was first used at that time or later."""
    return tx.row(
        "idempotency_keys",
        "select request_hash, result_id from idempotency_keys"
        " where owner_id = $1 and idempotency_key = $2 and created_at >= $3",
        owner,
        key,
        since,
    )


def record(
    tx: Transaction, owner: str, key: str, request_hash: str, result_id: str, now: datetime, since: datetime
) -> bool:
    """Add a key, or replace one that was first used before `since`. False if it is in use."""
    added = tx.value(
        "idempotency_keys",
        "insert into idempotency_keys as known (owner_id, idempotency_key, request_hash, result_id, created_at)"
        " values ($1, $2, $3, $4, $5) on conflict (owner_id, idempotency_key) do update"
        " set request_hash = excluded.request_hash, result_id = excluded.result_id, created_at = excluded.created_at"
        " where known.created_at < $6 returning result_id",
        owner,
        key,
        request_hash,
        result_id,
        now,
        since,
    )
    return added is not None


def forget_any(tx: Transaction, result_id: str) -> None:
    """Delete the keys with this result."""
    tx.execute("idempotency_keys", "delete from idempotency_keys where result_id = $1", result_id)


def delete_expired_any(tx: Transaction, before: datetime) -> None:
    """Delete keys that were first used before that time."""
    tx.execute("idempotency_keys", "delete from idempotency_keys where created_at < $1", before)
