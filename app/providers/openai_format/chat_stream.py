"""Turns the events of a streamed text into chunks."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from app.base.config import MB
from app.providers import failures
from app.providers.coerce import cost_nano, integer, mapping, rows, text, usage
from app.providers.contract import Chunk, ErrorCode, Failed, Failure, Usage
from app.providers.errors import Ambiguous
from app.providers.event_stream import Events
from app.providers.lenient_json import EventDecoder
from app.providers.openai_format import error_responses
from app.providers.openai_format.chat_responses import errored, first_choice, text_of

_MAX_TEXT = 4_000_000  # characters of text in a streamed response, far above any model's limit
_MAX_STREAM = 64 * MB  # characters of all its events, which may contain images
_INLINE = 256 * 1024  # characters of one event that are parsed on the event loop; larger events are parsed in a thread


class ChatStream:
    """One streamed response. `detail` shortens a provider's error message for admins. With `whole`, each event is also passed on
    as it came, and a refusal is an answer like any other."""

    def __init__(self, events: Events, detail: Callable[[str], str], *, whole: bool) -> None:
        self._events = events
        self._detail = detail
        self._whole = whole
        self._decoder = EventDecoder()
        self._calls = _CallIndexes()
        self._state = _StreamState(events.headers.get("x-generation-id"))

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The text as it arrives, then a final chunk with the usage. Raises `Failure`."""
        state = self._state
        try:
            async with aclosing(self._events.payloads()) as batches:
                async for payloads in batches:
                    chunks, failure = await self._read(payloads)
                    for chunk in chunks if self._whole else _merged(chunks, state.generation_id):
                        yield chunk
                    if failure:
                        raise failure
        except Ambiguous as exc:
            # After the finish reason the text is complete; only the usage is missing.
            if state.finish is None:
                raise Failure(failures.interrupted(exc, state.cost_nano)) from None
        if state.finish is None and not self._events.done:
            raise Failure(
                Failed(code=ErrorCode.PROVIDER_FAILED, message=failures.INTERRUPTED, cost_nano=state.cost_nano)
            )
        if not self._whole and (state.finish == "content_filter" or state.refusal):
            raise Failure(failures.refused("", state.cost_nano, state.refusal))
        yield Chunk(
            usage=state.usage,
            cost_nano=state.cost_nano,
            finish_reason=state.finish or "stop",
            generation_id=state.generation_id,
        )

    async def _read(self, payloads: Sequence[str]) -> tuple[list[Chunk], Failure | None]:
        """A chunk for each payload, and the failure that ends them, if any."""
        chunks: list[Chunk] = []
        for payload in payloads:
            try:
                chunks.append(await self._chunk(payload))
            except Failure as failure:
                return chunks, failure
        return chunks, None

    async def _chunk(self, payload: str) -> Chunk:
        state, decode = self._state, self._decoder.decode
        state.received += len(payload)
        try:
            event, valid = await asyncio.to_thread(decode, payload) if len(payload) > _INLINE else decode(payload)
        except ValueError:
            detail = "an event is not valid JSON"
            interrupted = Failed(code=ErrorCode.PROVIDER_FAILED, message=failures.INTERRUPTED, detail=detail)
            raise Failure(interrupted) from None
        delta = state.apply(event)
        if state.error:
            detail = self._detail(text(state.error.get("message")))
            raise Failure(errored(state.error, state.cost_nano, None, detail, partial=state.length > 0))
        if state.length > _MAX_TEXT or state.received > _MAX_STREAM:
            raise Failure(Failed(code=ErrorCode.RESULT_TOO_LARGE, message=failures.TOO_BIG, cost_nano=state.cost_nano))
        if not self._whole:
            return Chunk(delta=delta)
        if self._calls.complete(event) or not valid or "\n" in payload:
            payload = msgspec.json.encode(event).decode()
        return Chunk(
            delta=delta,
            generation_id=state.generation_id,
            event=payload,
            usage_only=not rows(mapping(event).get("choices")) and bool(mapping(event).get("usage")),
        )


class _StreamState:
    """What has been received so far on one stream."""

    def __init__(self, generation_id: str | None) -> None:
        self.generation_id = generation_id
        self.finish: str | None = None
        self.usage: Usage | None = None
        self.cost_nano: int | None = None
        self.length = 0  # characters of text so far
        self.received = 0  # characters of all events so far
        self.refusal = ""
        self.error: dict[str, Any] = {}

    def apply(self, event: Any) -> str:
        """Record an event and return its text. The chunk with the usage repeats the finish reason."""
        body = mapping(event)
        self.generation_id = self.generation_id or text(body.get("id")) or None
        if body.get("usage"):
            self.usage = usage(body) or self.usage
            cost = cost_nano(body)
            self.cost_nano = self.cost_nano if cost is None else cost
        choice = first_choice(body)
        if finish := choice.get("finish_reason"):
            self.finish = text(finish) or self.finish
        if body.get("error") or choice.get("error") or self.finish == "error":
            self.error = error_responses.error_of(body) or error_responses.error_of(choice)
            if self.finish == "error" and not self.error:
                self.error = {"message": "finish_reason is error"}
        delta = mapping(choice.get("delta"))
        if "refusal" in delta:
            self.refusal += text(delta["refusal"])
        added = text_of(delta.get("content"))
        self.length += len(added)
        return added


class _CallIndexes:
    """Supplies the index of each tool call, by which OpenAI's clients put the parts of its arguments together."""

    def __init__(self) -> None:
        self._ids: dict[tuple[Any, str], int] = {}  # choice and call id -> index
        self._last: dict[Any, int] = {}  # choice -> index of the latest call

    def complete(self, event: Any) -> bool:
        """Add what is missing to an event; whether anything was."""
        changed = False
        for choice in map(mapping, rows(mapping(event).get("choices"))):
            place = choice.get("index")
            for call in map(mapping, rows(mapping(choice.get("delta")).get("tool_calls"))):
                if integer(call.get("index")) is None:
                    call["index"] = self._index(place, text(call.get("id")))
                    changed = True
        return changed

    def _index(self, choice: Any, id: str) -> int:
        """A part without an id belongs to the latest call."""
        last = self._last.get(choice, -1)
        index = self._ids.setdefault((choice, id), last + 1) if id else max(last, 0)
        self._last[choice] = max(last, index)
        return index


def _merged(chunks: Sequence[Chunk], generation_id: str | None) -> list[Chunk]:
    """The text of chunks that arrived together, in one."""
    delta = "".join([chunk.delta for chunk in chunks])
    return [Chunk(delta=delta, generation_id=generation_id)] if delta else []
