"""Chat API: takes a full message history and returns the answer, whole or streamed."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Final

from litestar import Request, Response, Router, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import Body

from app.accounts.guards import may_use, signed_in
from app.accounts.schemas import KeyLimits
from app.base.sizes import format_size
from app.chat.schemas import ChatDelta, ChatOut, ChatRequest
from app.chat.service import Chat
from app.chat.validation import MAX_IMAGE, MAX_IMAGES, MAX_TURNS, ROLES, wrong
from app.idempotency.schemas import IdempotencyKey
from app.web import sse
from app.web.disconnect import cancel_on_disconnect
from app.web.limits import PAID
from app.web.openapi import BEARER, StreamedOperation, error_responses

Program = Request[Any, Any, State]

MAX_BODY: Final = 24 * 1024 * 1024  # bytes

_PART: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"enum": ["text", "image_url"]},
        "text": {"type": "string"},
        "image_url": {
            "type": "object",
            "properties": {"url": {"type": "string", "description": "A base64 data URL of an image."}},
        },
    },
    "required": ["type"],
}
_MESSAGE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": list(ROLES)},
        "content": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": _PART, "minItems": 1}]},
    },
    "required": ["role", "content"],
    "additionalProperties": False,
}
ChatBody = Annotated[
    dict[str, Any],
    Body(
        description="Additional properties are the model's own `parameters` (see `/ai/models`); any others are rejected.",
        schema_extra={
            "type": "object",
            "properties": {
                "model": {"type": "string", "description": "The id of a text model from `/ai/models`."},
                "messages": {
                    "type": "array",
                    "items": _MESSAGE,
                    "minItems": 1,
                    "maxItems": MAX_TURNS,
                    "description": "The conversation so far, ending with a user message; at most"
                    f" {MAX_IMAGES} images of {format_size(MAX_IMAGE)}.",
                },
                "stream": {
                    "type": "boolean",
                    "default": False,
                    "description": "Stream the answer as server-sent events.",
                },
            },
            "required": ["model", "messages"],
            "additional_properties": True,
            "examples": [
                {
                    "model": "anthropic/claude-sonnet-5",
                    "messages": [{"role": "user", "content": "Three names for a paper boat"}],
                }
            ],
        },
    ),
]


@post(
    "/chat",
    status_code=200,
    responses=error_responses(400, 401, 403, 409, 413, 502),
    opt=PAID,
    request_max_body_size=MAX_BODY,
    operation_class=StreamedOperation,
    summary="Chat completion",
)
async def create_chat(request: Program, data: ChatBody, chat: NamedDependency[Chat]) -> Response[ChatOut]:
    """Returns the complete message, or server-sent events with `stream: true`. Disconnecting stops the model."""
    streamed = data.get("stream")
    if not isinstance(streamed, bool | None):
        raise wrong("stream", "must be true or false")
    owner, limits = request.user.id, request.auth.limits

    async def parse() -> ChatRequest:
        chat_request = chat.completions.parse(data)
        may_use(request.auth, chat_request.model.id)
        return chat_request

    if streamed:
        return sse.stream(_events(chat, owner, await parse(), limits))  # type: ignore[return-value]
    key = IdempotencyKey.of(owner, request.headers.get("Idempotency-Key"), request.url.path, data)
    completing = chat.completions.complete(owner, parse, key, limits=limits)
    return Response(ChatOut.of((await cancel_on_disconnect(request, completing)).message))


async def _events(
    chat: Chat, owner: str, chat_request: ChatRequest, limits: KeyLimits | None
) -> AsyncGenerator[ChatDelta | ChatOut, None]:
    async with aclosing(chat.completions.stream(owner, chat_request, limits=limits)) as pieces:
        async for piece in pieces:
            yield ChatDelta(piece) if isinstance(piece, str) else ChatOut.of(piece)


routes = [Router("/api/v1/ai", route_handlers=[create_chat], guards=[signed_in], security=BEARER, tags=["Chat"])]
