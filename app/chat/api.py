"""Chat for programs: a question with all that went before, an answer in one piece or as it comes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Final

from litestar import Request, Response, Router, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import Body

from app.accounts.guards import may_use, signed_in
from app.accounts.schemas import KeyLimits
from app.base.once import once
from app.chat.schemas import ChatOut, ChatRequest, Delta
from app.chat.service import Chat
from app.chat.validation import MAX_PICTURE, MAX_PICTURES, MAX_TURNS, ROLES, wrong
from app.web import sse
from app.web.disconnect import cancel_on_disconnect
from app.web.limits import PAID
from app.web.openapi import BEARER, Streamed, error_responses

Program = Request[Any, Any, State]

MAX_BODY: Final = 24 * 1024 * 1024  # bytes

_PART: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"enum": ["text", "image_url"]},
        "text": {"type": "string"},
        "image_url": {
            "type": "object",
            "properties": {"url": {"type": "string", "description": "A data URL with a picture in base64."}},
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
        description="Further properties are the model's own `parameters` (see `/ai/models`); others are refused.",
        schema_extra={
            "type": "object",
            "properties": {
                "model": {"type": "string", "description": "An id from `/ai/models` of a model that makes text."},
                "messages": {
                    "type": "array",
                    "items": _MESSAGE,
                    "minItems": 1,
                    "maxItems": MAX_TURNS,
                    "description": "What was said so far, the last message by the user; at most"
                    f" {MAX_PICTURES} pictures of {MAX_PICTURE // 1_000_000} MB.",
                },
                "stream": {"type": "boolean", "default": False, "description": "Send the answer as it comes."},
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
    opt={**sse.UNCOMPRESSED, **PAID},
    request_max_body_size=MAX_BODY,
    operation_class=Streamed,
    summary="Talk with a model",
)
async def talk(request: Program, data: ChatBody, chat: NamedDependency[Chat]) -> Response[ChatOut]:
    """Answers with the whole message, or with `stream: true` as server-sent events. Hanging up stops the model."""
    streamed = data.get("stream")
    if not isinstance(streamed, bool | None):
        raise wrong("stream", "must be true or false")
    ask, owner, limits = chat.check(data), request.user.id, request.auth.limits
    may_use(request.auth, ask.model.id)
    if streamed:
        return sse.stream(_events(chat, owner, ask, limits))  # type: ignore[return-value]
    key = once(request.headers.get("Idempotency-Key"), request.url.path, data)
    return Response(ChatOut.of(await cancel_on_disconnect(request, chat.answer(owner, ask, key, limits=limits))))


async def _events(
    chat: Chat, owner: str, ask: ChatRequest, limits: KeyLimits | None
) -> AsyncGenerator[Delta | ChatOut, None]:
    async with aclosing(chat.stream(owner, ask, limits=limits)) as pieces:
        async for piece in pieces:
            yield Delta(piece) if isinstance(piece, str) else ChatOut.of(piece)


routes = [Router("/api/v1/ai", route_handlers=[talk], guards=[signed_in], security=BEARER, tags=["Chat"])]
