"""Conversations that are written straight into the database, where a test is about what is stored and not about sending."""

from collections.abc import Sequence

from app.base import clock
from app.base.ids import uuid7
from app.chat import repository
from app.chat.schemas import Conversation, Message, MessageRole
from app.db.transaction import Transaction
from tests.studio import Studio


async def store_conversation(
    studio: Studio, owner: str, answers: Sequence[str], *, question: str = "And?", title: str = "Stored"
) -> str:
    """Store a conversation of this user in which the question was asked again and again; returns its path."""
    id, now = uuid7(), clock.now()
    messages: list[Message] = []
    for answer in answers:
        for role, text in ((MessageRole.USER, question), (MessageRole.ASSISTANT, answer)):
            messages.append(
                Message(
                    id=uuid7(),
                    conversation_id=id,
                    owner_id=owner,
                    parent_id=messages[-1].id if messages else None,
                    role=role,
                    text=text,
                    model="acme/model" if role is MessageRole.ASSISTANT else None,
                    model_name="Model" if role is MessageRole.ASSISTANT else None,
                    created_at=now,
                    ended_at=now,
                )
            )
    conversation = Conversation(
        id=id, owner_id=owner, title=title, model="x", leaf_id=messages[-1].id, created_at=now, changed_at=now
    )

    def write(tx: Transaction) -> None:
        repository.add_conversation(tx, owner, conversation)
        for message in messages:
            repository.add(tx, owner, message)

    await studio.program.database.write(write)
    return f"/chat/{id}"


async def user_with_email(studio: Studio, email: str) -> str:
    """The id of this user."""
    id: str = await studio.program.database.read(
        lambda tx: tx.value("users", "select id from users where email = $1", email)
    )
    return id
