"""SQL of prompts. A user sees their own and those that are shared."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from app.base.text import folded
from app.db.transaction import Row, Transaction
from app.prompts.schemas import Prompt, PromptKind, Visibility, name_key
from app.providers.contract import Kind

_SUMMARY = (
    "id, owner_id, kind, name, text, negative_prompt, output, tags, substr(lines, 1, 300) as sample, line_count, shared,"
    " version, created_at, changed_at"
)
_COLUMNS = f"{_SUMMARY}, lines"
_SEARCHED = 20_000  # characters of a text or list that are searched


def add(tx: Transaction, owner: str, prompt: Prompt) -> None:
    tx.insert(
        "prompts (id, owner_id, kind, name, name_key, text, negative_prompt, output, tags, lines, line_count, shared, version,"
        " search_text, created_at, changed_at)",
        prompt.id,
        owner,
        prompt.kind.value,
        prompt.name,
        name_key(prompt.name),
        prompt.text,
        prompt.negative_prompt,
        prompt.output.value if prompt.output else None,
        _tags(prompt),
        _lines(prompt),
        prompt.line_count,
        prompt.shared,
        prompt.version,
        _search_text(prompt),
        prompt.created_at,
        prompt.changed_at,
    )


def change(tx: Transaction, owner: str, prompt: Prompt) -> None:
    """Replace everything that can change."""
    tx.execute(
        "prompts",
        "update prompts set name = $3, name_key = $4, text = $5, negative_prompt = $6, output = $7, tags = $8, lines = $9,"
        " line_count = $10, shared = $11, version = $12, search_text = $13, changed_at = $14 where id = $1 and owner_id = $2",
        prompt.id,
        owner,
        prompt.name,
        name_key(prompt.name),
        prompt.text,
        prompt.negative_prompt,
        prompt.output.value if prompt.output else None,
        _tags(prompt),
        _lines(prompt),
        prompt.line_count,
        prompt.shared,
        prompt.version,
        _search_text(prompt),
        prompt.changed_at,
    )


def find(tx: Transaction, owner: str, id: str) -> Prompt | None:
    """One that the user can see."""
    sql = f"select {_COLUMNS} from prompts where id = $2 and (owner_id = $1 or shared) and deleted_at is null"
    row = tx.row("prompts", sql, owner, id)
    return _prompt(row) if row else None


def find_deleted(tx: Transaction, owner: str, id: str, since: datetime) -> Prompt | None:
    """One that was deleted since then and that the user could see."""
    sql = f"select {_COLUMNS} from prompts where id = $2 and (owner_id = $1 or shared) and deleted_at >= $3"
    row = tx.row("prompts", sql, owner, id, since)
    return _prompt(row) if row else None


def id_of(tx: Transaction, owner: str, kind: PromptKind, name: str) -> str | None:
    """The id of the user's own prompt with this name."""
    found: str | None = tx.value(
        "prompts",
        "select id from prompts where owner_id = $1 and kind = $2 and name_key = $3 and deleted_at is null limit 1",
        owner,
        kind.value,
        name_key(name),
    )
    return found


def count(tx: Transaction, owner: str) -> int:
    """The number of the user's own prompts."""
    sql = "select count(*) from prompts where owner_id = $1 and deleted_at is null"
    return int(tx.value("prompts", sql, owner))


def by_name(
    tx: Transaction,
    owner: str,
    *,
    kind: PromptKind | None,
    visibility: Visibility | None,
    output: Kind | None,
    terms: Sequence[str],
    after: tuple[str, str] | None,
    limit: int,
) -> tuple[list[Prompt], int]:
    """At most `limit` prompts that match all filters, by name, without the lines of lists; and the number of all that do. `after`
    is the name key and the id of the last one before these."""
    where, parameters = _where(owner, kind, visibility, output, terms)
    total = int(tx.value("prompts", f"select count(*) from prompts where {where}", *parameters))
    if after is not None:
        parameters += after
        key, id = len(parameters) - 1, len(parameters)
        where += f" and (name_key > ${key} or (name_key = ${key} and id > ${id}))"
    parameters.append(limit)
    sql = f"select {_SUMMARY} from prompts where {where} order by name_key, id limit ${len(parameters)}"
    return [_prompt(row) for row in tx.rows("prompts", sql, *parameters)], total


def own(tx: Transaction, owner: str) -> list[Prompt]:
    """All of the user's own prompts, by name."""
    sql = f"select {_COLUMNS} from prompts where owner_id = $1 and deleted_at is null order by kind, name_key, id"
    return [_prompt(row) for row in tx.rows("prompts", sql, owner)]


def wildcard_lists(tx: Transaction, owner: str, names: Collection[str]) -> list[Prompt]:
    """The lists with these names that the user can see: shared ones by age, then the user's own."""
    rows = tx.rows(
        "prompts",
        f"select {_COLUMNS} from prompts where kind = 'wildcards' and (owner_id = $1 or shared) and deleted_at is null"
        " and name_key in (select unnest($2::text[])) order by case when owner_id = $1 then 1 else 0 end, id desc",
        owner,
        list(names),
    )
    return [_prompt(row) for row in rows]


def wildcard_names(tx: Transaction, owner: str) -> list[str]:
    """The names of all lists that the user can see."""
    rows = tx.rows(
        "prompts",
        "select distinct name from prompts where kind = 'wildcards' and (owner_id = $1 or shared) and deleted_at is null"
        " order by name",
        owner,
    )
    return [row["name"] for row in rows]


def mark_deleted(tx: Transaction, owner: str, id: str, now: datetime) -> None:
    tx.execute("prompts", "update prompts set deleted_at = $3 where id = $1 and owner_id = $2", id, owner, now)


def mark_restored(tx: Transaction, owner: str, id: str) -> None:
    tx.execute("prompts", "update prompts set deleted_at = null where id = $1 and owner_id = $2", id, owner)


def remove_all(tx: Transaction, owner: str) -> None:
    """Everything that belongs to the user."""
    tx.execute("prompts", "delete from prompts where owner_id = $1", owner)


def sweep_any(tx: Transaction, before: datetime) -> None:
    """Remove what was deleted before that time."""
    tx.execute("prompts", "delete from prompts where deleted_at < $1", before)


def _where(
    owner: str, kind: PromptKind | None, visibility: Visibility | None, output: Kind | None, terms: Sequence[str]
) -> tuple[str, list[Any]]:
    visible = {Visibility.OWN: "owner_id = $1", Visibility.SHARED: "shared", None: "(owner_id = $1 or shared)"}
    where, parameters = f"$1::text is not null and {visible[visibility]} and deleted_at is null", list[Any]([owner])
    if kind is not None:
        parameters.append(kind.value)
        where += f" and kind = ${len(parameters)}"
    if output is not None:
        parameters.append(output.value)
        where += f" and (output is null or output = ${len(parameters)})"
    for term in terms:
        parameters.append(folded(term))
        where += f" and strpos(search_text, ${len(parameters)}) > 0"
    return where, parameters


def _tags(prompt: Prompt) -> str:
    return msgspec.json.encode(prompt.tags).decode()


def _lines(prompt: Prompt) -> str | None:
    return "\n".join(prompt.lines or ()) if prompt.kind is PromptKind.WILDCARDS else None


def _search_text(prompt: Prompt) -> str:
    text = f"{prompt.text}\n{_lines(prompt) or ''}"[:_SEARCHED]
    return folded("\n".join((prompt.name, *prompt.tags, text)))


def _prompt(row: Row) -> Prompt:
    lines = row.get("lines")
    return Prompt(
        **{
            **row,
            "kind": PromptKind(row["kind"]),
            "output": Kind(row["output"]) if row["output"] else None,
            "tags": tuple(msgspec.json.decode(row["tags"], type=list[str])),
            "lines": None if lines is None else tuple(lines.split("\n")),
            "sample": row["sample"] or "",
        }
    )
