"""Chat completions for API clients, which send the whole message history and get one answer, whole or streamed."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat import validation
from app.chat.answers import Answers, NewAnswer, empty_answer
from app.chat.schemas import ChatLimits, ChatRequest, Message
from app.chat.streaming import StreamingAnswer
from app.idempotency.schemas import IdempotencyKey
from app.providers.contract import Kind

_OWN: Final = ("model", "messages", "stream")


class Completions:
    """Validates requests and returns their answers. `limits` are those of the API key that sent the request."""

    def __init__(self, catalog: Catalog, answers: Answers, limits: ChatLimits) -> None:
        self._catalog = catalog
        self._answers = answers
        self._limits = limits

    def parse(self, body: Mapping[str, Any]) -> ChatRequest:
        """Validate the body of a chat request; raises Invalid with the fields."""
        model_id = body.get("model")
        if not isinstance(model_id, str | None):
            raise validation.wrong("model", "must be a string")
        messages = body.get("messages")
        validation.turns(messages)  # errors in the messages are reported before errors in the model
        model = self._catalog.choose((model_id or "").strip(), Kind.TEXT)
        params = {name: value for name, value in body.items() if name not in _OWN and value is not None}
        return self.build_request(model, messages, self._catalog.parameters.check(model, params))

    def build_request(self, model: Model, messages: object, params: dict[str, Any]) -> ChatRequest:
        """A chat request with parameters that are already validated; raises Invalid for its messages."""
        turns = validation.turns(messages)
        if any(map(validation.images_of, turns)) and not model.accepts_image:
            raise validation.wrong("messages", f"contain an image, but {model.name} does not accept images")
        return ChatRequest(model=model, turns=turns, params=params)

    async def complete(
        self,
        owner: str,
        parse: Callable[[], Awaitable[ChatRequest]],
        key: IdempotencyKey | None = None,
        *,
        limits: KeyLimits | None = None,
    ) -> StreamingAnswer:
        """The complete answer. A repeated request, which has the same `key`, gets the first answer and is not parsed.
        Raises Invalid when the provider refused, Upstream when it failed. Cancelling the wait stops the answer, unless it
        was started by an earlier request."""
        async with self._answers.first_answer(owner, key) as earlier:
            live, own = (earlier, False) if earlier else await self._begin(owner, await parse(), limits, key)
        try:
            await live.ended.wait()
        finally:
            if own:
                live.cancel_upstream()
        live.require_complete()
        return live

    async def stream(
        self, owner: str, request: ChatRequest, *, limits: KeyLimits | None = None
    ) -> AsyncGenerator[str | Message, None]:
        """Yields the answer in pieces, then the complete message. Closing the iterator stops the answer; errors as in
        `complete`."""
        live, _ = await self._begin(owner, request, limits)
        async with aclosing(_pieces(live, self._limits.silence)) as parts:
            async for pieces in parts:
                for piece in pieces or [""]:
                    yield piece
        yield live.require_complete()

    async def stream_raw(
        self, owner: str, request: ChatRequest, *, limits: KeyLimits | None = None
    ) -> tuple[StreamingAnswer, AsyncGenerator[Sequence[Any], None]]:
        """Start an answer to a request with a body: returns it with an iterator over its new events (bytes, if an operation other
        than chat), empty as a keep-alive. Closing the iterator stops the answer."""
        live, _ = await self._begin(owner, request, limits)
        return live, self._events(live)

    async def _events(self, live: StreamingAnswer) -> AsyncGenerator[Sequence[Any], None]:
        try:
            while True:
                ended = live.ended.is_set()
                if events := live.take_events():
                    yield events
                elif ended:
                    return
                elif not await live.wait_for_update(len(live.pieces), self._limits.silence):
                    yield []
        finally:
            live.cancel_upstream()

    async def _begin(
        self, owner: str, request: ChatRequest, limits: KeyLimits | None, key: IdempotencyKey | None = None
    ) -> tuple[StreamingAnswer, bool]:
        answer = empty_answer(owner, request.model, clock.now())
        return await self._answers.begin(NewAnswer(message=answer, request=request, key=key, limits=limits))


async def _pieces(live: StreamingAnswer, silence: float) -> AsyncGenerator[Sequence[str], None]:
    """Yields the new pieces of an answer until it ends, an empty list as a keep-alive. Closing the iterator stops the answer."""
    seen = 0
    try:
        while seen < len(live.pieces) or not live.ended.is_set():
            if more := live.pieces[seen:]:
                seen += len(more)
                yield more
            elif not await live.wait_for_update(seen, silence):
                yield []
    finally:
        live.cancel_upstream()
