"""The shapes of a conversation."""

import enum
from datetime import datetime
from typing import Any, Final, Self

import msgspec

from app.base.money import usd
from app.catalog.schemas import Model
from app.providers.contract import ErrorCode, Usage
from app.providers.contract import Message as Turn


class ChatLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds conversations and answers. The program runs with these values; a test may shorten them."""

    messages: int = 2_000  # of one conversation, all branches together
    page: int = 60  # messages of a branch on one page
    answers: int = 1_000  # that are being written at one time
    silence: float = 15.0  # seconds without news after which a reader is given a sign of life
    retry_pause: float = 1.0  # seconds before a question is sent for the second time, doubling
    write_pause: float = 5.0  # seconds until a database that could not write is tried again


USUAL: Final = ChatLimits()


class Role(enum.StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class Status(enum.StrEnum):
    """Of an answer; what a person says is complete from the start."""

    STREAMING = "streaming"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self is not Status.STREAMING


class Trouble(msgspec.Struct, frozen=True):
    """Why an answer failed; `message` is one sentence for people."""

    code: ErrorCode
    message: str


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """`leaf_id` is the last message of the branch that is shown; `model` and `system_prompt` are for the next answer."""

    id: str
    owner_id: str
    title: str
    model: str
    system_prompt: str = ""
    leaf_id: str
    created_at: datetime
    changed_at: datetime
    deleted_at: datetime | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said, or an answer. Without `conversation_id` it is an answer to a program. `cost_nano` is in
    nano-dollars, None = unknown."""

    id: str
    conversation_id: str | None
    owner_id: str
    parent_id: str | None = None
    role: Role
    text: str = ""
    status: Status = Status.COMPLETE
    model: str | None = None
    model_name: str | None = None
    provider: str | None = None
    usage: Usage | None = None
    cost_nano: int | None = None
    error: Trouble | None = None
    created_at: datetime
    ended_at: datetime | None = None


class MessageNode(msgspec.Struct, frozen=True):
    """A message without its text: what the tree of a conversation is made of. `size` is in characters."""

    id: str
    parent_id: str | None
    role: Role
    size: int


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the branch that is shown: it is `number` of `count` siblings, `before` and `after` are its neighbours."""

    message: Message
    number: int = 1
    count: int = 1
    before: str | None = None
    after: str | None = None


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation and a stretch of the shown branch; `earlier` is the id that the stretch before it ends at."""

    conversation: Conversation
    shown: list[Shown]
    earlier: str | None = None

    @property
    def streaming(self) -> bool:
        return any(not it.message.status.final for it in self.shown)


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What a person sends; None leaves the conversation's model or system prompt as it is."""

    text: str
    model: str | None = None
    system_prompt: str | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A program's question, checked and ready to be sent."""

    model: Model
    turns: tuple[Turn, ...]
    params: dict[str, Any]
    raw: bool = False  # the caller speaks OpenAI's format: tools go through, and what came is wanted as it came
    whole: bool = False  # nothing of it is wanted before its end, so that the provider need not stream


class AnswerResult(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer ended."""

    status: Status
    usage: Usage | None = None
    cost_nano: int | None = None
    generation_id: str | None = None
    error: Trouble | None = None
    detail: str = ""  # for admins and logs only


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What the model said."""

    role: str
    content: str


class ChatOut(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as programs see it; `usage` and `cost_usd` (a decimal string) are null when unknown."""

    id: str
    model: str
    message: ChatMessage
    usage: Usage | None
    cost_usd: str | None

    @classmethod
    def of(cls, message: Message) -> Self:
        return cls(
            id=message.id,
            model=message.model or "",
            message=ChatMessage(role="assistant", content=message.text),
            usage=message.usage,
            cost_usd=usd(message.cost_nano),
        )


class Delta(msgspec.Struct, frozen=True):
    """A piece of a streamed answer."""

    delta: str
