"""Produces answers and settles their cost.

Each answer is written by its own task, independent of any connection; readers wait for updates. Progress is saved twice a
second, for all answers in one statement; a crash loses only what arrived after that.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock, logging
from app.base.errors import Missing, Unready
from app.base.ids import uuid7
from app.catalog.schemas import Model
from app.chat import repository, upstream
from app.chat.late_costs import LateCosts
from app.chat.schemas import AnswerError, AnswerResult, ChatLimits, ChatRequest, Message, MessageRole, MessageStatus
from app.chat.streaming import StreamingAnswer
from app.db.database import Database
from app.db.transaction import Transaction
from app.idempotency.schemas import IdempotencyKey
from app.idempotency.service import Idempotency
from app.ledger.schemas import Subject
from app.ledger.service import Ledger
from app.providers.contract import ErrorCode, Failed, Failure, Provider, Retryable, Turn

INTERRUPTED: Final = AnswerError(
    ErrorCode.OUTCOME_UNKNOWN,
    "Atelier was stopped while the answer was being written. The text so far was saved. Retry for a complete answer.",
)
_INTERNAL_ERROR: Final = AnswerError(
    ErrorCode.PROVIDER_FAILED,
    "An internal error occurred while the answer was being written. Retry; if it persists, contact an admin.",
)

# Replaces the images of turns that are named by their assets, as the model accepts them.
LoadImages = Callable[[Sequence[Turn], Model], Awaitable[tuple[Turn, ...]]]

# Transaction function: stores the new turn and returns the messages for the model.
StoreTurn = Callable[[Transaction], tuple[Turn, ...]]

logger = logging.get("chat")


class NewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to start: its empty message and what is asked of the model. In a conversation, `store_turn` saves the turn
    and supplies the messages for the model, whose images `load_images` loads; elsewhere the request has them. `limits` are those of the API key."""

    message: Message
    request: ChatRequest
    store_turn: StoreTurn | None = None
    load_images: LoadImages | None = None
    key: IdempotencyKey | None = None
    limits: KeyLimits | None = None

    @property
    def reads_nothing(self) -> bool:
        """Whether it can start without reading the database: no turn, no repeated request, no spending limit."""
        capped = self.limits is not None and self.limits.cap_nano is not None
        return self.store_turn is None and self.key is None and not capped


class Answers:
    """All streaming answers."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        idempotency: Idempotency,
        providers: Mapping[str, Provider],
        limits: ChatLimits,
        alternatives: Callable[[str], Sequence[Model]],
    ) -> None:
        """`alternatives` are the same model at other providers, by the id of a model."""
        self._alternatives = alternatives
        self._database = database
        self._ledger = ledger
        self._idempotency = idempotency
        self._providers = providers
        self._limits = limits
        self._late_costs = LateCosts(database, ledger, providers)
        self._live: dict[str, StreamingAnswer] = {}
        self._closing = False

    def find(self, id: str) -> StreamingAnswer | None:
        return self._live.get(id)

    def of_conversation(self, id: str) -> list[StreamingAnswer]:
        return [live for live in self._live.values() if live.message.conversation_id == id]

    def of_user(self, owner: str) -> list[StreamingAnswer]:
        """Includes those to API requests."""
        return [live for live in self._live.values() if live.message.owner_id == owner]

    @asynccontextmanager
    async def first_answer(self, owner: str, key: IdempotencyKey | None) -> AsyncIterator[StreamingAnswer | None]:
        """Enclose everything that a request does until its answer has begun. Yields the answer of an earlier request with
        the same key; None if this is the first request or has no key."""
        async with self._idempotency.first_result(key) as first:
            yield None if first is None else await self._existing(owner, first)

    async def begin(self, new: NewAnswer) -> tuple[StreamingAnswer, bool]:
        """The answer, and whether this call started it; False when an earlier request with the same key did. Its row is
        saved when this returns, and it continues whether or not anyone waits for it."""
        if self._closing:
            raise Unready("Atelier is shutting down.")
        if len(self._live) >= self._limits.answers:
            raise Unready("Too many answers are in progress. Try again in a minute.")
        id = new.message.id
        live = self._live[id] = StreamingAnswer(new.message, new.limits.key_id if new.limits else None)
        live.writing = asyncio.create_task(self._write(live, new), name=f"answer {id}")
        try:
            await asyncio.shield(live.started)
        except _Repeated as repeated:
            return await self._existing(new.message.owner_id, repeated.id), False
        return live, True

    async def stop(self, conversation_id: str) -> None:
        """Stop the streaming answer of this conversation, if any; the text so far is kept."""
        for live in self.of_conversation(conversation_id):
            live.cancel_upstream()
            await live.ended.wait()

    def abandon(self, owner: str) -> None:
        """The user was deleted: stop their answers and discard the text."""
        for live in self.of_user(owner):
            live.discard_text = True
            live.cancel_upstream()

    async def rescue(self) -> None:
        """At startup: fail the answers that were left unfinished; this is the only process, so no one else is writing them."""
        if count := await self._database.write(self._fail_unfinished, clock.now()):
            logger.info("interrupted answers marked as failed", count=count)
        await self._late_costs.resume()

    async def flush(self) -> None:
        """Save the progress of all answers in one statement."""
        updated = [
            (live, len(live.pieces))
            for live in self._live.values()
            if live.saved < len(live.pieces)
            and live.message.conversation_id is not None  # API answers are not shown before they end
        ]
        if not updated:
            return
        ids = [live.message.id for live, _ in updated]
        await self._database.write(repository.save_progress_any, ids, [live.text for live, _ in updated])
        for live, count in updated:
            live.saved = count

    async def close(self) -> None:
        """Refuse new answers and end those in progress; the text so far is saved and readers are notified."""
        self._closing = True
        self._late_costs.close()
        in_progress = list(self._live.values())
        for live in in_progress:
            live.cancel_upstream()
        await asyncio.gather(*(live.writing for live in in_progress), return_exceptions=True)

    async def _existing(self, owner: str, id: str) -> StreamingAnswer:
        """The answer of an earlier request with the same key."""
        if live := self.find(id):
            return live
        found = await self._database.read(repository.messages, owner, [id])
        if not found:
            raise Missing("The result of this Idempotency-Key was deleted.")
        live = StreamingAnswer(found[0])
        if reply := await self._database.read(repository.reply, owner, id):
            live.reply = msgspec.json.decode(reply)
        live.end(found[0])
        return live

    async def _write(self, live: StreamingAnswer, new: NewAnswer) -> None:
        write = self._database.insert_only if new.reads_nothing else self._database.write
        try:
            turns = await write(self._record, new)
        except Exception as exc:
            del self._live[live.message.id]
            live.fail(exc)
            return
        request = msgspec.structs.replace(new.request, turns=turns)
        live.begin(asyncio.create_task(self._read(live, request, new)))
        await live.read()
        result = self._result_of(live)
        if new.key is None:
            result = msgspec.structs.replace(result, carried_out=True)  # there is no key to forget
        elif live.reply is not None:
            result = msgspec.structs.replace(result, reply=msgspec.json.encode(live.reply).decode())
        await self._end(live, result)

    async def _read(self, live: StreamingAnswer, request: ChatRequest, new: NewAnswer) -> AnswerResult:
        """From the model's provider, or if nothing could be sent to it, from the next one that has the same model and that
        the API key may use."""
        limits = new.limits
        if new.load_images is not None:
            request = msgspec.structs.replace(request, turns=await new.load_images(request.turns, request.model))
        others = [other for other in self._alternatives(request.model.id) if limits is None or limits.allows(other.id)]
        for other in (request.model, *others):
            provider = self._providers.get(other.provider)
            asked = msgspec.structs.replace(request, model=other)
            live.message = msgspec.structs.replace(
                live.message, model=other.id, model_name=other.name, provider=other.provider
            )
            try:
                return await upstream.read(provider, asked, live, self._limits.retry_pause)
            except Failure as failure:
                if live.has_output or failure.outcome.code is not ErrorCode.PROVIDER_UNREACHABLE:
                    raise
                unreachable = failure
        raise unreachable

    def _result_of(self, live: StreamingAnswer) -> AnswerResult:
        if live.reader.cancelled():
            stopped = AnswerResult.failed(INTERRUPTED) if self._closing else AnswerResult(status=MessageStatus.STOPPED)
            return msgspec.structs.replace(stopped, generation_id=live.generation_id)
        exc = live.reader.exception()
        if exc is None:
            return live.reader.result()
        if isinstance(exc, Failure):
            outcome = exc.outcome
            live.reason = outcome.reason if isinstance(outcome, Failed) else ""
            wait = outcome.wait if isinstance(outcome, Retryable) else None
            return AnswerResult(
                status=MessageStatus.FAILED,
                error=AnswerError(outcome.code, outcome.message, wait),
                cost_nano=outcome.cost_nano if isinstance(outcome, Failed) else None,
                generation_id=live.generation_id,
                detail=outcome.detail,
                carried_out=isinstance(outcome, Failed) and outcome.carried_out,
            )
        logger.error("unhandled exception while answering", answer=live.message.id, exc_info=exc)
        return AnswerResult.failed(_INTERNAL_ERROR)

    async def _end(self, live: StreamingAnswer, result: AnswerResult) -> None:
        """Save the result, then notify the readers."""
        now, text = clock.now(), "" if live.discard_text else live.text[: upstream.MAX_ANSWER]
        try:
            await self._save_with_retry(live, now, text, result)
        finally:
            del self._live[live.message.id]
            live.end(
                msgspec.structs.replace(
                    live.message,
                    text=text,
                    status=result.status,
                    usage=result.usage,
                    cost_nano=result.cost_nano,
                    finish_reason=result.finish_reason,
                    error=result.error,
                    ended_at=now,
                )
            )
        if result.cost_nano is None and result.generation_id:
            self._late_costs.schedule(live.message, result.generation_id)
        if result.error:
            code = result.error.code.value
            logger.info("answer failed", answer=live.message.id, code=code, detail=result.detail[:500])

    async def _save_with_retry(self, live: StreamingAnswer, now: datetime, text: str, result: AnswerResult) -> None:
        """Retry while the database cannot write: the answer may have been paid for."""
        message = live.message
        while True:
            try:
                if message.conversation_id is None:
                    insert = self._database.insert_only if result.carried_out else self._database.write
                    await insert(self._insert_result, message, now, text, result, live.key)
                else:
                    await self._database.write(self._save_result, message, now, text, result, live.key)
                return
            except Unready as exc:
                if self._closing:
                    return
                logger.warning("saving an answer failed, will retry", answer=message.id, reason=exc.message)
                await asyncio.sleep(self._limits.write_pause)

    # Transaction functions: the ledger and the answer's row always agree on the cost

    def _record(self, tx: Transaction, new: NewAnswer) -> tuple[Turn, ...]:
        answer = new.message
        if new.key and (first := self._idempotency.record(tx, new.key, answer.id, answer.created_at)):
            raise _Repeated(first)
        turns = new.store_turn(tx) if new.store_turn else new.request.turns
        self._ledger.hold(tx, answer.owner_id, Subject.ANSWER, answer.id, limits=new.limits)
        return turns

    def add_edited(self, tx: Transaction, answer: Message, key: IdempotencyKey | None) -> None:
        """Store an answer that a user has written, and the key of the request. It costs nothing."""
        if key:
            self._idempotency.record(tx, key, answer.id, answer.created_at)
        repository.add(tx, answer.owner_id, answer)

    def _save_result(
        self, tx: Transaction, answer: Message, now: datetime, text: str, result: AnswerResult, key: str | None
    ) -> None:
        if repository.end(tx, answer.owner_id, answer, now, text, result):
            self._ledger.settle_answer(tx, answer.owner_id, answer.id, result.cost_nano, key)

    def _insert_result(
        self, tx: Transaction, answer: Message, now: datetime, text: str, result: AnswerResult, key: str | None
    ) -> None:
        """For an API answer, which has no row yet."""
        repository.add_ended(tx, answer.owner_id, answer, now, text, result)
        if not result.carried_out:
            self._idempotency.forget(tx, answer.id)
        self._ledger.settle_answer(tx, answer.owner_id, answer.id, result.cost_nano, key)

    def _fail_unfinished(self, tx: Transaction, now: datetime) -> int:
        ended = repository.fail_unfinished_any(tx, now, INTERRUPTED)
        for owner, id in ended:
            self._ledger.settle(tx, owner, id, None)
        return len(ended)


class _Repeated(Exception):
    """An earlier request with the same idempotency key started the answer `id`."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id


def empty_answer(
    owner: str, model: Model, now: datetime, *, conversation_id: str | None = None, parent_id: str | None = None
) -> Message:
    """The message of an answer before its first word."""
    return Message(
        id=uuid7(),
        conversation_id=conversation_id,
        owner_id=owner,
        parent_id=parent_id,
        role=MessageRole.ASSISTANT,
        status=MessageStatus.STREAMING,
        model=model.id,
        model_name=model.name,
        provider=model.provider,
        created_at=now,
    )
