"""An answer is written by nobody's connection, and what has come of it is not lost."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from app.base.database import Database, Transaction
from app.base.errors import Unready
from app.chat import answers as answers_module
from app.chat.answers import LONGEST
from app.chat.schemas import Message, Saying, Status
from app.chat.service import Chat
from app.providers.contract import Again, Chunk, ErrorCode, Failure, Never, Request
from tests.chat.conftest import WRITER, Playing, Reopen, Slowly, ended, shown, started, until, words


def refusal(message: str = "The provider's filter refused this.", cost: int | None = None) -> Failure:
    return Failure(Never(code=ErrorCode.PROVIDER_REFUSED, message=message, cost_nano=cost, detail="inner words"))


async def row(database: Database, answer: Message) -> dict[str, Any]:
    found = await database.read(lambda tx: tx.row("select * from messages where id = $1", answer.id))
    assert found
    return found


async def ledger(database: Database, answer: Message) -> list[tuple[str, int | None]]:
    sql = "select entry, spent_nano from ledger where subject_id = $1 order by happened_at, id"
    return [(it["entry"], it["spent_nano"]) for it in await database.read(lambda tx: tx.rows(sql, answer.id))]


async def test_an_answer_comes_word_by_word_and_ends_with_its_figures(chat: Chat, database: Database) -> None:
    answer = await started(chat)
    states = [it.message.text async for it in chat.follow("ann", answer.conversation_id or "", answer.id) if it]
    assert states[-1] == "One two three. "
    assert all(later.startswith(earlier) for earlier, later in pairwise(states))
    kept = await row(database, answer)
    assert (kept["text"], kept["status"], kept["cost_nano"]) == ("One two three. ", "complete", 1_500_000)
    assert kept["generation_id"] == "gen-1"
    assert await ledger(database, answer) == [("hold", None), ("settlement", 1_500_000)]


async def test_all_answers_together_are_written_down_by_one_statement(
    chat: Chat, provider: Playing, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def waiting(request: Request) -> AsyncGenerator[Chunk, None]:
        yield Chunk(delta=f"to {request.messages[-1].content}")
        await asyncio.sleep(60)

    provider.part = waiting
    answers = [await started(chat, f"question {n}") for n in range(30)]
    await until(lambda: provider.open == 30)
    await asyncio.sleep(0.05)
    statements: list[str] = []
    execute = Transaction._run

    def counted(self: Transaction, sql: str, parameters: Any) -> Any:
        statements.append(sql)
        return execute(self, sql, parameters)

    monkeypatch.setattr(Transaction, "_run", counted)
    await chat.flush()
    await chat.flush()  # nothing new: nothing written
    assert len(statements) == 1
    assert "unnest" in statements[0]
    texts = {(await row(database, answer))["text"] for answer in answers}
    assert texts == {f"to question {n}" for n in range(30)}


async def test_a_kill_loses_what_came_after_the_last_writing_and_nothing_else(
    chat: Chat, reopen: Reopen, provider: Playing, database: Database
) -> None:
    provider.part = slowly = Slowly()
    answer = await started(chat)
    slowly.say("saved ")
    await until(lambda: provider.open)
    await asyncio.sleep(0.05)
    await chat.flush()
    slowly.say("and lost")
    after = await reopen()
    (it,) = (await after.open("ann", answer.conversation_id or "")).shown[1:]
    assert it.message.text == "saved "
    assert it.message.status is Status.FAILED
    assert it.message.error
    assert it.message.error.message.startswith("Atelier was stopped while this was being written")
    assert await ledger(database, answer) == [("hold", None), ("settlement", None)]
    provider.part = words("Whole.")
    again = await after.retry("ann", answer.conversation_id or "", answer.id)
    assert (await ended(after, again)).text.strip() == "Whole."


async def test_a_graceful_stop_keeps_everything_and_tells_the_readers(chat: Chat, provider: Playing) -> None:
    provider.part = slowly = Slowly()
    answer = await started(chat)
    slowly.say("all ", "of ", "it")
    reading = asyncio.create_task(ended(chat, answer))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(2):
        await chat.close()
        last = await reading
    assert (last.text, last.status, last.cost_nano) == ("all of it", Status.FAILED, None)
    assert provider.closed == 1
    with pytest.raises(Unready):
        await started(chat)


async def test_stopping_closes_the_stream_upstream_and_keeps_what_came(
    chat: Chat, provider: Playing, database: Database
) -> None:
    provider.part = slowly = Slowly()
    answer = await started(chat)
    slowly.say("so ", "far")
    await until(lambda: provider.open)
    await asyncio.sleep(0.05)
    await chat.stop("ann", answer.conversation_id or "")
    assert (provider.open, provider.closed) == (0, 1)
    kept = await row(database, answer)
    assert (kept["text"], kept["status"], kept["cost_nano"]) == ("so far", "stopped", None)
    assert await ledger(database, answer) == [("hold", None), ("settlement", None)]


async def test_stopping_before_the_first_word_is_stopping_too(chat: Chat, provider: Playing) -> None:
    provider.part = Slowly()
    answer = await started(chat)
    await chat.stop("ann", answer.conversation_id or "")
    assert (await ended(chat, answer)).status is Status.STOPPED
    await chat.stop("ann", answer.conversation_id or "")  # nothing to stop any more: no error


async def test_a_chunk_that_comes_after_the_stop_changes_nothing(
    chat: Chat, provider: Playing, database: Database
) -> None:
    async def deaf(_: Request) -> AsyncGenerator[Chunk, None]:
        yield Chunk(delta="heard")
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        yield Chunk(delta=" too late")

    provider.part = deaf
    answer = await started(chat)
    await until(lambda: provider.open)
    await asyncio.sleep(0.05)
    await chat.stop("ann", answer.conversation_id or "")
    await chat.flush()
    assert (await row(database, answer))["text"] == "heard"


async def test_a_failure_in_the_middle_keeps_the_text_and_says_why(
    chat: Chat, provider: Playing, database: Database
) -> None:
    provider.part = slowly = Slowly()
    answer = await started(chat)
    slowly.say("half a sen")
    slowly.fail(refusal(cost=700))
    last = await ended(chat, answer)
    assert (last.text, last.status, last.cost_nano) == ("half a sen", Status.FAILED, 700)
    assert last.error
    assert last.error.code is ErrorCode.PROVIDER_REFUSED
    assert "inner words" not in last.error.message
    assert (await row(database, answer))["error_detail"] == "inner words"
    assert await ledger(database, answer) == [("hold", None), ("settlement", 700)]


async def test_what_certainly_was_not_answered_is_asked_once_more(
    chat: Chat, provider: Playing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "FIRST_WAIT", 0.01)
    busy = Failure(Again(code=ErrorCode.PROVIDER_UNREACHABLE, message="Nobody is free. Try again in a moment."))

    async def moody(request: Request) -> AsyncGenerator[Chunk, None]:
        if len(provider.asked) == 1:
            raise busy
        yield Chunk(delta="at last")

    provider.part = moody
    assert (await ended(chat, await started(chat))).text == "at last"

    async def never(_: Request) -> AsyncGenerator[Chunk, None]:
        raise busy
        yield Chunk()

    provider.part = never
    provider.asked.clear()
    last = await ended(chat, await started(chat))
    assert last.error
    assert last.error.message == "Nobody is free. Try again in a moment."
    assert len(provider.asked) == 3


async def test_what_was_begun_is_never_asked_again(
    chat: Chat, provider: Playing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "FIRST_WAIT", 0.01)

    async def breaks(_: Request) -> AsyncGenerator[Chunk, None]:
        yield Chunk(delta="begun")
        raise Failure(Again(code=ErrorCode.PROVIDER_UNREACHABLE, message="The line broke."))

    provider.part = breaks
    assert (await ended(chat, await started(chat))).status is Status.FAILED
    assert len(provider.asked) == 1


async def test_an_answer_without_words_is_a_failure(chat: Chat, provider: Playing) -> None:
    provider.part = words("")
    last = await ended(chat, await started(chat))
    assert last.status is Status.FAILED
    assert last.error
    assert "without any text" in last.error.message


async def test_an_endless_answer_is_cut_and_its_stream_closed(chat: Chat, provider: Playing) -> None:
    async def endless(_: Request) -> AsyncGenerator[Chunk, None]:
        while True:
            await asyncio.sleep(0)
            yield Chunk(delta="x" * 7_001)

    provider.part = endless
    last = await ended(chat, await started(chat))
    assert len(last.text) == LONGEST
    assert last.error
    assert last.error.code is ErrorCode.RESULT_TOO_LARGE
    assert provider.open == 0


async def test_a_bug_of_ours_ends_the_answer_and_nothing_else(chat: Chat, provider: Playing) -> None:
    async def bug(_: Request) -> AsyncGenerator[Chunk, None]:
        yield Chunk(delta="a")
        raise KeyError("secret inner thing")

    provider.part = bug
    last = await ended(chat, await started(chat))
    assert last.error
    assert "secret" not in last.error.message
    provider.part = words("Fine.")
    assert (await ended(chat, await started(chat))).status is Status.COMPLETE


async def test_two_hundred_answers_at_once_each_come_whole(chat: Chat, provider: Playing) -> None:
    async def own(request: Request) -> AsyncGenerator[Chunk, None]:
        name = request.messages[-1].content
        for n in range(60):
            await asyncio.sleep(0.001)
            yield Chunk(delta=f"{name}:{n} ")

    provider.part = own
    answers = await asyncio.gather(*(started(chat, f"q{n}", f"person{n % 7}") for n in range(200)))
    flushing = asyncio.create_task(_flushing(chat))
    last = await asyncio.gather(*(ended(chat, answer) for answer in answers))
    flushing.cancel()
    for n, message in enumerate(last):
        assert message.text == "".join(f"q{n}:{m} " for m in range(60))
    for answer, message in zip(answers, last, strict=True):
        assert (await shown(chat, answer.conversation_id or "", answer.owner_id))[1] == message.text.strip()


async def _flushing(chat: Chat) -> None:
    while True:
        await chat.flush()
        await asyncio.sleep(0.02)


async def test_any_number_of_readers_see_the_same_and_leaving_changes_nothing(chat: Chat, provider: Playing) -> None:
    provider.part = slowly = Slowly()
    answer = await started(chat)
    id = answer.conversation_id or ""
    leaver = chat.follow("ann", id, answer.id)
    assert await anext(leaver)
    await leaver.aclose()
    slowly.say("one ")
    early = asyncio.create_task(ended(chat, answer))
    await asyncio.sleep(0.02)
    late = asyncio.create_task(ended(chat, answer))
    slowly.say("two")
    slowly.end()
    assert (await early) == (await late)
    assert (await early).text == "one two"
    again = [it async for it in chat.follow("ann", id, answer.id)]
    assert len(again) == 1, "what has ended is told once"


async def test_a_reader_gets_a_sign_of_life(chat: Chat, provider: Playing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.chat.service.PATIENCE", 0.01)
    provider.part = Slowly()
    answer = await started(chat)
    states = chat.follow("ann", answer.conversation_id or "", answer.id)
    assert await anext(states) is not None
    assert await anext(states) is None
    await states.aclose()


async def test_when_the_database_cannot_write_the_end_waits_for_it(
    chat: Chat, provider: Playing, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "UNREADY_PAUSE", 0.01)
    provider.part = slowly = Slowly()
    answer = await started(chat)
    write = database.write
    refused: list[Any] = []

    async def full(verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        if len(refused) < 3:
            refused.append(verb)
            raise Unready("The disk is full.")
        return await write(verb, *args, **kwargs)

    monkeypatch.setattr(database, "write", full)
    slowly.say("paid for")
    slowly.end()
    assert (await ended(chat, answer)).text == "paid for"
    assert len(refused) == 3
    assert (await row(database, answer))["status"] == "complete"


async def test_too_many_answers_at_once_are_refused_and_leave_no_trace(
    chat: Chat, provider: Playing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "MOST_AT_ONCE", 2)
    provider.part = Slowly()
    first = await started(chat)
    await started(chat)
    with pytest.raises(Unready):
        await started(chat)
    assert (await chat.newest("ann")).total == 2
    await chat.stop("ann", first.conversation_id or "")
    await started(chat)


async def test_whoever_is_deleted_leaves_no_words_but_the_cost(
    chat: Chat, provider: Playing, database: Database
) -> None:
    done = await started(chat)
    await ended(chat, done)
    provider.part = slowly = Slowly()
    answer = await started(chat, "my secret")
    slowly.say("known only to me")
    await until(lambda: provider.open)
    await chat.flush()
    await database.write(chat.forget_person, "ann")
    await until(lambda: provider.open == 0)
    await until(lambda: chat._answers.find(answer.id) is None)
    rows = await database.read(lambda tx: tx.rows("select text, role, cost_nano from messages order by id"))
    assert [(it["text"], it["role"], it["cost_nano"]) for it in rows] == [
        ("", "assistant", 1_500_000),
        ("", "assistant", None),
    ]
    assert (await chat.newest("ann")).total == 0


async def test_the_row_is_there_even_when_nobody_waits_for_it(chat: Chat, provider: Playing) -> None:
    asking = asyncio.create_task(chat.start("ann", Saying(text="Hello", model=WRITER)))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: provider.closed == 1)
    await until(lambda: not chat._answers._live)
    found = await chat.newest("ann")
    assert await shown(chat, found.items[0].id) == ["Hello", "One two three."]


async def test_a_program_that_reads_slowly_still_gets_every_piece(chat: Chat, provider: Playing) -> None:
    provider.part = words("one two three four five")
    ask = chat.check({"model": WRITER, "messages": [{"role": "user", "content": "x"}]})
    pieces = []
    async for piece in chat.stream("ann", ask):
        pieces.append(piece)
        await until(lambda: not chat._answers._live)  # it has long ended when the second piece is read
    *deltas, last = pieces
    assert isinstance(last, Message)
    assert "".join(str(it) for it in deltas) == last.text == "one two three four five "
    assert len(deltas) == 5
