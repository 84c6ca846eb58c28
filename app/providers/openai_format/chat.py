"""`POST /chat/completions`: text, streamed or not."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from app.base.config import MB
from app.providers import failures
from app.providers.coerce import mapping, rows
from app.providers.contract import Chunk, Completed, ErrorCode, Failed, Failure, Outcome, Request, Retryable
from app.providers.errors import ClientError
from app.providers.openai_format import error_responses
from app.providers.openai_format.api import Api
from app.providers.openai_format.chat_requests import PATH, ChatDialect, text_body
from app.providers.openai_format.chat_responses import finished
from app.providers.openai_format.chat_stream import ChatStream
from app.providers.responses import JsonResponse

_MAX_RESPONSE = 32 * MB  # of a text response that is not streamed; it may contain images
_NO_TEXT = "The model returned no text. Raise the token limit or change the prompt."


class ChatClient:
    """Text generation through one API."""

    def __init__(self, api: Api, dialect: ChatDialect) -> None:
        self._api = api
        self._dialect = dialect

    async def submit(self, request: Request) -> Outcome:
        content = await text_body(request, self._dialect, stream=False)
        timeouts = self._api.timeouts
        try:
            response = await self._api.post(
                PATH, content, total=timeouts.text, idle=timeouts.text_idle, max_bytes=_MAX_RESPONSE, reuse=True
            )
        except ClientError as exc:
            return failures.no_response(exc)
        detail = self._api.detail(f"{response.status} {error_responses.message_of(response)}")
        outcome = finished(response, detail, whole=request.body is not None)
        if isinstance(outcome, Completed) and not outcome.text and request.body is None:
            return Failed(code=ErrorCode.PROVIDER_FAILED, message=_NO_TEXT, cost_nano=outcome.cost_nano, detail=detail)
        return outcome

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """The text as it arrives, then a final chunk with the usage. Raises `Failure` on error."""
        content = await text_body(request, self._dialect, stream=True)
        timeouts = self._api.timeouts
        try:
            async with self._api.stream(
                PATH, content, total=timeouts.stream, idle=timeouts.text_idle, reuse=True
            ) as events:
                if events.is_stream:
                    async with aclosing(
                        ChatStream(events, self._api.detail, whole=request.body is not None).chunks()
                    ) as chunks:
                        async for chunk in chunks:
                            yield chunk
                else:
                    for chunk in self._whole(await events.json_response(), whole=request.body is not None):
                        yield chunk
        except ClientError as exc:
            raise Failure(failures.no_response(exc)) from None

    def _whole(self, response: JsonResponse, *, whole: bool) -> list[Chunk]:
        """A response that was not streamed as requested: an error, or a server without streaming."""
        outcome = finished(
            response, self._api.detail(f"{response.status} {error_responses.message_of(response)}"), whole=whole
        )
        if isinstance(outcome, (Retryable, Failed)):
            raise Failure(outcome)
        return [
            Chunk(
                delta=outcome.text or "",
                generation_id=outcome.generation_id,
                event=_as_event(outcome.reply) if outcome.reply is not None else None,
            ),
            Chunk(
                usage=outcome.usage,
                cost_nano=outcome.cost_nano,
                finish_reason=outcome.finish_reason or "stop",
                generation_id=outcome.generation_id,
            ),
        ]


def _as_event(reply: dict[str, Any]) -> str:
    """A whole answer as the single event of a stream, in which a message is called delta and tool calls need an index."""
    choices = [
        {name: value for name, value in choice.items() if name != "message"} | {"delta": _as_delta(choice)}
        for choice in map(mapping, rows(reply.get("choices")))
    ]
    event = {**reply, "object": "chat.completion.chunk", "choices": choices}
    return msgspec.json.encode(event).decode()


def _as_delta(choice: dict[str, Any]) -> dict[str, Any]:
    message = mapping(choice.get("message"))
    calls = [{"index": index, **mapping(call)} for index, call in enumerate(rows(message.get("tool_calls")))]
    return {**message, "tool_calls": calls} if calls else message
