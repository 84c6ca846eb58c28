"""A response as a stream of events, from the events of a chat completion as they arrive."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from app.base.errors import AtelierError
from app.chat.service import StreamingAnswer
from app.responses.output import Output
from app.responses.response_object import begun, ended
from app.responses.schemas import Body, Event, ResponseRequest
from app.web import sse

INLINE: Final = 64 * 1024  # characters of events that are read and written on the event loop; more in a thread
KEEP_ALIVE: Final = b": keep-alive\n\n"


class ResponseStream:
    """Writes the events of one response."""

    def __init__(self, request: ResponseRequest, answer: StreamingAnswer) -> None:
        self._request = request
        self._answer = answer
        self.output = Output(answer.message.id, shows_reasoning=request.shows_reasoning)
        self._count = 0  # of events so far

    async def written(
        self, events: AsyncGenerator[Sequence[str], None], store: Callable[[Body, Output], Awaitable[None]]
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of the response. Raises what went wrong before the first event; what goes wrong later is an event. The response is
        stored before its last event is sent. Closing the iterator cancels the generation, and then nothing is stored."""
        async with aclosing(events):
            first = await anext(events, None)
            if first is None:
                self._answer.require_complete()
            yield await asyncio.to_thread(self._begin) + await self._add(first or ())
            async for batch in events:
                if written := await self._add(batch) if batch else KEEP_ALIVE:
                    yield written
        response, last = await asyncio.to_thread(self._end, self._failure())
        try:
            await store(response, self.output)
        except AtelierError as exc:
            response, last = await asyncio.to_thread(self._end, exc)
        yield await asyncio.to_thread(self._encoded, last)

    def _begin(self) -> bytes:
        response = begun(self._request, self._answer.message)
        return self._encoded(
            [{"type": f"response.{kind}", "response": response} for kind in ("created", "in_progress")]
        )

    async def _add(self, batch: Sequence[str]) -> bytes:
        return self._read(batch) if sum(map(len, batch)) <= INLINE else await asyncio.to_thread(self._read, batch)

    def _read(self, batch: Sequence[str]) -> bytes:
        return self._encoded([event for text in batch for event in self.output.add(msgspec.json.decode(text))])

    def _failure(self) -> AtelierError | None:
        try:
            self._answer.require_complete()
        except AtelierError as exc:
            return exc
        return None

    def _end(self, failure: AtelierError | None) -> tuple[Body, list[Event]]:
        """The response and the events that end it. One that failed ends no item, so that no one takes a part for the whole."""
        last = self.output.finish(failed=failure is not None)
        response = ended(self._request, self._answer.message, self.output, failure)
        event = {"type": f"response.{response['status']}", "response": response}
        return response, [event] if failure else [*last, event]

    def _encoded(self, events: Sequence[Event]) -> bytes:
        return b"".join([self._numbered(event) for event in events])

    def _numbered(self, event: Event) -> bytes:
        number, self._count = self._count, self._count + 1
        return sse.data({**event, "sequence_number": number}, event=event["type"])
