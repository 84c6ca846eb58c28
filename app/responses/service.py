"""Responses: created from chat completions, kept, continued and deleted."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.base.config import MB
from app.base.errors import Invalid, Missing
from app.chat.schemas import ChatRequest
from app.chat.service import Chat, StreamingAnswer
from app.db.database import Database
from app.db.transaction import Transaction
from app.gateway.service import Gateway
from app.idempotency.schemas import IdempotencyKey
from app.responses import input_items, repository, requests
from app.responses.input_items import invalid
from app.responses.output import Output
from app.responses.response_object import ended
from app.responses.schemas import (
    PREFIX,
    Body,
    CreatedResponse,
    EarlierResponses,
    InputItemPage,
    Item,
    PreparedRequest,
    ResponseRequest,
    StoredResponse,
)
from app.responses.streaming import ResponseStream

MAX_AGE: Final = timedelta(days=30)
MAX_CHAIN: Final = 1_000  # responses that one continues
MAX_EARLIER: Final = 24 * MB  # characters of earlier responses in one request, as much as a body may have


class Responses:
    """The Responses API. Methods that take `limits` enforce the limits of the API key."""

    def __init__(self, database: Database, chat: Chat, gateway: Gateway) -> None:
        self._database = database
        self._chat = chat
        self._gateway = gateway

    async def create(self, owner: str, body: Body, key: str | None, limits: KeyLimits | None) -> CreatedResponse:
        """The complete response; a repeated request, which has the same `key`, gets the first one. Cancelling the call cancels the
        generation."""
        request, prepared = requests.parse(body), list[PreparedRequest]()

        async def parse() -> ChatRequest:
            prepared.append(await self._prepare(owner, request, streamed=False))
            return prepared[0].chat

        answer = await self._chat.completions.complete(
            owner, parse, IdempotencyKey.of(owner, key, "/v1/responses", body), limits=limits
        )
        items = prepared[0].items if prepared else None
        return CreatedResponse(
            content=await self._content(owner, request, answer, items),
            model=answer.message.model or "",
            provider_seconds=answer.provider_seconds,
            cost_nano=answer.message.cost_nano,
        )

    async def stream(
        self, owner: str, body: Body, limits: KeyLimits | None
    ) -> tuple[StreamingAnswer, AsyncGenerator[bytes, None]]:
        """The response as server-sent events. Closing the iterator cancels the generation; nothing is stored then."""
        request = requests.parse(body)
        prepared = await self._prepare(owner, request, streamed=True)
        answer, events = await self._chat.completions.stream_raw(owner, prepared.chat, limits=limits)

        async def store(response: Body, output: Output) -> None:
            if request.store and not answer.discard_text:
                await self._store(owner, await asyncio.to_thread(_row, prepared.items, answer, response, output))

        return answer, ResponseStream(request, answer).written(events, store)

    async def find(self, owner: str, id: str) -> StoredResponse:
        found = await self._database.read(repository.find, owner, id)
        if found is None:
            raise _not_found(id)
        return found

    async def input_items(self, owner: str, id: str, *, after: str | None, limit: int, ascending: bool) -> bytes:
        """A page of a response's own input items as JSON, after the one with the id `after`."""
        stored = await self.find(owner, id)
        return await asyncio.to_thread(_page, stored, after, limit, ascending)

    async def cancel(self, owner: str, id: str) -> None:
        """Always raises: a response is complete when it is stored."""
        await self.find(owner, id)
        raise Invalid("Only background responses can be cancelled, and this one is not.")

    async def delete(self, owner: str, id: str) -> None:
        if not await self._database.write(repository.delete, owner, id):
            raise _not_found(id)

    async def sweep(self) -> None:
        """Delete responses that are older than MAX_AGE."""
        await self._database.write(repository.sweep_any, clock.now() - MAX_AGE)

    def forget_user(self, tx: Transaction, owner: str) -> None:
        """Runs in the transaction that deletes a user."""
        repository.forget(tx, owner)

    async def _prepare(self, owner: str, request: ResponseRequest, *, streamed: bool) -> PreparedRequest:
        """Raises Invalid or Missing with the name of the invalid field."""
        answers = input_items.referenced_answers(request.items)
        earlier = EarlierResponses()
        if answers or request.previous_id:
            earlier = await self._database.read(_earlier, owner, request.previous_id, answers)
        body, items = await asyncio.to_thread(requests.translated, request, earlier, streamed=streamed)
        with _errors_of_input():
            return PreparedRequest(await self._gateway.parse_chat(owner, body, streamed=streamed), items)

    async def _content(
        self, owner: str, request: ResponseRequest, answer: StreamingAnswer, items: list[Item] | None
    ) -> bytes:
        """The response as JSON, stored if that is wanted. `items` is None for a repeated request, whose response may be there."""
        if items is None and (first := await self._database.read(repository.find, owner, _id_of(answer))):
            return first.response.encode()
        row = await asyncio.to_thread(_whole, request, items or [], answer)
        if items is not None and request.store:
            await self._store(owner, row)
        return row.response.encode()

    async def _store(self, owner: str, row: StoredResponse) -> None:
        await self._database.write(repository.add, owner, row)


@contextmanager
def _errors_of_input() -> Iterator[None]:
    """What is wrong with the messages of the chat request is wrong with `input`."""
    try:
        yield
    except Invalid as exc:
        if not str(exc.details.get("param")).startswith("messages"):
            raise
        raise invalid("input", exc.message.replace("`messages`", "`input`")) from None


def _id_of(answer: StreamingAnswer) -> str:
    return f"{PREFIX}{answer.message.id}"


def _not_found(id: str) -> Missing:
    return Missing(f"Response with id '{id[:100]}' not found.", details={"param": "response_id"})


# Transaction functions


def _earlier(tx: Transaction, owner: str, previous_id: str | None, answers: list[str]) -> EarlierResponses:
    chain: list[StoredResponse] = []
    size, id = 0, previous_id
    while id is not None:
        found = repository.find(tx, owner, id)
        if found is None:
            message = f"Previous response with id '{str(previous_id)[:100]}' not found."
            details = {"param": "previous_response_id", "code": "previous_response_not_found"}
            raise Invalid(message, details=details)
        chain.append(found)
        size, id = size + found.size, found.previous_id
        if len(chain) > MAX_CHAIN or size > MAX_EARLIER:
            raise invalid("previous_response_id", "The conversation is too long. Start a new one.")
    return EarlierResponses(chain[::-1], _referenced(tx, owner, answers, size))


def _referenced(tx: Transaction, owner: str, answers: list[str], size: int) -> list[StoredResponse]:
    """Those that exist. `size` is that of the other earlier responses."""
    referenced = []
    for answer in answers:
        if found := repository.find(tx, owner, f"{PREFIX}{answer}"):
            referenced.append(found)
            size += found.size
        if size > MAX_EARLIER:
            raise invalid("input", "`input` refers to more items than one request may have. Start a new conversation.")
    return referenced


# Functions that may take long and run in threads


def _whole(request: ResponseRequest, items: list[Item], answer: StreamingAnswer) -> StoredResponse:
    output = Output(answer.message.id, shows_reasoning=request.shows_reasoning)
    output.add(answer.reply)
    output.finish()
    return _row(items, answer, ended(request, answer.message, output), output)


def _row(items: list[Item], answer: StreamingAnswer, response: Body, output: Output) -> StoredResponse:
    return StoredResponse(
        id=_id_of(answer),
        previous_id=response["previous_response_id"],
        input=msgspec.json.encode(input_items.completed(items, answer.message.id)).decode(),
        response=msgspec.json.encode(response).decode(),
        reasoning=output.encrypted_content,
        created_at=answer.message.created_at,
    )


def _page(stored: StoredResponse, after: str | None, limit: int, ascending: bool) -> bytes:
    items: list[Item] = msgspec.json.decode(stored.input)
    ids = [item["id"] for item in (items if ascending else items[::-1])]
    if after is not None and after not in ids:
        raise invalid("after", f"There is no input item with the id '{after[:100]}'.")
    start = ids.index(after) + 1 if after is not None else 0
    data = (items if ascending else items[::-1])[start : start + limit]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return msgspec.json.encode(
        InputItemPage(data=data, has_more=start + limit < len(items), first_id=first, last_id=last)
    )
