"""Structs of conversations, messages and answers."""

import enum
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final, Self

import msgspec

from app.base.money import usd
from app.catalog.schemas import Model
from app.providers.contract import ErrorCode, Operation, Turn, Usage


class ChatLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of conversations and answers; tests use smaller values."""

    messages: int = 2_000  # of one conversation, all branches together
    page: int = 60  # messages of a branch on one page
    answers: int = 1_000  # in progress at the same time
    silence: float = 15.0  # seconds without an update after which readers get a keep-alive
    retry_pause: float = 1.0  # seconds before the first retry, doubling
    write_pause: float = 5.0  # seconds before a failed write is retried


DEFAULT_LIMITS: Final = ChatLimits()


class MessageRole(enum.StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class MessageStatus(enum.StrEnum):
    """The state of an answer; a user message is always complete."""

    STREAMING = "streaming"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self is not MessageStatus.STREAMING


class AnswerError(msgspec.Struct, frozen=True):
    """Why an answer failed; `message` is for users."""

    code: ErrorCode
    message: str
    retry_after: float | None = None  # seconds after which the provider may be asked again; not stored


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """`leaf_id` is the last message of the shown branch; `model` and `system_prompt` apply to the next answer."""

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
    """A user message or an answer. Answers to API requests have no `conversation_id`. `cost_nano` is in nano-dollars, None
    when unknown. `copy_of` is the answer of which this one is a copy or an edited version: no model was asked for it."""

    id: str
    conversation_id: str | None
    owner_id: str
    parent_id: str | None = None
    copy_of: str | None = None
    role: MessageRole
    text: str = ""
    images: tuple[str, ...] = ()  # ids of assets
    status: MessageStatus = MessageStatus.COMPLETE
    model: str | None = None
    model_name: str | None = None
    provider: str | None = None
    usage: Usage | None = None
    cost_nano: int | None = None
    finish_reason: str | None = None
    error: AnswerError | None = None
    created_at: datetime
    ended_at: datetime | None = None


class MessageNode(msgspec.Struct, frozen=True):
    """A message without its text, as a node of the conversation tree. `size` is in characters."""

    id: str
    parent_id: str | None
    role: MessageRole
    size: int


class ShownMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the shown branch: version `number` of `count`, with the ids of the versions before and after."""

    message: Message
    number: int = 1
    count: int = 1
    before: str | None = None
    after: str | None = None


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation and a page of its shown branch. `earlier` is the `until` of the previous page, None on the first."""

    conversation: Conversation
    shown: list[ShownMessage]
    earlier: str | None = None

    @property
    def streaming(self) -> bool:
        return any(not it.message.status.final for it in self.shown)


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message to send; None keeps the conversation's model or system prompt. `images` are ids of assets; `upload` stores further
    ones and returns the ids of all. It is called unless the request is a repeated one."""

    text: str
    images: Sequence[str] = ()
    upload: Callable[[], Awaitable[Sequence[str]]] | None = None
    model: str | None = None
    system_prompt: str | None = None


class AnswerFormat(enum.Enum):
    """How the provider's answer is passed on."""

    TEXT = enum.auto()  # as pieces of text
    RAW_STREAM = enum.auto()  # as events in OpenAI's format, unchanged
    RAW_WHOLE = enum.auto()  # as one answer in OpenAI's format, unchanged

    @property
    def raw(self) -> bool:
        return self is not AnswerFormat.TEXT


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a model: `turns` and `params`, or a `body` in OpenAI's format that is passed through. In a conversation,
    `turns` are read from the database when the answer starts. `with_usage`: a stream may end with an event without a choice."""

    model: Model
    turns: tuple[Turn, ...] = ()
    params: dict[str, Any] = {}
    body: dict[str, Any] | None = None
    with_usage: bool = False
    format: AnswerFormat = AnswerFormat.TEXT
    operation: Operation = Operation.CHAT


class AnswerResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of an answer."""

    status: MessageStatus
    usage: Usage | None = None
    cost_nano: int | None = None
    generation_id: str | None = None
    error: AnswerError | None = None
    detail: str = ""  # for admins and logs only
    finish_reason: str | None = None  # the provider's word for why the answer ended
    reply: str | None = None  # the whole answer as JSON, for a request that may be repeated
    carried_out: bool = True  # False when the provider certainly did nothing

    @classmethod
    def failed(cls, error: AnswerError) -> Self:
        return cls(status=MessageStatus.FAILED, error=error)


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The model's message."""

    role: str
    content: str


class ChatOut(msgspec.Struct, frozen=True, kw_only=True):
    """An answer in the API; `usage` and `cost_usd` (a decimal string) are null when unknown."""

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


class ChatDelta(msgspec.Struct, frozen=True):
    """A part of a streamed answer."""

    delta: str
