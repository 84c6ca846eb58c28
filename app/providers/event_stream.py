"""A streamed response: the server-sent events of an answer as they arrive, and how often they are read."""

import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

import msgspec

from app.providers import lenient_json
from app.providers.errors import TooBig
from app.providers.exchange import CONNECTION_ERRORS
from app.providers.responses import JsonResponse, Response
from app.providers.sse import EventParser, EventTooLong, ServerSentEvent

END = "[DONE]"
_UNTHROTTLED_STREAMS = 25  # streams that are read without a pause
_PAUSE = 0.001  # seconds added to the pause between reads for each further stream
_MAX_PAUSE = 0.22


class StreamPacing:
    """With many streams, read less often and more at a time: waking up costs far more than parsing a token."""

    def __init__(self) -> None:
        self._streams = 0  # being read

    @contextmanager
    def stream(self) -> Iterator[None]:
        """One more stream is being read in the block."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def pause(self) -> float:
        """The seconds to wait between two reads of a stream. The random factor keeps streams from being read in lockstep."""
        return min(_MAX_PAUSE, max(0, self._streams - _UNTHROTTLED_STREAMS) * _PAUSE) * random.uniform(0.8, 1.2)


class Events:
    """A streamed response. When `is_stream` is false, it is an ordinary one: read it with `json_response()`."""

    def __init__(self, response: Response, max_bytes: int, pause: Callable[[], float]) -> None:
        """`max_bytes` limits one event. `pause` returns the number of seconds to wait between reads."""
        self._response = response
        self._max_bytes = max_bytes
        self._pause = pause
        self.headers = response.headers
        self.done = False  # whether the [DONE] marker was received

    @property
    def is_stream(self) -> bool:
        return self._response.status == 200 and self._response.mime == "text/event-stream"

    async def json_response(self) -> JsonResponse:
        async with self._response.exchange.within_deadline():
            return await self._response.read_json(self._max_bytes)

    async def payloads(self) -> AsyncGenerator[list[str], None]:
        """The data of the events, without comments and the end marker, in lists of those that arrived together. An event of
        type `error` is a JSON object with the key `error`, whatever its data. Raises TooBig, Broken or TimedOut."""
        parser = EventParser(self._max_bytes)
        exchange = self._response.exchange
        try:
            async with aclosing(self._response.chunks(self._pause)) as chunks:
                async for chunk in chunks:
                    if ready := self._until_end(self._parse(parser, chunk)):
                        yield ready
                    if self.done:
                        return
        except CONNECTION_ERRORS as exc:
            raise exchange.to_client_error(exc) from None
        if ready := self._until_end(self._parse(parser, None)):
            yield ready

    def _until_end(self, events: list[ServerSentEvent]) -> list[str]:
        payloads = []
        for data, kind in events:
            if data.strip() == END:
                self.done = True
                break
            payloads.append(_as_error(data) if kind == "error" else data)
        return payloads

    def _parse(self, parser: EventParser, chunk: bytes | None) -> list[ServerSentEvent]:
        """The events that `chunk`, or with None the end of the stream, completes."""
        try:
            return parser.end() if chunk is None else parser.feed(chunk)
        except EventTooLong:
            raise TooBig(f"{self._response.exchange.host} sent an event larger than {self._max_bytes} bytes") from None


def _as_error(data: str) -> str:
    """The data of an error event, as an object with the key `error`."""
    try:
        value = lenient_json.decode(data)
    except ValueError:
        value = data
    if not (isinstance(value, dict) and value.get("error")):
        value = {"error": value if isinstance(value, dict) else {"message": str(value)}}
    return msgspec.json.encode(value).decode()
