"""`POST /chat/completions`: text, streamed or not."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from app.base.config import MB
from app.providers.contract import Chunk, Failed, Failure, Outcome, Request, Retryable
from app.providers.errors import ClientError
from app.providers.openrouter import failures
from app.providers.openrouter.api import Api
from app.providers.openrouter.chat_requests import PATH, text_body
from app.providers.openrouter.chat_responses import finished
from app.providers.openrouter.chat_stream import ChatStream
from app.providers.openrouter.coerce import mapping, rows, text
from app.providers.responses import JsonResponse

_MAX_RESPONSE = 8 * MB  # of a text response that is not streamed


class ChatClient:
    """Text generation through one API."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def submit(self, request: Request) -> Outcome:
        content = await text_body(request, stream=False)
        timeouts = self._api.timeouts
        try:
            response = await self._api.post(
                PATH, content, total=timeouts.text, idle=timeouts.text_idle, max_bytes=_MAX_RESPONSE, reuse=True
            )
        except ClientError as exc:
            return failures.no_response(exc)
        detail = self._api.detail(f"{response.status} {failures.message_of(response)}")
        return finished(response, detail, raw=request.raw)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """The text as it arrives, then a final chunk with the usage. Raises `Failure` on error."""
        content = await text_body(request, stream=True)
        try:
            async with self._api.stream(PATH, content) as events:
                if events.is_stream:
                    async with aclosing(ChatStream(events, self._api.detail, raw=request.raw).chunks()) as chunks:
                        async for chunk in chunks:
                            yield chunk
                else:
                    for chunk in self._whole(await events.json_response(), raw=request.raw):
                        yield chunk
        except ClientError as exc:
            raise Failure(failures.no_response(exc)) from None

    def _whole(self, response: JsonResponse, *, raw: bool) -> list[Chunk]:
        """A response that was not streamed as requested: an error, or a server without streaming."""
        outcome = finished(response, self._api.detail(f"{response.status} {failures.message_of(response)}"), raw=raw)
        if isinstance(outcome, (Retryable, Failed)):
            raise Failure(outcome)
        reply = outcome.reply or {}
        return [
            Chunk(
                delta=outcome.text or "",
                generation_id=outcome.generation_id,
                choice=_as_delta(mapping(reply.get("message"))) if raw else None,
            ),
            Chunk(
                usage=outcome.usage,
                cost_nano=outcome.cost_nano,
                finish_reason=text(reply.get("finish_reason")) or "stop",
                generation_id=outcome.generation_id,
            ),
        ]


def _as_delta(message: dict[str, Any]) -> dict[str, Any]:
    """A complete message as a single stream delta, in which tool calls need an index."""
    calls = [{"index": index, **mapping(call)} for index, call in enumerate(rows(message.get("tool_calls")))]
    return {**message, "tool_calls": calls} if calls else message
