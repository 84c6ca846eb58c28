"""SQL of batches. Ids sort by time, so newest first is `order by id desc` and a cursor is an id."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from app.batches.schemas import Axis, Batch
from app.db.transaction import Row, Transaction

_COLUMNS = "id, owner_id, kind, request, axes, total, estimated_nano, created_at, paused_at, cancelled_at"


def add(tx: Transaction, owner: str, batch: Batch) -> None:
    tx.insert(
        f"batches ({_COLUMNS})",
        batch.id,
        owner,
        batch.kind.value,
        msgspec.json.encode(batch.request).decode(),
        msgspec.json.encode(batch.axes).decode(),
        batch.total,
        batch.estimated_nano,
        batch.created_at,
        None,
        None,
    )


def find(tx: Transaction, owner: str, id: str) -> Batch | None:
    row = tx.row("batches", f"select {_COLUMNS} from batches where id = $1 and owner_id = $2", id, owner)
    return _batch(row) if row else None


def newest(tx: Transaction, owner: str, before: str | None, limit: int) -> list[Batch]:
    """At most `limit` batches, newest first and older than `before`."""
    sql = f"select {_COLUMNS} from batches where owner_id = $1 and ($2::text is null or id < $2) order by id desc limit $3"
    return [_batch(row) for row in tx.rows("batches", sql, owner, before, limit)]


def count(tx: Transaction, owner: str) -> int:
    return int(tx.value("batches", "select count(*) from batches where owner_id = $1", owner))


def set_state(tx: Transaction, owner: str, id: str, paused_at: datetime | None, cancelled_at: datetime | None) -> None:
    """When the batch was paused and cancelled; None if it is not."""
    tx.execute(
        "batches",
        "update batches set paused_at = $3, cancelled_at = $4 where id = $1 and owner_id = $2",
        id,
        owner,
        paused_at,
        cancelled_at,
    )


def forget(tx: Transaction, owner: str) -> None:
    """Delete a user's batches; their jobs are erased by `jobs`."""
    tx.execute("batches", "delete from batches where owner_id = $1", owner)


def delete_all_but_any(tx: Transaction, ids: Sequence[str]) -> None:
    tx.execute("batches", "delete from batches where id not in (select unnest($1::text[]))", list(ids))


def _batch(row: Row) -> Batch:
    return msgspec.convert(
        {
            **row,
            "request": msgspec.json.decode(row["request"]),
            "axes": msgspec.json.decode(row["axes"], type=tuple[Axis, ...]),
        },
        Batch,
    )
