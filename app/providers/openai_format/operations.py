"""Embeddings, moderations, speech and transcriptions: one request, whose answer is passed on as it came."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

import msgspec

from app.providers import failures
from app.providers.bodies import JSON, EncodedBody, json_body
from app.providers.byte_stream import ByteStream
from app.providers.coerce import cost_nano, usage
from app.providers.contract import Chunk, ErrorCode, Failed, Failure, Kind, Operation, Request, Retryable
from app.providers.errors import Broken, ClientError, TimedOut
from app.providers.openai_format import error_responses
from app.providers.openai_format.api import Api
from app.providers.openai_format.chat_responses import errored, generation_id
from app.providers.responses import JsonResponse

_PATHS: Final = {
    Operation.EMBEDDINGS: "/embeddings",
    Operation.MODERATIONS: "/moderations",
    Operation.SPEECH: "/audio/speech",
    Operation.TRANSCRIPTIONS: "/audio/transcriptions",
}
_NOT_OFFERED: Final = "The provider does not offer {operation}, or not with this model."


class OperationsClient:
    """Operations other than chat through one API."""

    def __init__(
        self,
        api: Api,
        encode: Callable[[Request], EncodedBody],
        cost: Callable[[str, Any], int | None] = lambda _, body: cost_nano(body),
    ) -> None:
        """`encode` makes the body of a request, and runs in a thread; it may raise `Failure`. `cost` returns the cost in
        nano-dollars of a model's answer."""
        self._api = api
        self._encode = encode
        self._cost = cost

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """The answer in pieces, then a chunk with the usage. Raises `Failure`."""
        content = await asyncio.to_thread(self._encode, request)
        has_output = False
        try:
            async with self._api.stream_bytes(_PATHS[request.operation], content) as answer:
                chunks = self._json(request, answer) if answer.is_json else _pieces(answer)
                async with aclosing(chunks):
                    async for chunk in chunks:
                        yield chunk
                        has_output = True
        except ClientError as exc:
            if has_output and isinstance(exc, TimedOut | Broken):
                raise Failure(failures.interrupted(exc, None)) from None
            raise Failure(failures.no_response(exc)) from None

    async def _json(self, request: Request, answer: ByteStream) -> AsyncGenerator[Chunk, None]:
        response = await answer.json_response()
        if (failure := self._failure(request, response)) is not None:
            raise Failure(failure)
        event = await asyncio.to_thread(msgspec.json.encode, response.body)
        yield Chunk(event=event, media_type=JSON)
        yield Chunk(
            usage=usage(response.body),
            cost_nano=self._cost(request.model, response.body),
            generation_id=generation_id(response),
        )

    def _failure(self, request: Request, response: JsonResponse) -> Retryable | Failed | None:
        detail = self._api.detail(f"{response.status} {error_responses.message_of(response)}")
        if response.status in (404, 405):
            message = _NOT_OFFERED.format(operation=request.operation.value)
            return Failed(code=ErrorCode.NOT_OFFERED, message=message, carried_out=False, detail=detail)
        if response.status != 200:
            return error_responses.failed(response, Kind.TEXT, detail, unbilled=error_responses.TEXT_UNBILLED)
        cost = cost_nano(response.body)
        if error := error_responses.error_of(response.body):
            return errored(error, cost, None, detail, partial=False)
        if not isinstance(response.body, dict):
            return Failed(code=ErrorCode.RESULT_INVALID, message=failures.UNREADABLE, cost_nano=cost, detail=detail)
        return None


async def _pieces(answer: ByteStream) -> AsyncGenerator[Chunk, None]:
    id = answer.headers.get("x-generation-id") or None
    async with aclosing(answer.pieces()) as pieces:
        async for piece in pieces:
            yield Chunk(event=piece, media_type=answer.media_type, generation_id=id)
    yield Chunk(generation_id=id)


def as_json(request: Request) -> EncodedBody:
    return json_body({**(request.body or {}), "model": request.model})
