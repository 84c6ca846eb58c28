"""An answer belongs to no connection: it is written whether or not anyone reads it, and what has arrived is not lost."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from app.base.errors import Unready
from app.chat.schemas import ChatLimits, Message, MessageStatus, NewMessage
from app.chat.service import Chat
from app.chat.upstream import MAX_ANSWER
from app.db.database import Database
from app.db.transaction import Transaction
from app.providers.contract import Chunk, ErrorCode, Failed, Failure, Request, Retryable
from tests.chat.conftest import WRITER, OpenChat, ScriptedProvider, Steps, ended, saying, shown, started, until


def refusal(message: str = "The provider's filter refused this.", cost: int | None = None) -> Failure:
    return Failure(Failed(code=ErrorCode.PROVIDER_REFUSED, message=message, cost_nano=cost, detail="inner words"))


async def row(database: Database, answer: Message) -> dict[str, Any]:
    found = await database.read(lambda tx: tx.row("messages", "select * from messages where id = $1", answer.id))
    assert found
    return found


async def ledger(database: Database, answer: Message) -> list[tuple[str, int | None]]:
    sql = "select entry, spent_nano from ledger where subject_id = $1 order by happened_at, id"
    return [(it["entry"], it["spent_nano"]) for it in await database.read(lambda tx: tx.rows("ledger", sql, answer.id))]


async def test_an_answer_arrives_word_by_word_and_ends_with_its_usage_and_cost(chat: Chat, database: Database) -> None:
    answer = await started(chat)
    states = [it.message.text async for it in chat.messages.watch("ann", answer.conversation_id or "", answer.id) if it]
    assert states[-1] == "One two three. "
    assert all(later.startswith(earlier) for earlier, later in pairwise(states))
    saved = await row(database, answer)
    assert (saved["text"], saved["status"], saved["cost_nano"]) == ("One two three. ", "complete", 1_500_000)
    assert saved["generation_id"] == "gen-1"
    assert await ledger(database, answer) == [("hold", None), ("settlement", 1_500_000)]


class Recorder:
    """A transaction that records the statements that are run in it."""

    def __init__(self, tx: Transaction, statements: list[str]) -> None:
        self._tx = tx
        self._statements = statements

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._tx, name)

        def run(tables: str, sql: str, *parameters: Any) -> Any:
            self._statements.append(sql)
            return method(tables, sql, *parameters)

        return run


async def test_all_answers_are_saved_by_one_statement(
    chat: Chat, provider: ScriptedProvider, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def waiting(request: Request) -> AsyncGenerator[Chunk, None]:
        yield Chunk(delta=f"to {request.messages[-1].content}")
        await asyncio.Event().wait()

    provider.script = waiting
    answers = [await started(chat, f"question {n}") for n in range(30)]
    await until(lambda: sum(bool(live.text) for live in chat.streaming_answers("ann")) == 30)
    statements: list[str] = []
    write = database.write

    async def recording(verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await write(lambda tx: verb(Recorder(tx, statements), *args, **kwargs))

    monkeypatch.setattr(database, "write", recording)
    await chat.flush()
    await chat.flush()  # nothing is new, so nothing is written
    assert len(statements) == 1
    assert "unnest" in statements[0]
    texts = {(await row(database, answer))["text"] for answer in answers}
    assert texts == {f"to question {n}" for n in range(30)}
    monkeypatch.undo()


async def test_a_kill_loses_only_what_arrived_after_the_last_flush(
    chat: Chat, open_chat: OpenChat, provider: ScriptedProvider, database: Database
) -> None:
    provider.script = steps = Steps()
    answer = await started(chat)
    await steps.send("saved ")
    await chat.flush()
    await steps.send("and lost")
    restarted = await open_chat()
    (it,) = (await restarted.conversations.open("ann", answer.conversation_id or "")).shown[1:]
    assert it.message.text == "saved "
    assert it.message.status is MessageStatus.FAILED
    assert it.message.error
    assert it.message.error.message.startswith("Atelier was stopped while the answer was being written")
    assert await ledger(database, answer) == [("hold", None), ("settlement", None)]
    provider.script = saying("Whole.")
    retried = await restarted.messages.retry("ann", answer.conversation_id or "", answer.id)
    assert (await ended(restarted, retried)).text.strip() == "Whole."


async def test_a_graceful_stop_keeps_everything_and_ends_the_readers(chat: Chat, provider: ScriptedProvider) -> None:
    """The stop does not wait for the provider, which never ends the answer."""
    provider.script = steps = Steps()
    answer = await started(chat)
    await steps.send("all ", "of ", "it")
    reading = asyncio.create_task(ended(chat, answer))
    async with asyncio.timeout(300):
        await chat.close()
        last = await reading
    assert (last.text, last.status, last.cost_nano) == ("all of it", MessageStatus.FAILED, None)
    assert provider.closed == 1
    with pytest.raises(Unready):
        await started(chat)


async def test_stopping_closes_the_stream_of_the_provider_and_keeps_the_text(
    chat: Chat, provider: ScriptedProvider, database: Database
) -> None:
    provider.script = steps = Steps()
    answer = await started(chat)
    await steps.send("so ", "far")
    await chat.messages.stop("ann", answer.conversation_id or "")
    assert (provider.open, provider.closed) == (0, 1)
    saved = await row(database, answer)
    assert (saved["text"], saved["status"], saved["cost_nano"]) == ("so far", "stopped", None)
    assert await ledger(database, answer) == [("hold", None), ("settlement", None)]


async def test_an_answer_can_be_stopped_before_its_first_word(chat: Chat, provider: ScriptedProvider) -> None:
    provider.script = Steps()
    answer = await started(chat)
    await chat.messages.stop("ann", answer.conversation_id or "")
    assert (await ended(chat, answer)).status is MessageStatus.STOPPED
    await chat.messages.stop("ann", answer.conversation_id or "")  # there is nothing left to stop: no error


async def test_a_chunk_that_arrives_after_the_stop_changes_nothing(
    chat: Chat, provider: ScriptedProvider, database: Database
) -> None:
    waiting = asyncio.Event()

    async def late(_: Request) -> AsyncGenerator[Chunk, None]:
        yield Chunk(delta="in time")
        waiting.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        yield Chunk(delta=" too late")

    provider.script = late
    answer = await started(chat)
    async with asyncio.timeout(300):
        await waiting.wait()
    await chat.messages.stop("ann", answer.conversation_id or "")
    await chat.flush()
    assert (await row(database, answer))["text"] == "in time"


async def test_a_failure_in_the_middle_keeps_the_text_and_the_reason(
    chat: Chat, provider: ScriptedProvider, database: Database
) -> None:
    provider.script = steps = Steps()
    answer = await started(chat)
    await steps.send("half a sen")
    steps.fail(refusal(cost=700))
    last = await ended(chat, answer)
    assert (last.text, last.status, last.cost_nano) == ("half a sen", MessageStatus.FAILED, 700)
    assert last.error
    assert last.error.code is ErrorCode.PROVIDER_REFUSED
    assert "inner words" not in last.error.message
    assert (await row(database, answer))["error_detail"] == "inner words"
    assert await ledger(database, answer) == [("hold", None), ("settlement", 700)]


async def test_a_request_that_was_certainly_not_answered_is_sent_again(
    open_chat: OpenChat, provider: ScriptedProvider
) -> None:
    chat = await open_chat(ChatLimits(retry_pause=0.01))
    busy = Failure(
        Retryable(code=ErrorCode.PROVIDER_UNREACHABLE, message="All workers are busy. Try again in a moment.")
    )

    async def busy_once(request: Request) -> AsyncGenerator[Chunk, None]:
        if len(provider.requests) == 1:
            raise busy
        yield Chunk(delta="at last")

    provider.script = busy_once
    assert (await ended(chat, await started(chat))).text == "at last"

    async def always_busy(_: Request) -> AsyncGenerator[Chunk, None]:
        raise busy
        yield Chunk()

    provider.script = always_busy
    provider.requests.clear()
    last = await ended(chat, await started(chat))
    assert last.error
    assert last.error.message == "All workers are busy. Try again in a moment."
    assert len(provider.requests) == 3


async def test_a_request_whose_answer_has_begun_is_never_sent_again(
    open_chat: OpenChat, provider: ScriptedProvider
) -> None:
    chat = await open_chat(ChatLimits(retry_pause=0.01))

    async def broken(_: Request) -> AsyncGenerator[Chunk, None]:
        yield Chunk(delta="begun")
        raise Failure(Retryable(code=ErrorCode.PROVIDER_UNREACHABLE, message="The line broke."))

    provider.script = broken
    assert (await ended(chat, await started(chat))).status is MessageStatus.FAILED
    assert len(provider.requests) == 1


async def test_an_answer_without_text_is_kept_with_the_reason_why_it_ended(
    chat: Chat, provider: ScriptedProvider
) -> None:
    async def empty(_: Request) -> AsyncGenerator[Chunk, None]:
        yield Chunk(finish_reason="length")

    provider.script = empty
    last = await ended(chat, await started(chat))
    assert (last.status, last.text, last.finish_reason) == (MessageStatus.COMPLETE, "", "length")


async def test_an_endless_answer_is_cut_and_its_stream_closed(chat: Chat, provider: ScriptedProvider) -> None:
    async def endless(_: Request) -> AsyncGenerator[Chunk, None]:
        while True:
            await asyncio.sleep(0)
            yield Chunk(delta="x" * 7_001)

    provider.script = endless
    last = await ended(chat, await started(chat))
    assert len(last.text) == MAX_ANSWER
    assert last.error
    assert last.error.code is ErrorCode.RESULT_TOO_LARGE
    assert provider.open == 0


async def test_a_bug_ends_one_answer_and_nothing_else(chat: Chat, provider: ScriptedProvider) -> None:
    async def bug(_: Request) -> AsyncGenerator[Chunk, None]:
        yield Chunk(delta="a")
        raise KeyError("secret inner detail")

    provider.script = bug
    last = await ended(chat, await started(chat))
    assert last.error
    assert "secret" not in last.error.message
    provider.script = saying("Fine.")
    assert (await ended(chat, await started(chat))).status is MessageStatus.COMPLETE


async def test_two_hundred_answers_at_once_are_each_complete(
    chat: Chat, provider: ScriptedProvider, database: Database
) -> None:
    """They are flushed while they are being written: the second half of each waits for a flush of the first."""
    halfway, flushed = asyncio.Semaphore(0), asyncio.Event()

    async def numbered(request: Request) -> AsyncGenerator[Chunk, None]:
        name = request.messages[-1].content
        for n in range(20):
            if n == 10:
                halfway.release()
                await flushed.wait()
            await asyncio.sleep(0)
            yield Chunk(delta=f"{name}:{n} ")

    provider.script = numbered
    answers = await asyncio.gather(*(started(chat, f"q{n}", f"user{n % 7}") for n in range(200)))
    ending = [asyncio.create_task(ended(chat, answer)) for answer in answers]
    async with asyncio.timeout(300):
        for _ in answers:
            await halfway.acquire()
        await chat.flush()
        flushed.set()
        await chat.flush()
        last = await asyncio.gather(*ending)
    for n, message in enumerate(last):
        assert message.text == "".join(f"q{n}:{m} " for m in range(20))
    rows = await database.read(
        lambda tx: tx.rows("messages", "select id, owner_id, text from messages where role = 'assistant'")
    )
    assert {(row["id"], row["owner_id"], row["text"]) for row in rows} == {
        (answer.id, answer.owner_id, message.text) for answer, message in zip(answers, last, strict=True)
    }


async def test_all_readers_see_the_same_and_a_reader_who_leaves_changes_nothing(
    chat: Chat, provider: ScriptedProvider
) -> None:
    provider.script = steps = Steps()
    answer = await started(chat)
    id = answer.conversation_id or ""
    leaving = chat.messages.watch("ann", id, answer.id)
    assert await anext(leaving)
    await leaving.aclose()
    await steps.send("one ")
    early = chat.messages.watch("ann", id, answer.id)
    first = await anext(early)
    assert first
    assert first.message.text == "one "
    late = asyncio.create_task(ended(chat, answer))
    await steps.send("two")
    steps.end()
    *_, last = [it.message async for it in early if it]
    assert last == await late
    assert last.text == "one two"
    again = [it async for it in chat.messages.watch("ann", id, answer.id)]
    assert len(again) == 1, "an answer that has ended is sent once"


async def test_a_reader_of_a_silent_answer_gets_a_sign_of_life(open_chat: OpenChat, provider: ScriptedProvider) -> None:
    chat = await open_chat(ChatLimits(silence=0.01))
    provider.script = Steps()
    answer = await started(chat)
    states = chat.messages.watch("ann", answer.conversation_id or "", answer.id)
    assert await anext(states) is not None
    assert await anext(states) is None
    await states.aclose()


async def test_the_end_of_an_answer_waits_for_a_database_that_cannot_write(
    open_chat: OpenChat, provider: ScriptedProvider, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await open_chat(ChatLimits(write_pause=0.01))
    provider.script = steps = Steps()
    answer = await started(chat)
    write = database.write
    refused: list[Any] = []

    async def full(verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        if len(refused) < 3:
            refused.append(verb)
            raise Unready("The disk is full.")
        return await write(verb, *args, **kwargs)

    monkeypatch.setattr(database, "write", full)
    await steps.send("paid for")
    steps.end()
    assert (await ended(chat, answer)).text == "paid for"
    assert len(refused) == 3
    assert (await row(database, answer))["status"] == "complete"


async def test_too_many_answers_at_once_are_refused_and_leave_no_rows(
    open_chat: OpenChat, provider: ScriptedProvider
) -> None:
    chat = await open_chat(ChatLimits(answers=2))
    provider.script = Steps()
    first = await started(chat)
    await started(chat)
    with pytest.raises(Unready):
        await started(chat)
    assert (await chat.conversations.newest("ann")).total == 2
    await chat.messages.stop("ann", first.conversation_id or "")
    await started(chat)


async def test_only_the_cost_remains_of_a_deleted_user(
    chat: Chat, provider: ScriptedProvider, database: Database
) -> None:
    done = await started(chat)
    await ended(chat, done)
    provider.script = steps = Steps()
    await started(chat, "my secret")
    await steps.send("known only to me")
    await chat.flush()
    await database.write(chat.forget_user, "ann")
    await until(lambda: not chat.streaming_answers("ann"))
    assert provider.open == 0
    rows = await database.read(lambda tx: tx.rows("messages", "select text, role, cost_nano from messages order by id"))
    assert [(it["text"], it["role"], it["cost_nano"]) for it in rows] == [
        ("", "assistant", 1_500_000),
        ("", "assistant", None),
    ]
    assert (await chat.conversations.newest("ann")).total == 0


async def test_an_answer_is_written_even_when_its_request_is_cancelled(chat: Chat, provider: ScriptedProvider) -> None:
    request = asyncio.create_task(chat.messages.start("ann", NewMessage(text="Hello", model=WRITER)))
    await asyncio.sleep(0)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await until(lambda: provider.closed == 1 and not chat.streaming_answers("ann"))
    found = await chat.conversations.newest("ann")
    assert await shown(chat, found.items[0].id) == ["Hello", "One two three."]


async def test_a_client_that_reads_slowly_still_gets_every_piece(chat: Chat, provider: ScriptedProvider) -> None:
    provider.script = saying("one two three four five")
    ask = chat.completions.parse({"model": WRITER, "messages": [{"role": "user", "content": "x"}]})
    pieces = []
    async for piece in chat.completions.stream("ann", ask):
        pieces.append(piece)
        await until(lambda: not chat.streaming_answers("ann"))  # it has ended when the second piece is read
    *deltas, last = pieces
    assert isinstance(last, Message)
    assert "".join(str(it) for it in deltas) == last.text == "one two three four five "
    assert len(deltas) == 5
