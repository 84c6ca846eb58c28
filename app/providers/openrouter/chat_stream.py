"""Turns the events of a streamed text into chunks."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from app.providers.contract import Chunk, ErrorCode, Failed, Failure, Usage
from app.providers.errors import Ambiguous
from app.providers.event_stream import Events
from app.providers.lenient_json import EventDecoder
from app.providers.openrouter import failures
from app.providers.openrouter.chat_responses import errored, first_choice, text_of
from app.providers.openrouter.coerce import cost_nano, mapping, text, usage

_MAX_TEXT = 4_000_000  # characters of a streamed response, far above any model's limit
_INLINE = 256 * 1024  # characters of one event that are parsed on the event loop; larger events are parsed in a thread
_TEXT_FIELDS = frozenset(("role", "content"))


class ChatStream:
    """One streamed response. `detail` shortens a provider's error message for admins. With `raw`, chunks also have their
    `choice`."""

    def __init__(self, events: Events, detail: Callable[[str], str], *, raw: bool) -> None:
        self._events = events
        self._detail = detail
        self._raw = raw
        self._decoder = EventDecoder()
        self._state = _StreamState(events.headers.get("x-generation-id"))

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The text as it arrives, then a final chunk with the usage. Raises `Failure`."""
        state = self._state
        try:
            async with aclosing(self._events.payloads()) as batches:
                async for payloads in batches:
                    chunks, failure = await self._merge(payloads)
                    for chunk in chunks:
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
        if state.finish == "content_filter" or state.refusal:
            raise Failure(failures.refused("", state.cost_nano, state.refusal))
        yield Chunk(
            usage=state.usage,
            cost_nano=state.cost_nano,
            finish_reason=state.finish or "stop",
            generation_id=state.generation_id,
        )

    async def _merge(self, payloads: Sequence[str]) -> tuple[list[Chunk], Failure | None]:
        """Payloads that arrived together, merged into as few chunks as possible, and the failure that ends them, if any."""
        state, merger = self._state, _ChunkMerger()
        failure: Failure | None = None
        for payload in payloads:
            try:
                decode = self._decoder.decode
                event = decode(payload) if len(payload) <= _INLINE else await asyncio.to_thread(decode, payload)
            except ValueError:
                detail = "an event is not valid JSON"
                failure = Failure(Failed(code=ErrorCode.PROVIDER_FAILED, message=failures.INTERRUPTED, detail=detail))
                break
            delta = state.apply(event)
            if state.error:
                detail = self._detail(text(state.error.get("message")))
                failure = Failure(errored(state.error, state.cost_nano, None, detail, partial=state.length > 0))
                break
            if state.length > _MAX_TEXT:
                too_big = Failed(code=ErrorCode.RESULT_TOO_LARGE, message=failures.TOO_BIG, cost_nano=state.cost_nano)
                failure = Failure(too_big)
                break
            merger.add(delta, state.delta if self._raw and state.delta else None, state.generation_id)
        return merger.chunks(state.generation_id), failure


class _StreamState:
    """What has been received so far on one stream."""

    def __init__(self, generation_id: str | None) -> None:
        self.generation_id = generation_id
        self.finish: str | None = None
        self.usage: Usage | None = None
        self.cost_nano: int | None = None
        self.length = 0  # characters of text so far
        self.refusal = ""
        self.error: dict[str, Any] = {}
        self.delta: dict[str, Any] = {}  # of the latest chunk, unchanged

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
        if "error" in body or "error" in choice or self.finish == "error":
            self.error = failures.error_of(body) or failures.error_of(choice)
            if self.finish == "error" and not self.error:
                self.error = {"message": "finish_reason is error"}
        self.delta = delta = mapping(choice.get("delta"))
        if "refusal" in delta:
            self.refusal += text(delta["refusal"])
        added = text_of(delta.get("content"))
        self.length += len(added)
        return added


class _ChunkMerger:
    """Merges consecutive text deltas into one chunk; every other delta keeps a chunk of its own."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._texts: list[str] = []
        self._first: dict[str, Any] | None = None  # the raw delta of the first text

    def add(self, delta: str, choice: dict[str, Any] | None, generation_id: str | None) -> None:
        if delta and (choice is None or _is_text_only(choice)):
            if not self._texts:
                self._first = choice
            self._texts.append(delta)
        elif choice is not None:
            self._flush(generation_id)
            self._chunks.append(Chunk(delta=delta, generation_id=generation_id, choice=choice))

    def chunks(self, generation_id: str | None) -> list[Chunk]:
        """The merged chunks."""
        self._flush(generation_id)
        return self._chunks

    def _flush(self, generation_id: str | None) -> None:
        if self._texts:
            delta = "".join(self._texts)
            choice = None if self._first is None else {**self._first, "content": delta}
            self._chunks.append(Chunk(delta=delta, generation_id=generation_id, choice=choice))
            self._texts.clear()


def _is_text_only(choice: dict[str, Any]) -> bool:
    """Whether the delta contains text only. Other fields cannot be merged here."""
    return choice.keys() <= _TEXT_FIELDS and isinstance(choice.get("content"), str)
