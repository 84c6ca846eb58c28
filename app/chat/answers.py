"""Streaming answers: kept in memory while the model writes them, with any number of readers.

Each answer is written by its own task, independent of any connection; readers wait for updates. Progress is saved twice a
second, for all answers in one statement; a crash loses only what arrived after that.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final, cast

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock, logging
from app.base.errors import Unready
from app.catalog.schemas import Model
from app.chat import repository, validation
from app.chat.schemas import DEFAULT_LIMITS, AnswerError, AnswerResult, ChatLimits, Message, MessageStatus
from app.db.database import Database, Transaction
from app.ledger.schemas import Subject
from app.ledger.service import Ledger
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
    Turn,
)

MAX_ANSWER: Final = 400_000  # characters of one answer
ATTEMPTS: Final = 3  # of requests that the provider certainly did not answer
MAX_WAIT: Final = 10.0  # seconds; when the provider asks for a longer pause, the answer fails

COST_LOOKUP_DELAYS: Final = (1.0, 4.0, 15.0, 60.0, 300.0)  # seconds before each lookup of what an answer has cost
COST_LOOKUP_MAX_AGE: Final = 3600.0  # seconds; older answers are not looked up again at startup

# Transaction function: stores the new turn and returns the messages for the model.
Record = Callable[[Transaction], tuple[Turn, ...]]

logger = logging.get("chat")


class StreamingAnswer:
    """One answer. `message` is its initial state, and its final state once it has ended."""

    reader: asyncio.Task[AnswerResult]  # reads from upstream; cancelling it closes the connection
    writing: asyncio.Task[None]  # the whole lifecycle, from creating the row to saving the result

    def __init__(self, message: Message, key: str | None = None) -> None:
        """`key` is the id of the API key that made the request."""
        self.message = message
        self.key = key
        self.pieces: list[str] = []
        self.size = 0
        self.saved = 0  # number of pieces saved
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.cancelled = False
        self.discard_text = False  # the user was deleted: keep the cost, discard the text
        self.choices: list[dict[str, Any]] = []  # for a `raw` request: the deltas as received
        self.reply: dict[str, Any] | None = None  # for a `raw` and `whole` request: the choice as received
        self.finish_reason: str | None = None
        self.generation_id: str | None = None  # the provider's id of this answer
        self.requested_at = 0.0  # when the request was sent (perf_counter)
        self.first_chunk_seconds = 0.0  # seconds from the request to the first chunk
        self.provider_seconds = 0.0  # seconds spent in provider requests
        self._updated = asyncio.Event()
        self._listeners = 0
        self._joined = ("", 0)

    def begin(self, reader: "asyncio.Task[AnswerResult]") -> None:
        """The row is saved and the provider request is running."""
        self.reader = reader
        self.started.set_result(None)
        if self.cancelled:
            reader.cancel()

    def fail(self, exc: Exception) -> None:
        """The answer could not start."""
        self.started.set_exception(exc)
        self.started.exception()  # mark as retrieved, in case no one is waiting
        self.ended.set()

    def add(self, piece: str, choice: dict[str, Any] | None = None) -> None:
        if not self.first_chunk_seconds:
            self.first_chunk_seconds = perf_counter() - self.requested_at
        if choice is not None:
            self.choices.append(choice)
        if piece:
            self.pieces.append(piece)
            self.size += len(piece)
        if piece or choice is not None:
            self._notify()

    async def read(self) -> None:
        """Wait until the provider request ends, for any reason."""
        await asyncio.wait([self.reader])

    def end(self, message: Message) -> None:
        """The result is saved; notify the readers."""
        self.message = message
        self.ended.set()
        self._notify()

    def cancel_upstream(self) -> None:
        self.cancelled = True
        if self.started.done() and not self.ended.is_set():
            self.reader.cancel()

    @property
    def text(self) -> str:
        text, count = self._joined
        if count < len(self.pieces):
            text += "".join(self.pieces[count:])
            self._joined = (text, len(self.pieces))
        return text

    def now(self) -> Message:
        """The message with the text so far."""
        return self.message if self.ended.is_set() else msgspec.structs.replace(self.message, text=self.text)

    async def wait_for_update(self, seen: int, timeout: float, *, raw: bool = False) -> bool:
        """Wait until there are more than `seen` pieces (choices if `raw`), or the answer has ended; False after `timeout`
        seconds without either."""
        received = self.choices if raw else self.pieces
        self._listeners += 1
        try:
            async with asyncio.timeout(timeout):
                while len(received) <= seen and not self.ended.is_set():
                    await self._updated.wait()
                return True
        except TimeoutError:
            return False
        finally:
            self._listeners -= 1

    def _notify(self) -> None:
        if self._listeners:
            self._updated.set()
            self._updated = asyncio.Event()


class Answers:
    """All streaming answers."""

    def __init__(
        self, database: Database, ledger: Ledger, providers: Mapping[str, Provider], limits: ChatLimits = DEFAULT_LIMITS
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._providers = providers
        self._limits = limits
        self._live: dict[str, StreamingAnswer] = {}
        self._cost_lookups: set[asyncio.Task[None]] = set()
        self._closing = False

    def find(self, id: str) -> StreamingAnswer | None:
        return self._live.get(id)

    def all(self) -> list[StreamingAnswer]:
        return list(self._live.values())

    def of(self, conversation_id: str) -> list[StreamingAnswer]:
        return [live for live in self._live.values() if live.message.conversation_id == conversation_id]

    async def begin(
        self,
        answer: Message,
        model: Model,
        record: Record,
        params: Mapping[str, Any] | None = None,
        *,
        raw: bool = False,
        whole: bool = False,
        limits: KeyLimits | None = None,
        blind: bool = False,
    ) -> StreamingAnswer:
        """Start an answer: its row is saved when this returns, and it continues whether or not anyone waits for it. `raw`
        and `whole` are as in `schemas.ChatRequest`; `blind` means that `record` neither reads nor writes."""
        if self._closing:
            raise Unready("Atelier is shutting down.")
        if len(self._live) >= self._limits.answers:
            raise Unready("Too many answers are in progress. Try again in a minute.")
        live = self._live[answer.id] = StreamingAnswer(answer, limits.key_id if limits else None)
        request_spec = _AnswerRequest(model, params or {}, raw, whole)
        blind = blind and (limits is None or limits.cap_nano is None)  # a spending limit has to be read
        live.writing = asyncio.create_task(
            self._write(live, request_spec, record, limits, blind), name=f"answer {answer.id}"
        )
        await asyncio.shield(live.started)
        return live

    async def rescue(self) -> None:
        """At startup: fail the answers that were left unfinished; this is the only process, so no one else is writing them."""
        if count := await self._database.write(self._fail_unfinished, clock.now()):
            logger.info("interrupted answers marked as failed", count=count)
        for message, generation_id in await self._database.read(
            repository.without_cost_any, clock.after(-COST_LOOKUP_MAX_AGE)
        ):
            self._schedule_cost_lookup(message, generation_id)

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
        for lookup in self._cost_lookups:
            lookup.cancel()
        in_progress = list(self._live.values())
        for live in in_progress:
            live.cancel_upstream()
        await asyncio.gather(*(live.writing for live in in_progress), return_exceptions=True)

    def abandon(self, owner: str) -> None:
        """The user was deleted: stop their answers and discard the text."""
        for live in self._live.values():
            if live.message.owner_id == owner:
                live.discard_text = True
                live.cancel_upstream()

    async def _write(
        self,
        live: StreamingAnswer,
        request_spec: "_AnswerRequest",
        record: Record,
        limits: KeyLimits | None,
        blind: bool,
    ) -> None:
        write = self._database.add if blind else self._database.write
        try:
            turns = await write(self._record, live.message, record, limits)
        except Exception as exc:
            del self._live[live.message.id]
            live.fail(exc)
            return
        live.begin(asyncio.create_task(self._read(live, request_spec, turns)))
        await live.read()
        await self._end(live, self._result_of(live))

    async def _read(
        self, live: StreamingAnswer, request_spec: "_AnswerRequest", turns: tuple[Turn, ...]
    ) -> AnswerResult:
        """Read the answer from the provider, retrying while it certainly did not answer; raises Failure."""
        provider = self._providers.get(request_spec.model.provider)
        if provider is None:
            return _failed(_NO_PROVIDER)
        request = _request(live.message.id, request_spec, turns)
        attempt = 0
        while True:
            live.requested_at = perf_counter()
            try:
                return await (_submit if request_spec.whole else _stream)(provider, request, live)
            except Failure as failure:
                attempt += 1
                wait = _pause(failure.outcome, attempt, self._limits.retry_pause)
                if wait is None or live.pieces or live.choices:
                    raise
            finally:
                live.provider_seconds += perf_counter() - live.requested_at
            await asyncio.sleep(wait)

    def _result_of(self, live: StreamingAnswer) -> AnswerResult:
        if live.reader.cancelled():
            stopped = _failed(INTERRUPTED) if self._closing else AnswerResult(status=MessageStatus.STOPPED)
            return msgspec.structs.replace(stopped, generation_id=live.generation_id)
        exc = live.reader.exception()
        if exc is None:
            return live.reader.result()
        if isinstance(exc, Failure):
            outcome = exc.outcome
            cost = outcome.cost_nano if isinstance(outcome, Failed) else None
            error = AnswerError(outcome.code, outcome.message)
            return AnswerResult(
                status=MessageStatus.FAILED,
                error=error,
                cost_nano=cost,
                generation_id=live.generation_id,
                detail=outcome.detail,
            )
        logger.error("unhandled exception while answering", answer=live.message.id, exc_info=exc)
        return _failed(_INTERNAL_ERROR)

    async def _end(self, live: StreamingAnswer, result: AnswerResult) -> None:
        """Save the result, then notify the readers."""
        now, text = clock.now(), "" if live.discard_text else live.text
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
                    error=result.error,
                    ended_at=now,
                )
            )
        if result.cost_nano is None and result.generation_id:
            self._schedule_cost_lookup(live.message, result.generation_id)
        if result.error:
            code = result.error.code.value
            logger.info("answer failed", answer=live.message.id, code=code, detail=result.detail[:500])

    async def _save_with_retry(self, live: StreamingAnswer, now: datetime, text: str, result: AnswerResult) -> None:
        """Retry while the database cannot write: the answer may have been paid for."""
        message = live.message
        while True:
            try:
                if message.conversation_id is None:
                    await self._database.add(self._insert_result, message, now, text, result, live.key)
                else:
                    await self._database.write(self._save_result, message, now, text, result, live.key)
                return
            except Unready as exc:
                if self._closing:
                    return
                logger.warning("saving an answer failed, will retry", answer=message.id, reason=exc.message)
                await asyncio.sleep(self._limits.write_pause)

    def _schedule_cost_lookup(self, message: Message, generation_id: str) -> None:
        """Look up the cost of an answer that was cut off before the provider reported it."""
        provider = self._providers.get(message.provider or "")
        if provider is not None and not self._closing:
            lookup = asyncio.create_task(
                self._fetch_late_cost(provider, message, generation_id), name=f"cost {message.id}"
            )
            self._cost_lookups.add(lookup)
            lookup.add_done_callback(self._cost_lookups.discard)

    async def _fetch_late_cost(self, provider: Provider, message: Message, generation_id: str) -> None:
        for wait in COST_LOOKUP_DELAYS:
            await asyncio.sleep(wait)
            cost = await provider.cost_nano(generation_id)
            if cost is not None:
                with suppress(Unready):  # the next startup tries again
                    await self._database.write(self._set_cost, message, cost)
                return

    # Transaction functions: the ledger and the answer's row always agree on the cost

    def _record(self, tx: Transaction, answer: Message, record: Record, limits: KeyLimits | None) -> tuple[Turn, ...]:
        turns = record(tx)
        self._ledger.hold(tx, answer.owner_id, Subject.ANSWER, answer.id, limits=limits)
        return turns

    def _save_result(
        self, tx: Transaction, answer: Message, now: datetime, text: str, result: AnswerResult, key: str | None
    ) -> None:
        if repository.end(tx, answer.owner_id, answer.id, now, text, result):
            self._ledger.settle_answer(tx, answer.owner_id, answer.id, result.cost_nano, key)

    def _insert_result(
        self, tx: Transaction, answer: Message, now: datetime, text: str, result: AnswerResult, key: str | None
    ) -> None:
        """For an API answer, which has no row yet."""
        repository.add_ended(tx, answer.owner_id, answer, now, text, result)
        self._ledger.settle_answer(tx, answer.owner_id, answer.id, result.cost_nano, key)

    def _set_cost(self, tx: Transaction, answer: Message, cost_nano: int) -> None:
        if repository.set_cost(tx, answer.owner_id, answer.id, cost_nano):
            self._ledger.correct(tx, answer.owner_id, Subject.ANSWER, answer.id, cost_nano)

    def _fail_unfinished(self, tx: Transaction, now: datetime) -> int:
        ended = repository.fail_unfinished_any(tx, now, INTERRUPTED)
        for owner, id in ended:
            self._ledger.settle(tx, owner, id, None)
        return len(ended)


INTERRUPTED: Final = AnswerError(
    ErrorCode.OUTCOME_UNKNOWN,
    "Atelier was stopped while the answer was being written. The text so far was saved. Retry for a complete answer.",
)
_NO_PROVIDER: Final = AnswerError(
    ErrorCode.PROVIDER_FAILED,
    "The provider of this model is no longer configured. Choose another model, or contact an admin.",
)
_INTERNAL_ERROR: Final = AnswerError(
    ErrorCode.PROVIDER_FAILED,
    "An internal error occurred while the answer was being written. Retry; if it persists, contact an admin.",
)
_EMPTY: Final = AnswerError(
    ErrorCode.PROVIDER_FAILED,
    "The model returned an empty answer. Retry, rephrase the message, or choose another model.",
)
_TOO_LONG: Final = AnswerError(
    ErrorCode.RESULT_TOO_LARGE,
    f"The answer was cut off at the limit of {MAX_ANSWER:,} characters.",
)


class _AnswerRequest(msgspec.Struct, frozen=True):
    """The parameters of an answer, without its messages."""

    model: Model
    params: Mapping[str, Any]
    raw: bool
    whole: bool


async def _stream(provider: Provider, request: Request, live: StreamingAnswer) -> AnswerResult:
    """Read one stream to its end."""
    metrics = Chunk()
    # The provider contract guarantees an async generator.
    stream = cast("AsyncGenerator[Chunk, None]", provider.stream(request))
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            if live.cancelled:
                raise asyncio.CancelledError
            live.add(chunk.delta[: MAX_ANSWER - live.size], chunk.choice)
            live.finish_reason = chunk.finish_reason or live.finish_reason
            live.generation_id = chunk.generation_id or live.generation_id
            metrics = Chunk(
                usage=chunk.usage or metrics.usage,
                cost_nano=metrics.cost_nano if chunk.cost_nano is None else chunk.cost_nano,
                generation_id=chunk.generation_id or metrics.generation_id,
            )
            if live.size >= MAX_ANSWER:
                break
    return _result(live, metrics)


async def _submit(provider: Provider, request: Request, live: StreamingAnswer) -> AnswerResult:
    """The same for a request that does not stream."""
    outcome = await provider.submit(request, Path())  # text results have no files
    if isinstance(outcome, Retryable | Failed):
        raise Failure(outcome)
    assert isinstance(outcome, Completed), "text results are never pending"  # noqa: S101
    live.reply = outcome.reply
    live.add((outcome.text or "")[:MAX_ANSWER])
    return _result(live, Chunk(usage=outcome.usage, cost_nano=outcome.cost_nano, generation_id=outcome.generation_id))


def _result(live: StreamingAnswer, metrics: Chunk) -> AnswerResult:
    calls = any(choice.get("tool_calls") for choice in (*live.choices, (live.reply or {}).get("message") or {}))
    error = _TOO_LONG if live.size >= MAX_ANSWER else None if calls or live.text.strip() else _EMPTY
    return AnswerResult(
        status=MessageStatus.FAILED if error else MessageStatus.COMPLETE,
        usage=metrics.usage,
        cost_nano=metrics.cost_nano,
        generation_id=metrics.generation_id,
        error=error,
    )


def _pause(outcome: Retryable | Failed, attempt: int, first: float) -> float | None:
    """Seconds until the request is retried; None when it is not."""
    if isinstance(outcome, Failed) or attempt >= ATTEMPTS:
        return None
    wait = max(first * 2 ** (attempt - 1), outcome.wait or 0)
    return wait if wait <= MAX_WAIT else None


def _request(id: str, request_spec: _AnswerRequest, turns: tuple[Turn, ...]) -> Request:
    model = request_spec.model
    return Request(
        job_id=id,
        kind=Kind.TEXT,
        model=model.upstream_id,
        prompt=validation.text_of(turns[-1]),
        params=dict(request_spec.params),
        messages=turns,
        raw=request_spec.raw,
        route=model.route or None,
        output_modalities=model.output_modalities,
    )


def _failed(error: AnswerError) -> AnswerResult:
    return AnswerResult(status=MessageStatus.FAILED, error=error)
