"""Answers while they are being written: in memory, where any number of readers can look over the writer's shoulder.

An answer is written by a task of its own, from its row to its last line on disk, and belongs to no connection; whoever
reads it waits for news and takes what has come since. What has come is written down twice a second, all answers together
in one statement; a kill loses what came since.
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
from app.chat.schemas import USUAL, AnswerResult, ChatLimits, Message, Status, Trouble
from app.db.database import Database, Transaction
from app.ledger.schemas import Subject
from app.ledger.service import Ledger
from app.providers.contract import Chunk, Completed, ErrorCode, Failed, Failure, Kind, Provider, Request, Retryable
from app.providers.contract import Message as Turn

LONGEST: Final = 400_000  # characters of one answer; more than any model writes
ATTEMPTS: Final = 3  # of sending a question that certainly was not answered
MAX_WAIT: Final = 10.0  # a provider that wants a longer pause is believed, and the answer fails

BILL_WAITS: Final = (1.0, 4.0, 15.0, 60.0, 300.0)  # seconds before each question what an answer has cost
BILL_LIFE: Final = 3600.0  # seconds after which a start asks no more

# Writes down that an answer begins, and returns what the model is told.
Record = Callable[[Transaction], tuple[Turn, ...]]

logger = logging.get("chat")


class StreamingAnswer:
    """One answer. `message` is as it stood at the beginning, and as it ended once it has."""

    gauge_callback: asyncio.Task[AnswerResult]  # takes what comes from upstream; cancelling it hangs up
    writing: asyncio.Task[None]  # the whole, from the row to the last line on disk

    def __init__(self, message: Message, key: str | None = None) -> None:
        """`key` is the id of the API key that asked."""
        self.message = message
        self.key = key
        self.pieces: list[str] = []
        self.size = 0
        self.saved = 0  # how many pieces are on disk
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.hung_up = False
        self.forgotten = False  # the person is gone: what it cost is kept, the words are not
        self.choices: list[dict[str, Any]] = []  # of a `raw` question: the deltas as they came
        self.reply: dict[str, Any] | None = None  # of a `raw` and `whole` one: the choice as it came
        self.finish_reason: str | None = None
        self.generation_id: str | None = None  # the provider's own name for it
        self.asked = 0.0  # when the provider was asked, by a clock of its own
        self.until_first = 0.0  # seconds from then to the first that came
        self.waited = 0.0  # seconds that the provider took in all
        self._news = asyncio.Event()
        self._listeners = 0
        self._joined = ("", 0)

    def begin(self, reading: "asyncio.Task[AnswerResult]") -> None:
        """Its row is on disk, and its first piece is awaited."""
        self.gauge_callback = reading
        self.begun.set_result(None)
        if self.hung_up:
            reading.cancel()

    def fail(self, problem: Exception) -> None:
        """It could not begin."""
        self.begun.set_exception(problem)
        self.begun.exception()  # seen, even if nobody waits for it any more
        self.ended.set()

    def add(self, piece: str, choice: dict[str, Any] | None = None) -> None:
        if not self.until_first:
            self.until_first = perf_counter() - self.asked
        if choice is not None:
            self.choices.append(choice)
        if piece:
            self.pieces.append(piece)
            self.size += len(piece)
        if piece or choice is not None:
            self._tell()

    async def read(self) -> None:
        """Until nothing more comes, for whatever reason."""
        await asyncio.wait([self.gauge_callback])

    def end(self, message: Message) -> None:
        """It is on disk; whoever reads gets to know."""
        self.message = message
        self.ended.set()
        self._tell()

    def cancel_upstream(self) -> None:
        self.hung_up = True
        if self.begun.done() and not self.ended.is_set():
            self.gauge_callback.cancel()

    @property
    def text(self) -> str:
        text, count = self._joined
        if count < len(self.pieces):
            text += "".join(self.pieces[count:])
            self._joined = (text, len(self.pieces))
        return text

    def now(self) -> Message:
        """The answer as it stands."""
        return self.message if self.ended.is_set() else msgspec.structs.replace(self.message, text=self.text)

    async def news(self, seen: int, patience: float, *, raw: bool = False) -> bool:
        """Wait until there are more than `seen` pieces (choices with `raw`), or the end; False when nothing came in that
        many seconds."""
        come = self.choices if raw else self.pieces
        self._listeners += 1
        try:
            async with asyncio.timeout(patience):
                while len(come) <= seen and not self.ended.is_set():
                    await self._news.wait()
                return True
        except TimeoutError:
            return False
        finally:
            self._listeners -= 1

    def _tell(self) -> None:
        if self._listeners:
            self._news.set()
            self._news = asyncio.Event()


class Answers:
    """All answers that are being written at this moment."""

    def __init__(
        self, database: Database, quota: Ledger, providers: Mapping[str, Provider], limits: ChatLimits = USUAL
    ) -> None:
        self._database = database
        self._ledger = quota
        self._providers = providers
        self._limits = limits
        self._live: dict[str, StreamingAnswer] = {}
        self._bills: set[asyncio.Task[None]] = set()
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
        """Start an answer: it is on disk when this returns, and goes on whether or not anybody waits for it. `raw` and
        `whole` as in `schemas.Ask`; `blind` when `record` looks at nothing and writes nothing."""
        if self._closing:
            raise Unready("Atelier is shutting down.")
        if len(self._live) >= self._limits.answers:
            raise Unready("Too many answers are being written at this moment. Try again in a minute.")
        live = self._live[answer.id] = StreamingAnswer(answer, limits.key_id if limits else None)
        asking = _Asking(model, params or {}, raw, whole)
        blind = blind and (limits is None or limits.cap_nano is None)  # a limit is looked up
        live.writing = asyncio.create_task(self._write(live, asking, record, limits, blind), name=f"answer {answer.id}")
        await asyncio.shield(live.begun)
        return live

    async def rescue(self) -> None:
        """At start: nobody writes any more what was being written, because this is the only process."""
        if count := await self._database.write(self._end_all, clock.now()):
            logger.info("answers had been interrupted", count=count)
        for message, generation_id in await self._database.read(repository.unbilled_any, clock.after(-BILL_LIFE)):
            self._ask_for_bill(message, generation_id)

    async def flush(self) -> None:
        """Write down what has come since, of all answers in one statement."""
        grown = [
            (live, len(live.pieces))
            for live in self._live.values()
            if live.saved < len(live.pieces)
            and live.message.conversation_id is not None  # a program reads no half text
        ]
        if not grown:
            return
        ids = [live.message.id for live, _ in grown]
        await self._database.write(repository.write_down_any, ids, [live.text for live, _ in grown])
        for live, count in grown:
            live.saved = count

    async def close(self) -> None:
        """Begin no more, and end all that are under way with what has come: it is kept, and readers are told."""
        self._closing = True
        for bill in self._bills:
            bill.cancel()
        under_way = list(self._live.values())
        for live in under_way:
            live.cancel_upstream()
        await asyncio.gather(*(live.writing for live in under_way), return_exceptions=True)

    def abandon(self, owner: str) -> None:
        """The person is gone: stop what is written for them, and keep no word of it."""
        for live in self._live.values():
            if live.message.owner_id == owner:
                live.forgotten = True
                live.cancel_upstream()

    async def _write(
        self, live: StreamingAnswer, asking: "_Asking", record: Record, limits: KeyLimits | None, blind: bool
    ) -> None:
        write = self._database.add if blind else self._database.write
        try:
            turns = await write(self._record, live.message, record, limits)
        except Exception as exc:
            del self._live[live.message.id]
            live.fail(exc)
            return
        live.begin(asyncio.create_task(self._read(live, asking, turns)))
        await live.read()
        await self._end(live, self._ending(live))

    async def _read(self, live: StreamingAnswer, asking: "_Asking", turns: tuple[Turn, ...]) -> AnswerResult:
        """Take what comes from upstream, and ask anew when it certainly was not answered; Failure when it goes wrong."""
        provider = self._providers.get(asking.model.provider)
        if provider is None:
            return _failed(_NO_PROVIDER)
        request = _request(live.message.id, asking, turns)
        attempt = 0
        while True:
            live.asked = perf_counter()
            try:
                return await (_hear_out if asking.whole else _listen)(provider, request, live)
            except Failure as failure:
                attempt += 1
                wait = _pause(failure.outcome, attempt, self._limits.retry_pause)
                if wait is None or live.pieces or live.choices:
                    raise
            finally:
                live.waited += perf_counter() - live.asked
            await asyncio.sleep(wait)

    def _ending(self, live: StreamingAnswer) -> AnswerResult:
        if live.gauge_callback.cancelled():
            stopped = _failed(INTERRUPTED) if self._closing else AnswerResult(status=Status.STOPPED)
            return msgspec.structs.replace(stopped, generation_id=live.generation_id)
        problem = live.gauge_callback.exception()
        if problem is None:
            return live.gauge_callback.result()
        if isinstance(problem, Failure):
            outcome = problem.outcome
            cost = outcome.cost_nano if isinstance(outcome, Failed) else None
            error = Trouble(outcome.code, outcome.message)
            return AnswerResult(
                status=Status.FAILED,
                error=error,
                cost_nano=cost,
                generation_id=live.generation_id,
                detail=outcome.detail,
            )
        logger.error("bug", answer=live.message.id, exc_info=problem)
        return _failed(_BUG)

    async def _end(self, live: StreamingAnswer, ending: AnswerResult) -> None:
        """Write down the end, then tell the readers."""
        now, text = clock.now(), "" if live.forgotten else live.text
        try:
            await self._settle(live, now, text, ending)
        finally:
            del self._live[live.message.id]
            live.end(
                msgspec.structs.replace(
                    live.message,
                    text=text,
                    status=ending.status,
                    usage=ending.usage,
                    cost_nano=ending.cost_nano,
                    error=ending.error,
                    ended_at=now,
                )
            )
        if ending.cost_nano is None and ending.generation_id:
            self._ask_for_bill(live.message, ending.generation_id)
        if ending.error:
            code = ending.error.code.value
            logger.info("answer failed", answer=live.message.id, code=code, detail=ending.detail[:500])

    async def _settle(self, live: StreamingAnswer, now: datetime, text: str, ending: AnswerResult) -> None:
        """While the database cannot write, wait: the answer may have been paid for."""
        message = live.message
        while True:
            try:
                if message.conversation_id is None:
                    await self._database.add(self._end_alone, message, now, text, ending, live.key)
                else:
                    await self._database.write(self._end_one, message, now, text, ending, live.key)
                return
            except Unready as exc:
                if self._closing:
                    return
                logger.warning("an answer waits to be written down", answer=message.id, reason=exc.message)
                await asyncio.sleep(self._limits.write_pause)

    def _ask_for_bill(self, message: Message, generation_id: str) -> None:
        """Whoever was cut off could not be told what it cost; the provider knows a moment later."""
        provider = self._providers.get(message.provider or "")
        if provider is not None and not self._closing:
            bill = asyncio.create_task(
                self._fetch_late_cost(provider, message, generation_id), name=f"bill {message.id}"
            )
            self._bills.add(bill)
            bill.add_done_callback(self._bills.discard)

    async def _fetch_late_cost(self, provider: Provider, message: Message, generation_id: str) -> None:
        for wait in BILL_WAITS:
            await asyncio.sleep(wait)
            cost = await provider.cost_nano(generation_id)
            if cost is not None:
                with suppress(Unready):  # the next start asks again
                    await self._database.write(self._billed, message, cost)
                return

    # Within one transaction: what an answer costs is in the ledger whenever its row says so

    def _record(self, tx: Transaction, answer: Message, record: Record, limits: KeyLimits | None) -> tuple[Turn, ...]:
        turns = record(tx)
        self._ledger.hold(tx, answer.owner_id, Subject.ANSWER, answer.id, limits=limits)
        return turns

    def _end_one(
        self, tx: Transaction, answer: Message, now: datetime, text: str, ending: AnswerResult, key: str | None
    ) -> None:
        if repository.end(tx, answer.owner_id, answer.id, now, text, ending):
            self._ledger.settle_answer(tx, answer.owner_id, answer.id, ending.cost_nano, key)

    def _end_alone(
        self, tx: Transaction, answer: Message, now: datetime, text: str, ending: AnswerResult, key: str | None
    ) -> None:
        """Of an answer to a program, which has no row yet."""
        repository.add_ended(tx, answer.owner_id, answer, now, text, ending)
        self._ledger.settle_answer(tx, answer.owner_id, answer.id, ending.cost_nano, key)

    def _billed(self, tx: Transaction, answer: Message, cost_nano: int) -> None:
        if repository.bill(tx, answer.owner_id, answer.id, cost_nano):
            self._ledger.correct(tx, answer.owner_id, Subject.ANSWER, answer.id, cost_nano)

    def _end_all(self, tx: Transaction, now: datetime) -> int:
        ended = repository.end_all_any(tx, now, INTERRUPTED)
        for owner, id in ended:
            self._ledger.settle(tx, owner, id, None)
        return len(ended)


INTERRUPTED: Final = Trouble(
    ErrorCode.OUTCOME_UNKNOWN,
    "Atelier was stopped while this was being written. What had arrived is kept; retry for a whole answer.",
)
_NO_PROVIDER: Final = Trouble(
    ErrorCode.PROVIDER_FAILED,
    "The provider of this model is no longer configured. Choose another model, or ask the admin.",
)
_BUG: Final = Trouble(
    ErrorCode.PROVIDER_FAILED,
    "Something broke on our side while this was being written. Retry; if it goes on, tell the admin.",
)
_SILENT: Final = Trouble(
    ErrorCode.PROVIDER_FAILED, "The model answered without any text. Retry, ask differently, or choose another model."
)
_TOO_LONG: Final = Trouble(
    ErrorCode.RESULT_TOO_LARGE,
    f"The answer went on beyond the {LONGEST:,} characters that are taken, and was stopped there.",
)


class _Asking(msgspec.Struct, frozen=True):
    """What an answer is asked with, beside what was said."""

    model: Model
    params: Mapping[str, Any]
    raw: bool
    whole: bool


async def _listen(provider: Provider, request: Request, live: StreamingAnswer) -> AnswerResult:
    """One stream from its first to its last chunk."""
    figures = Chunk()
    # The contract promises an iterator that can be closed.
    stream = cast("AsyncGenerator[Chunk, None]", provider.stream(request))
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            if live.hung_up:
                raise asyncio.CancelledError
            live.add(chunk.delta[: LONGEST - live.size], chunk.choice)
            live.finish_reason = chunk.finish_reason or live.finish_reason
            live.generation_id = chunk.generation_id or live.generation_id
            figures = Chunk(
                usage=chunk.usage or figures.usage,
                cost_nano=figures.cost_nano if chunk.cost_nano is None else chunk.cost_nano,
                generation_id=chunk.generation_id or figures.generation_id,
            )
            if live.size >= LONGEST:
                break
    return _heard(live, figures)


async def _hear_out(provider: Provider, request: Request, live: StreamingAnswer) -> AnswerResult:
    """The same in one piece, from a provider that need not stream."""
    outcome = await provider.submit(request, Path())  # a text comes without files
    if isinstance(outcome, Retryable | Failed):
        raise Failure(outcome)
    assert isinstance(outcome, Completed), "a text is never put off"  # noqa: S101
    live.reply = outcome.reply
    live.add((outcome.text or "")[:LONGEST])
    return _heard(live, Chunk(usage=outcome.usage, cost_nano=outcome.cost_nano, generation_id=outcome.generation_id))


def _heard(live: StreamingAnswer, figures: Chunk) -> AnswerResult:
    calls = any(choice.get("tool_calls") for choice in (*live.choices, (live.reply or {}).get("message") or {}))
    error = _TOO_LONG if live.size >= LONGEST else None if calls or live.text.strip() else _SILENT
    return AnswerResult(
        status=Status.FAILED if error else Status.COMPLETE,
        usage=figures.usage,
        cost_nano=figures.cost_nano,
        generation_id=figures.generation_id,
        error=error,
    )


def _pause(outcome: Retryable | Failed, attempt: int, first: float) -> float | None:
    """Seconds until the question is sent once more; None when it is not."""
    if isinstance(outcome, Failed) or attempt >= ATTEMPTS:
        return None
    wait = max(first * 2 ** (attempt - 1), outcome.wait or 0)
    return wait if wait <= MAX_WAIT else None


def _request(id: str, asking: _Asking, turns: tuple[Turn, ...]) -> Request:
    model = asking.model
    return Request(
        job_id=id,
        kind=Kind.TEXT,
        model=model.upstream_id,
        prompt=validation.text_of(turns[-1]),
        params=dict(asking.params),
        messages=turns,
        raw=asking.raw,
        route=model.route or None,
        output_modalities=model.output_modalities,
    )


def _failed(error: Trouble) -> AnswerResult:
    return AnswerResult(status=Status.FAILED, error=error)
