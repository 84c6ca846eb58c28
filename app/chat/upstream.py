"""Reads one answer from its provider, streamed or whole, and asks again while the provider certainly did not answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from time import perf_counter
from typing import Final, cast

from app.chat import validation
from app.chat.schemas import AnswerError, AnswerFormat, AnswerResult, ChatRequest, MessageStatus
from app.chat.streaming import StreamingAnswer
from app.providers.contract import (
    Chunk,
    Completed,
    ErrorCode,
    Failed,
    Failure,
    Kind,
    Provider,
    Request,
    Retryable,
)

MAX_ANSWER: Final = 400_000  # characters of one answer
ATTEMPTS: Final = 3  # of requests that the provider certainly did not answer
MAX_WAIT: Final = 10.0  # seconds; when the provider asks for a longer pause, the answer fails

_NO_PROVIDER: Final = AnswerError(
    ErrorCode.PROVIDER_FAILED,
    "The provider of this model is no longer configured. Choose another model, or contact an admin.",
)
_TOO_LONG: Final = AnswerError(
    ErrorCode.RESULT_TOO_LARGE,
    f"The answer was cut off at the limit of {MAX_ANSWER:,} characters.",
)


async def read(
    provider: Provider | None, request: ChatRequest, live: StreamingAnswer, retry_pause: float
) -> AnswerResult:
    """Read the answer into `live`; raises Failure. `retry_pause` is in seconds and doubles with each retry."""
    if provider is None:
        return AnswerResult.failed(_NO_PROVIDER)
    provider_request = _provider_request(live.message.id, request)
    attempt = 0
    while True:
        live.requested_at = perf_counter()
        try:
            if request.format is AnswerFormat.RAW_WHOLE:
                return await _submit(provider, provider_request, live)
            return await _stream(provider, provider_request, live, with_usage=request.with_usage)
        except Failure as failure:
            attempt += 1
            wait = _pause(failure.outcome, attempt, retry_pause)
            if wait is None or live.has_output:
                raise
        finally:
            live.provider_seconds += perf_counter() - live.requested_at
        await asyncio.sleep(wait)


async def _stream(provider: Provider, request: Request, live: StreamingAnswer, *, with_usage: bool) -> AnswerResult:
    """Read one stream to its end."""
    metrics = Chunk()
    # The provider contract guarantees an async generator.
    stream = cast("AsyncGenerator[Chunk, None]", provider.stream(request))
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            if live.cancelled:
                raise asyncio.CancelledError
            if request.body is None:
                live.add(chunk.delta[: MAX_ANSWER - live.size])
            elif not chunk.usage_only or with_usage:
                live.media_type = chunk.media_type or live.media_type
                live.add(chunk.delta, chunk.event)
            live.finish_reason = chunk.finish_reason or live.finish_reason
            live.generation_id = chunk.generation_id or live.generation_id
            metrics = Chunk(
                usage=chunk.usage or metrics.usage,
                cost_nano=metrics.cost_nano if chunk.cost_nano is None else chunk.cost_nano,
                generation_id=chunk.generation_id or metrics.generation_id,
            )
            if live.size >= MAX_ANSWER and request.body is None:
                return _result(live, metrics, _TOO_LONG)
    return _result(live, metrics)


async def _submit(provider: Provider, request: Request, live: StreamingAnswer) -> AnswerResult:
    """Ask for a whole answer."""
    outcome = await provider.submit(request, Path())  # text results have no files
    if isinstance(outcome, Retryable | Failed):
        raise Failure(outcome)
    assert isinstance(outcome, Completed), "text results are never pending"  # noqa: S101
    live.reply = outcome.reply
    live.finish_reason = outcome.finish_reason
    live.add(outcome.text or "")
    return _result(live, Chunk(usage=outcome.usage, cost_nano=outcome.cost_nano, generation_id=outcome.generation_id))


def _result(live: StreamingAnswer, metrics: Chunk, error: AnswerError | None = None) -> AnswerResult:
    return AnswerResult(
        status=MessageStatus.FAILED if error else MessageStatus.COMPLETE,
        usage=metrics.usage,
        cost_nano=metrics.cost_nano,
        generation_id=metrics.generation_id,
        error=error,
        finish_reason=live.finish_reason,
    )


def _pause(outcome: Retryable | Failed, attempt: int, first: float) -> float | None:
    """Seconds until the request is retried; None when it is not."""
    if isinstance(outcome, Failed) or attempt >= ATTEMPTS:
        return None
    wait = max(first * 2 ** (attempt - 1), outcome.wait or 0)
    return wait if wait <= MAX_WAIT else None


def _provider_request(id: str, request: ChatRequest) -> Request:
    model = request.model
    return Request(
        job_id=id,
        kind=Kind.TEXT,
        model=model.upstream_id,
        prompt=validation.text_of(request.turns[-1]) if request.turns else "",
        params=dict(request.params),
        messages=request.turns,
        body=request.body,
        operation=request.operation,
        route=model.route or None,
        output_modalities=model.output_modalities,
    )
