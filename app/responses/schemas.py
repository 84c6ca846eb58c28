"""Structs of the Responses API."""

from datetime import datetime
from typing import Any, Final

import msgspec

from app.chat.schemas import ChatRequest

PREFIX: Final = "resp_"  # of the id of a response

Body = dict[str, Any]
Item = dict[str, Any]  # of the input or output of a response
Event = dict[str, Any]  # of a streamed response


class ResponseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a response. `body` is the request as it came, `items` its input as a list."""

    body: Body
    items: list[Item]
    previous_id: str | None
    store: bool
    include: frozenset[str]

    @property
    def shows_reasoning(self) -> bool:
        """Whether the caller keeps what a model wants back."""
        return "reasoning.encrypted_content" in self.include


class PreparedRequest(msgspec.Struct, frozen=True):
    """The chat request, and the items of the request's own input with references replaced by what they refer to."""

    chat: ChatRequest
    items: list[Item]


class StoredResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A row: `input` (a list of items) and `response` are JSON."""

    id: str
    previous_id: str | None
    input: str
    response: str
    reasoning: str | None
    created_at: datetime

    @property
    def answer_id(self) -> str:
        """The id of the answer in the chat feature, which is also a part of the ids of its items."""
        return self.id.removeprefix(PREFIX)

    @property
    def size(self) -> int:
        """In characters."""
        return len(self.input) + len(self.response) + len(self.reasoning or "")


class EarlierResponses(msgspec.Struct, frozen=True):
    """Those that a request continues, oldest first, and those whose items it refers to."""

    chain: list[StoredResponse] = []
    referenced: list[StoredResponse] = []


class CreatedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A whole response as JSON. `cost_nano` is None when it is unknown."""

    content: bytes
    model: str
    provider_seconds: float
    cost_nano: int | None


class InputItemPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the input items of a response."""

    object: str = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedResponse(msgspec.Struct, frozen=True):
    id: str
    object: str = "response"
    deleted: bool = True
