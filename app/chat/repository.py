"""SQL of conversations and messages. Ids sort by time; conversations are listed by their last change.

Every update of an answer requires the status `streaming`, so an answer that has ended never changes again, except for a
cost that arrives late.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from app.base.text import folded
from app.chat.schemas import AnswerError, AnswerResult, Conversation, Message, MessageNode, MessageRole
from app.db.transaction import Row, Transaction
from app.providers.contract import ErrorCode, Usage

_CONVERSATION = "id, owner_id, title, model, system_prompt, leaf_id, created_at, changed_at, deleted_at"
_MESSAGE = (
    "id, conversation_id, owner_id, parent_id, role, text, status, model, model_name, provider, finish_reason, usage,"
    " cost_nano, error_code, error_message, created_at, ended_at, copy_of"
)


# Conversations


def add_conversation(tx: Transaction, owner: str, conversation: Conversation) -> None:
    tx.execute(
        "conversations",
        f"insert into conversations ({_CONVERSATION}, search_text) values ($1, $2, $3, $4, $5, $6, $7, $8, null, $9)",
        conversation.id,
        owner,
        conversation.title,
        conversation.model,
        conversation.system_prompt,
        conversation.leaf_id,
        conversation.created_at,
        conversation.changed_at,
        folded(conversation.title),
    )


def find(tx: Transaction, owner: str, id: str) -> Conversation | None:
    row = tx.row(
        "conversations",
        f"select {_CONVERSATION} from conversations where id = $1 and owner_id = $2 and deleted_at is null",
        id,
        owner,
    )
    return msgspec.convert(row, Conversation) if row else None


def newest(
    tx: Transaction, owner: str, *, words: Sequence[str], before: tuple[datetime, str] | None, limit: int
) -> list[Conversation]:
    """At most `limit` conversations whose title contains every word, last changed first, after the key `before`."""
    where, parameters = _where(owner, words)
    if before:
        parameters += before
        where += f" and (changed_at, id) < (${len(parameters) - 1}, ${len(parameters)})"
    parameters.append(limit)
    sql = f"select {_CONVERSATION} from conversations where {where} order by changed_at desc, id desc limit ${len(parameters)}"
    return [msgspec.convert(row, Conversation) for row in tx.rows("conversations", sql, *parameters)]


def count(tx: Transaction, owner: str, *, words: Sequence[str]) -> int:
    where, parameters = _where(owner, words)
    return int(tx.value("conversations", f"select count(*) from conversations where {where}", *parameters))


def append(tx: Transaction, owner: str, id: str, leaf_id: str, now: datetime) -> None:
    """Make a new message the end of the shown branch."""
    tx.execute(
        "conversations",
        "update conversations set leaf_id = $3, changed_at = $4 where id = $1 and owner_id = $2",
        id,
        owner,
        leaf_id,
        now,
    )


def show(tx: Transaction, owner: str, id: str, leaf_id: str) -> None:
    """Show another branch."""
    tx.execute(
        "conversations", "update conversations set leaf_id = $3 where id = $1 and owner_id = $2", id, owner, leaf_id
    )


def save_settings(tx: Transaction, owner: str, id: str, model: str, system_prompt: str) -> None:
    tx.execute(
        "conversations",
        "update conversations set model = $3, system_prompt = $4 where id = $1 and owner_id = $2",
        id,
        owner,
        model,
        system_prompt,
    )


def rename(tx: Transaction, owner: str, id: str, title: str) -> bool:
    sql = (
        "update conversations set title = $3, search_text = $4"
        " where id = $1 and owner_id = $2 and deleted_at is null returning id"
    )
    return tx.value("conversations", sql, id, owner, title, folded(title)) is not None


def mark_deleted(tx: Transaction, owner: str, id: str, now: datetime) -> Conversation | None:
    row = tx.row(
        "conversations",
        f"update conversations set deleted_at = $3 where id = $1 and owner_id = $2 and deleted_at is null"
        f" returning {_CONVERSATION}",
        id,
        owner,
        now,
    )
    return msgspec.convert(row, Conversation) if row else None


def mark_restored(tx: Transaction, owner: str, id: str, since: datetime) -> bool:
    """Restore a conversation that was deleted after `since`."""
    sql = "update conversations set deleted_at = null where id = $1 and owner_id = $2 and deleted_at >= $3 returning id"
    return tx.value("conversations", sql, id, owner, since) is not None


def forget(tx: Transaction, owner: str) -> None:
    """Delete a user's conversations and texts, but keep the costs of the answers."""
    _forget(tx, "owner_id = $1", owner)
    tx.execute("conversations", "delete from conversations where owner_id = $1", owner)


def sweep_any(tx: Transaction, before: datetime) -> int:
    """The same for conversations deleted before `before`; returns their number."""
    old = [row["id"] for row in tx.rows("conversations", "select id from conversations where deleted_at < $1", before)]
    if old:
        _forget(tx, "conversation_id in (select unnest($1::text[]))", old)
        tx.execute("conversations", "delete from conversations where id in (select unnest($1::text[]))", old)
    return len(old)


# Messages


def add(tx: Transaction, owner: str, message: Message) -> None:
    tx.execute(
        "messages",
        "insert into messages (id, conversation_id, owner_id, parent_id, role, text, size, status, model, model_name,"
        " provider, created_at, ended_at, copy_of) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        message.id,
        message.conversation_id,
        owner,
        message.parent_id,
        message.role.value,
        message.text,
        len(message.text),
        message.status.value,
        message.model,
        message.model_name,
        message.provider,
        message.created_at,
        message.ended_at,
        message.copy_of,
    )


def add_images(tx: Transaction, owner: str, message: Message) -> None:
    """The images of a message."""
    for position, asset_id in enumerate(message.images):
        tx.execute(
            "message_images",
            "insert into message_images (message_id, position, owner_id, asset_id) values ($1, $2, $3, $4)",
            message.id,
            position,
            owner,
            asset_id,
        )


def with_images(tx: Transaction, owner: str, found: Sequence[Message]) -> list[Message]:
    """The same messages with their images."""
    rows = tx.rows(
        "message_images",
        "select message_id, asset_id from message_images where owner_id = $1"
        " and message_id in (select unnest($2::text[])) order by message_id, position",
        owner,
        [message.id for message in found],
    )
    images: dict[str, list[str]] = {}
    for row in rows:
        images.setdefault(row["message_id"], []).append(row["asset_id"])
    return [
        msgspec.structs.replace(message, images=tuple(images[message.id])) if message.id in images else message
        for message in found
    ]


def add_ended(tx: Transaction, owner: str, message: Message, now: datetime, text: str, result: AnswerResult) -> None:
    """Insert an API answer, which has no conversation. Until now it existed only as an unsettled hold in the ledger."""
    tx.insert(
        "messages (id, owner_id, role, text, size, status, model, model_name, provider, created_at, ended_at, usage,"
        " cost_nano, error_code, error_message, error_detail, generation_id, finish_reason, reply)",
        message.id,
        owner,
        message.role.value,
        text,
        len(text),
        result.status.value,
        message.model,
        message.model_name,
        message.provider,
        message.created_at,
        now,
        *_outcome(result),
    )


def tree(tx: Transaction, owner: str, conversation_id: str) -> list[MessageNode]:
    """Every message of the conversation, oldest first."""
    rows = tx.rows(
        "messages",
        "select id, parent_id, role, size from messages where conversation_id = $1 and owner_id = $2"
        " order by created_at, id",
        conversation_id,
        owner,
    )
    return [MessageNode(row["id"], row["parent_id"], MessageRole(row["role"]), row["size"]) for row in rows]


def messages(tx: Transaction, owner: str, ids: Sequence[str]) -> list[Message]:
    """The messages with these ids, in this order; missing ones are left out."""
    rows = tx.rows(
        "messages",
        f"select {_MESSAGE} from messages where id in (select unnest($1::text[])) and owner_id = $2",
        list(ids),
        owner,
    )
    found = {row["id"]: row for row in rows}
    return with_images(tx, owner, [_message(found[id]) for id in ids if id in found])


def is_answering(tx: Transaction, owner: str, conversation_id: str) -> bool:
    sql = "select id from messages where conversation_id = $1 and owner_id = $2 and status = 'streaming' limit 1"
    return tx.value("messages", sql, conversation_id, owner) is not None


def save_progress_any(tx: Transaction, ids: Sequence[str], texts: Sequence[str]) -> None:
    """Save the text so far of many answers in one statement."""
    tx.execute(
        "messages",
        "update messages set text = progress.text, size = length(progress.text)"
        " from (select unnest($1::text[]) as id, unnest($2::text[]) as text) as progress"
        " where messages.id = progress.id and messages.status = 'streaming'",
        list(ids),
        list(texts),
    )


def end(tx: Transaction, owner: str, message: Message, now: datetime, text: str, result: AnswerResult) -> bool:
    """Save the result, and who answered; True when the answer was still streaming."""
    ended = tx.value(
        "messages",
        "update messages set text = $3, size = $4, status = $5, ended_at = $6, usage = $7, cost_nano = $8,"
        " error_code = $9, error_message = $10, error_detail = $11, generation_id = $12, finish_reason = $13, reply = $14,"
        " model = $15, model_name = $16, provider = $17"
        " where id = $1 and owner_id = $2 and status = 'streaming' returning id",
        message.id,
        owner,
        text,
        len(text),
        result.status.value,
        now,
        *_outcome(result),
        message.model,
        message.model_name,
        message.provider,
    )
    return ended is not None


def _outcome(result: AnswerResult) -> tuple[Any, ...]:
    """The columns from `usage` to `reply`, in the order of the statements."""
    return (
        msgspec.json.encode(result.usage).decode() if result.usage else None,
        result.cost_nano,
        result.error.code.value if result.error else None,
        result.error.message if result.error else None,
        result.detail or None,
        result.generation_id,
        result.finish_reason,
        result.reply,
    )


def reply(tx: Transaction, owner: str, id: str) -> str | None:
    """The whole answer as JSON, where it was kept."""
    sql = "select reply from messages where id = $1 and owner_id = $2"
    found: str | None = tx.value("messages", sql, id, owner)
    return found


def set_cost(tx: Transaction, owner: str, id: str, cost_nano: int) -> bool:
    """Set a cost that arrived late; True when it was unknown before."""
    sql = "update messages set cost_nano = $3 where id = $1 and owner_id = $2 and cost_nano is null returning id"
    return tx.value("messages", sql, id, owner, cost_nano) is not None


def spent_by_provider_any(tx: Transaction, since: datetime) -> dict[str, int]:
    """The known costs of the answers that ended since then."""
    rows = tx.rows(
        "messages",
        "select provider, cast(sum(cost_nano) as bigint) as spent from messages"
        " where ended_at >= $1 and cost_nano is not null and provider is not null group by provider",
        since,
    )
    return {row["provider"]: row["spent"] for row in rows}


def without_cost_any(tx: Transaction, since: datetime) -> list[tuple[Message, str]]:
    """Answers that ended after `since` with unknown cost, with their generation ids."""
    rows = tx.rows(
        "messages",
        f"select {_MESSAGE}, generation_id as generation from messages"
        " where cost_nano is null and generation_id is not null and ended_at > $1",
        since,
    )
    return [(_message(row), generation) for row in rows if (generation := row.pop("generation"))]


def fail_unfinished_any(tx: Transaction, now: datetime, error: AnswerError) -> list[tuple[str, str]]:
    """Fail all unfinished answers; returns their owners and ids. API answers get their row here."""
    tx.execute(
        ("messages", "ledger"),
        "insert into messages (id, owner_id, role, text, size, status, created_at)"
        " select subject_id, owner_id, 'assistant', '', 0, 'streaming', happened_at from ledger"
        " where subject_kind = 'answer' and entry = 'hold' and subject_id not in (select id from messages)",
    )
    ended = tx.rows(
        "messages",
        "update messages set status = 'failed', ended_at = $1, error_code = $2, error_message = $3"
        " where status = 'streaming' returning owner_id, id",
        now,
        error.code.value,
        error.message,
    )
    return [(row["owner_id"], row["id"]) for row in ended]


def _where(owner: str, words: Sequence[str]) -> tuple[str, list[Any]]:
    where, parameters = "owner_id = $1 and deleted_at is null", [owner]
    for word in words:
        parameters.append(folded(word))
        where += f" and strpos(search_text, ${len(parameters)}) > 0"
    return where, list[Any](parameters)


def _forget(tx: Transaction, where: str, parameter: object) -> None:
    """Delete user messages and clear answers, keeping only what accounting needs. Streaming answers are left to their task."""
    tx.execute(
        ("message_images", "messages"),
        f"delete from message_images where message_id in (select id from messages where {where})",
        parameter,
    )
    tx.execute("messages", f"delete from messages where {where} and role = 'user'", parameter)
    tx.execute(
        "messages",
        f"update messages set text = '', size = 0, parent_id = null, error_message = null, error_detail = null"
        f" where {where} and status <> 'streaming'",
        parameter,
    )


def _message(row: Row) -> Message:
    values = dict(row)
    code, message, usage = values.pop("error_code"), values.pop("error_message"), values.pop("usage")
    return msgspec.convert(
        {
            **values,
            "error": AnswerError(ErrorCode(code), message or "") if code else None,
            "usage": msgspec.json.decode(usage, type=Usage) if usage else None,
        },
        Message,
    )
