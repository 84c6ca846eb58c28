"""SQL of the library. Ids sort by time: newest first is `order by id desc`, and a cursor is an id."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from app.base.text import folded
from app.db.transaction import Row, Transaction
from app.library.schemas import Asset, AssetKind

_COLUMNS = (
    "id, owner_id, kind, origin, mime, bytes, width, height, duration, file_key as key, thumbnail_key, job_id,"
    " position, name, prompt, parent_asset_id, root_asset_id, created_at"
)
_LISTED = "deleted_at is null and origin <> 'prepared'"


def add(tx: Transaction, owner: str, assets: list[Asset]) -> None:
    for asset in assets:
        tx.execute(
            "assets",
            "insert into assets (id, owner_id, kind, origin, mime, bytes, width, height, duration, file_key,"
            " thumbnail_key, job_id, position, name, prompt, created_at, search_text, parent_asset_id, root_asset_id)"
            " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
            asset.id,
            owner,
            asset.kind.value,
            asset.origin.value,
            asset.mime,
            asset.bytes,
            asset.width,
            asset.height,
            asset.duration,
            asset.key,
            asset.thumbnail_key,
            asset.job_id,
            asset.position,
            asset.name,
            asset.prompt,
            asset.created_at,
            folded(f"{asset.prompt} {asset.name or ''}"),
            asset.parent_asset_id,
            asset.root_asset_id,
        )


def find(tx: Transaction, owner: str, id: str) -> Asset | None:
    row = tx.row(
        "assets", f"select {_COLUMNS} from assets where id = $1 and owner_id = $2 and deleted_at is null", id, owner
    )
    return _asset(row) if row else None


def find_including_deleted(tx: Transaction, owner: str, id: str) -> Asset | None:
    """Like `find`, including assets marked as deleted."""
    row = tx.row("assets", f"select {_COLUMNS} from assets where id = $1 and owner_id = $2", id, owner)
    return _asset(row) if row else None


def newest(
    tx: Transaction, owner: str, *, kind: AssetKind | None, terms: Sequence[str], before: str | None, limit: int
) -> list[Asset]:
    """At most `limit` assets older than the id `before` whose prompt or name contain every term, newest first."""
    where, parameters = _where(owner, kind, terms)
    if before:
        parameters.append(before)
        where += f" and id < ${len(parameters)}"
    parameters.append(limit)
    sql = f"select {_COLUMNS} from assets where {where} order by id desc limit ${len(parameters)}"
    return [_asset(row) for row in tx.rows("assets", sql, *parameters)]


def count(tx: Transaction, owner: str, *, kind: AssetKind | None, terms: Sequence[str]) -> int:
    where, parameters = _where(owner, kind, terms)
    return int(tx.value("assets", f"select count(*) from assets where {where}", *parameters))


def of_jobs(tx: Transaction, owner: str, job_ids: list[str]) -> dict[str, list[Asset]]:
    """The assets of these jobs by job id, in order of position."""
    found: dict[str, list[Asset]] = {}
    sql = (
        f"select {_COLUMNS} from assets where owner_id = $1 and {_LISTED}"
        " and job_id in (select unnest($2::text[])) order by position, id"
    )
    for row in tx.rows("assets", sql, owner, job_ids):
        found.setdefault(row["job_id"], []).append(_asset(row))
    return found


def versions(tx: Transaction, owner: str, root: str, limit: int) -> list[Asset]:
    """An image and all that was made of it by edits, oldest first."""
    sql = (
        f"select {_COLUMNS} from assets where owner_id = $1 and {_LISTED} and (id = $2 or root_asset_id = $2)"
        " order by id limit $3"
    )
    return [_asset(row) for row in tx.rows("assets", sql, owner, root, limit)]


def attach(tx: Transaction, owner: str, ids: Sequence[str], job_id: str) -> None:
    """Those of these assets that were prepared for this job belong to it from now on."""
    tx.execute(
        "assets",
        "update assets set job_id = $3 where owner_id = $1 and id in (select unnest($2::text[])) and job_id is null"
        " and origin = 'prepared'",
        owner,
        list(ids),
        job_id,
    )


def mark_deleted(tx: Transaction, owner: str, id: str, now: datetime) -> bool:
    sql = "update assets set deleted_at = $3 where id = $1 and owner_id = $2 and deleted_at is null returning id"
    return tx.value("assets", sql, id, owner, now) is not None


def mark_restored(tx: Transaction, owner: str, id: str, since: datetime) -> bool:
    """Undo a deletion that is not older than `since`."""
    sql = "update assets set deleted_at = null where id = $1 and owner_id = $2 and deleted_at >= $3 returning id"
    return tx.value("assets", sql, id, owner, since) is not None


def mark_deleted_with_job(tx: Transaction, owner: str, job_id: str, now: datetime) -> None:
    tx.execute(
        "assets",
        "update assets set deleted_at = $3 where job_id = $1 and owner_id = $2 and deleted_at is null",
        job_id,
        owner,
        now,
    )


def mark_restored_with_job(tx: Transaction, owner: str, job_id: str, deleted_at: datetime) -> None:
    """Restore the assets that were deleted together with the job, not those deleted earlier."""
    tx.execute(
        "assets",
        "update assets set deleted_at = null where job_id = $1 and owner_id = $2 and deleted_at = $3",
        job_id,
        owner,
        deleted_at,
    )


def erase_of_jobs_any(tx: Transaction, job_ids: list[str], long_ago: datetime) -> None:
    """Mark the assets of these jobs as deleted before the undo period."""
    tx.execute(
        "assets", "update assets set deleted_at = $2 where job_id in (select unnest($1::text[]))", job_ids, long_ago
    )


def erase_all(tx: Transaction, owner: str, long_ago: datetime) -> None:
    """Mark all assets of the user as deleted before the undo period."""
    tx.execute(
        "assets",
        "update assets set deleted_at = $2, prompt = '', search_text = '', name = null where owner_id = $1",
        owner,
        long_ago,
    )


def purge_any(tx: Transaction, before: datetime, unused_before: datetime) -> list[str]:
    """Delete the rows marked as deleted before that time, and those prepared before `unused_before` for a job that was never
    requested. Returns their file keys."""
    rows = tx.rows(
        "assets",
        "delete from assets where (deleted_at is not null and deleted_at < $1)"
        " or (origin = 'prepared' and job_id is null and created_at < $2) returning file_key, thumbnail_key",
        before,
        unused_before,
    )
    return [key for row in rows for key in (row["file_key"], row["thumbnail_key"]) if key]


def unreferenced_any(tx: Transaction, keys: list[str]) -> list[str]:
    """Those of these file keys that no row references. Rows marked as deleted count, since they can be restored."""
    rows = tx.rows(
        "assets",
        "with referenced as (select file_key as key from assets union all select thumbnail_key from assets)"
        " select key from (select unnest($1::text[]) as key) as given where key not in"
        " (select key from referenced where key in (select unnest($1::text[])))",
        keys,
    )
    return [row["key"] for row in rows]


def is_referenced_any(tx: Transaction, key: str) -> bool:
    """Whether any row references this file."""
    return tx.value("assets", "select 1 from assets where file_key = $1 or thumbnail_key = $1 limit 1", key) is not None


def _where(owner: str, kind: AssetKind | None, terms: Sequence[str]) -> tuple[str, list[object]]:
    where, parameters = f"owner_id = $1 and {_LISTED}", [owner]
    if kind:
        parameters.append(kind.value)
        where += f" and kind = ${len(parameters)}"
    for term in terms:
        parameters.append(folded(term))
        where += f" and strpos(search_text, ${len(parameters)}) > 0"
    return where, [*parameters]


def _asset(row: Row) -> Asset:
    return msgspec.convert(row, Asset)
