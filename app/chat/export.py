"""A conversation as a file: Markdown to read, JSON for other programs."""

from collections.abc import Sequence
from typing import Any

import msgspec

from app.base.clock import iso
from app.chat.schemas import Conversation, Message, MessageRole


def as_markdown(conversation: Conversation, messages: Sequence[Message]) -> str:
    """A heading for each message; answers are Markdown already."""
    parts = [f"# {conversation.title}"]
    if conversation.system_prompt:
        parts.append(f"## System prompt\n\n{conversation.system_prompt}")
    for message in messages:
        author = "You" if message.role is MessageRole.USER else message.model_name or "Answer"
        images = "".join(f"![Image](/media/{id})\n" for id in message.images)
        parts.append("\n\n".join(filter(None, (f"## {author}", images.strip(), message.text))))
    return "\n\n".join(parts) + "\n"


def as_json(conversation: Conversation, messages: Sequence[Message]) -> bytes:
    """The shown branch, oldest message first."""
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "title": conversation.title,
                "model": conversation.model,
                "system_prompt": conversation.system_prompt,
                "created_at": iso(conversation.created_at),
                "messages": [_message(message) for message in messages],
            }
        ),
        indent=2,
    )


def _message(message: Message) -> dict[str, Any]:
    return {
        "role": message.role.value,
        "text": message.text,
        "images": list(message.images),
        "model": message.model,
        "created_at": iso(message.created_at),
    }
