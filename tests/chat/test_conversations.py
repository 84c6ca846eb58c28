"""What may be said, in which branch it lands, and whose it is."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

from app.base import clock
from app.base.database import Database
from app.base.errors import Conflict, Invalid, Missing
from app.chat import service as service_module
from app.chat.schemas import Saying
from app.chat.service import Chat
from app.chat.words import LONGEST_MESSAGE, LONGEST_SYSTEM_PROMPT
from tests.chat.conftest import (
    OTHER,
    PAINTER,
    SMALL,
    WRITER,
    Playing,
    Slowly,
    conversed,
    ended,
    shown,
    started,
    words,
)


def told(provider: Playing, call: int = -1) -> list[tuple[str, str]]:
    """What the model was told at that call."""
    return [(turn.role, str(turn.content).strip()) for turn in provider.asked[call].messages]


async def test_each_answer_is_asked_with_all_that_went_before(chat: Chat, provider: Playing) -> None:
    id = await conversed(chat, "First", "Second")
    assert told(provider) == [("user", "First"), ("assistant", "One two three."), ("user", "Second")]
    assert await shown(chat, id) == ["First", "One two three.", "Second", "One two three."]


async def test_a_system_prompt_goes_first_and_can_be_changed(chat: Chat, provider: Playing) -> None:
    answer = await started(chat, "First", system_prompt="Be brief.")
    await ended(chat, answer)
    assert told(provider) == [("system", "Be brief."), ("user", "First")]
    id = answer.conversation_id or ""
    await ended(chat, await chat.say("ann", id, Saying(text="Second", system_prompt="Be kind.")))
    assert told(provider)[0] == ("system", "Be kind.")
    await chat.choose("ann", id, system_prompt="")
    await ended(chat, await chat.say("ann", id, Saying(text="Third")))
    assert told(provider)[0] == ("user", "First")


async def test_the_model_can_be_changed_in_the_middle(chat: Chat, provider: Playing) -> None:
    id = await conversed(chat, "First")
    await chat.choose("ann", id, model=OTHER)
    await ended(chat, await chat.say("ann", id, Saying(text="Second")))
    assert provider.asked[-1].model == OTHER
    names = [it.message.model_name for it in (await chat.open("ann", id)).shown]
    assert names == [None, "Writer", None, "Other"]
    for wrong in ("maker/unknown", PAINTER):
        with pytest.raises(Invalid) as problem:
            await chat.choose("ann", id, model=wrong)
        assert set(problem.value.fields) == {"model"}


async def test_editing_makes_a_branch_and_both_stay(chat: Chat, provider: Playing) -> None:
    id = await conversed(chat, "First", "Second")
    thread = await chat.open("ann", id)
    provider.part = words("Another.")
    await ended(chat, await chat.edit("ann", id, thread.shown[2].message.id, "Second, better"))
    assert told(provider) == [("user", "First"), ("assistant", "One two three."), ("user", "Second, better")]
    assert await shown(chat, id) == ["First", "One two three.", "Second, better", "Another."]
    edited = (await chat.open("ann", id)).shown[2]
    assert (edited.number, edited.count, edited.after) == (2, 2, None)
    await chat.switch("ann", id, edited.before or "")
    assert await shown(chat, id) == ["First", "One two three.", "Second", "One two three."]
    await chat.switch("ann", id, edited.message.id)
    assert await shown(chat, id) == ["First", "One two three.", "Second, better", "Another."]


async def test_the_first_message_can_be_edited_too(chat: Chat, provider: Playing) -> None:
    id = await conversed(chat, "First", "Second")
    first = (await chat.open("ann", id)).shown[0].message
    await ended(chat, await chat.edit("ann", id, first.id, "A new beginning"))
    assert told(provider) == [("user", "A new beginning")]
    assert await shown(chat, id) == ["A new beginning", "One two three."]


async def test_a_retry_is_a_sibling_and_switching_goes_to_the_newest_end(chat: Chat, provider: Playing) -> None:
    id = await conversed(chat, "First", "Second")
    first_answer = (await chat.open("ann", id)).shown[1].message
    provider.part = words("Better.")
    await ended(chat, await chat.retry("ann", id, first_answer.id))
    assert told(provider) == [("user", "First")]
    assert await shown(chat, id) == ["First", "Better."]
    it = (await chat.open("ann", id)).shown[1]
    assert (it.number, it.count, it.before) == (2, 2, first_answer.id)
    await chat.switch("ann", id, first_answer.id)
    assert len(await shown(chat, id)) == 4, "the whole old branch is back"


async def test_nothing_else_is_said_while_an_answer_is_being_written(chat: Chat, provider: Playing) -> None:
    id = await conversed(chat, "First")
    question, answer = (it.message.id for it in (await chat.open("ann", id)).shown)
    provider.part = Slowly()
    await chat.say("ann", id, Saying(text="Second"))
    for verb in (
        chat.say("ann", id, Saying(text="x")),
        chat.edit("ann", id, question, "x"),
        chat.retry("ann", id, answer),
        chat.switch("ann", id, question),
    ):
        with pytest.raises(Conflict):
            await verb
    assert await shown(chat, id) == ["First", "One two three.", "Second", ""]
    await chat.stop("ann", id)
    provider.part = words("On.")
    await ended(chat, await chat.say("ann", id, Saying(text="Third")))
    assert told(provider)[-2:] == [("user", "Second"), ("user", "Third")], "an empty answer is not told"


async def test_of_two_that_speak_at_once_one_is_heard(chat: Chat, provider: Playing) -> None:
    id = await conversed(chat, "First")
    provider.part = Slowly()
    said = await asyncio.gather(
        *(chat.say("ann", id, Saying(text=f"Second {n}")) for n in range(5)), return_exceptions=True
    )
    assert sum(isinstance(it, Conflict) for it in said) == 4
    assert len(await shown(chat, id)) == 4


async def test_the_oldest_turns_are_left_out_when_the_model_takes_no_more(chat: Chat, provider: Playing) -> None:
    provider.part = words("b" * 300)
    answer = await started(chat, "a" * 300, model=SMALL, system_prompt="Stay.")
    await ended(chat, answer)
    id = answer.conversation_id or ""
    for _ in range(4):
        await ended(chat, await chat.say("ann", id, Saying(text="a" * 300)))
    heard = told(provider)
    assert heard[0] == ("system", "Stay.")
    assert [role for role, _ in heard[1:]] == ["user", "assistant", "user"]
    assert len(await shown(chat, id)) == 10, "the person still sees all"


async def test_the_title_is_the_first_words_and_can_be_changed(chat: Chat) -> None:
    id = await conversed(chat, "  # Names for\n a paper boat, five of them please, each with one sentence why  ")
    assert (await chat.open("ann", id)).conversation.title == "Names for a paper boat, five of them please,…"
    await chat.rename("ann", id, "  Boats \u202e and  more ")
    assert (await chat.open("ann", id)).conversation.title == "Boats and more"
    for wrong in ("", "   ", "x" * 81, "a\x00b"):
        with pytest.raises(Invalid) as problem:
            await chat.rename("ann", id, wrong)
        assert set(problem.value.fields) == {"title"}


async def test_what_cannot_be_said_is_refused_by_its_field(chat: Chat) -> None:
    id = await conversed(chat, "First")
    for text in ("", " \n ", "x" * (LONGEST_MESSAGE + 1), "a\x00b"):
        for verb in (chat.start("ann", Saying(text=text, model=WRITER)), chat.say("ann", id, Saying(text=text))):
            with pytest.raises(Invalid) as problem:
                await verb
            assert set(problem.value.fields) == {"text"}
    with pytest.raises(Invalid) as problem:
        await chat.say("ann", id, Saying(text="x", system_prompt="x" * (LONGEST_SYSTEM_PROMPT + 1)))
    assert set(problem.value.fields) == {"system_prompt"}
    with pytest.raises(Invalid) as problem:
        await chat.start("ann", Saying(text="x"))
    assert set(problem.value.fields) == {"model"}
    assert len(await shown(chat, id)) == 2


async def test_a_conversation_has_an_end_to_its_length(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MOST_MESSAGES", 4)
    id = await conversed(chat, "First", "Second")
    with pytest.raises(Conflict):
        await chat.say("ann", id, Saying(text="Third"))


async def test_a_long_branch_is_shown_in_stretches(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "SHOWN", 4)
    id = await conversed(chat, "1", "2", "3", "4")
    latest = await chat.open("ann", id)
    assert [it.message.text for it in latest.shown][::2] == ["3", "4"]
    earlier = await chat.open("ann", id, until=latest.earlier)
    assert [it.message.text for it in earlier.shown][::2] == ["1", "2"]
    assert earlier.earlier is None


async def test_conversations_are_listed_by_their_last_use_in_parts(chat: Chat) -> None:
    ids = [await conversed(chat, f"Talk {n}") for n in range(5)]
    await ended(chat, await chat.say("ann", ids[1], Saying(text="more")))
    wanted = [ids[1], ids[4], ids[3], ids[2], ids[0]]
    found, before = [], None
    while True:
        part = await chat.newest("ann", before=before, limit=2)
        assert part.total == 5
        found += [it.id for it in part.items]
        if (before := part.next) is None:
            break
    assert found == wanted
    assert all(a.changed_at >= b.changed_at for a, b in pairwise((await chat.newest("ann")).items))


async def test_titles_can_be_searched_by_words(chat: Chat) -> None:
    for text in ("Shot list for the HARBOUR film", "Names for a paper boat", "A boat in the harbour 100%_"):
        await conversed(chat, text)
    for q, count in (("harbour", 2), ("boat harbour", 1), ("%", 1), ("_", 1), ("zebra", 0), ("", 3)):
        part = await chat.newest("ann", q=q)
        assert (q, len(part.items), part.total) == (q, count, count)
    for wrong in ("no place", "2026-13-01 x"):
        with pytest.raises(Invalid):
            await chat.newest("ann", before=wrong)


async def test_a_deleted_conversation_can_be_brought_back_for_a_while(chat: Chat, provider: Playing) -> None:
    id = await conversed(chat, "First")
    provider.part = Slowly()
    await chat.say("ann", id, Saying(text="Second"))
    await chat.delete("ann", id)
    assert provider.open == 0, "what was being written in it is stopped"
    for verb in (chat.open("ann", id), chat.delete("ann", id), chat.say("ann", id, Saying(text="x"))):
        with pytest.raises(Missing):
            await verb
    assert (await chat.newest("ann")).total == 0
    await chat.restore("ann", id)
    assert await shown(chat, id) == ["First", "One two three.", "Second", ""]
    with pytest.raises(Missing):
        await chat.restore("ann", id)


async def test_what_was_deleted_long_enough_ago_is_forgotten_but_for_its_cost(chat: Chat, database: Database) -> None:
    kept, gone, fresh = [await conversed(chat, text) for text in ("Kept", "Gone", "Fresh")]
    await chat.delete("ann", gone)
    await chat.delete("ann", fresh)
    long_ago = clock.now() - timedelta(minutes=11)
    await database.write(
        lambda tx: tx.execute("update conversations set deleted_at = $1 where id = $2", long_ago, gone)
    )
    await chat.sweep()
    with pytest.raises(Missing):
        await chat.restore("ann", gone)
    rows = await database.read(
        lambda tx: tx.rows("select text, cost_nano from messages where conversation_id = $1", gone)
    )
    assert [(it["text"], it["cost_nano"]) for it in rows] == [("", 1_500_000)]
    await chat.restore("ann", fresh)
    assert await shown(chat, fresh) == ["Fresh", "One two three."]
    assert await shown(chat, kept) == ["Kept", "One two three."]


async def test_a_stranger_meets_nothing(chat: Chat, provider: Playing) -> None:
    id = await conversed(chat, "Mine")
    question, answer = (it.message.id for it in (await chat.open("ann", id)).shown)
    other = await conversed(chat, "Theirs", owner="bob")
    for them, here in (("bob", id), ("ann", other), ("ann", "0" * 32)):
        for verb in (
            chat.open(them, here),
            chat.say(them, here, Saying(text="x")),
            chat.edit(them, here, question, "x"),
            chat.retry(them, here, answer),
            chat.switch(them, here, question),
            chat.choose(them, here, model=OTHER),
            chat.stop(them, here),
            chat.rename(them, here, "x"),
            chat.delete(them, here),
            chat.restore(them, here),
            anext(chat.follow(them, here, answer)),
        ):
            if (them, here) == ("ann", other) or them == "bob" or here == "0" * 32:
                with pytest.raises(Missing):
                    await verb
    for verb in (chat.edit("bob", other, question, "x"), chat.retry("bob", other, answer)):
        with pytest.raises(Missing):
            await verb
    with pytest.raises(Missing):
        await chat.switch("bob", other, question)
    with pytest.raises(Missing):
        await anext(chat.follow("bob", other, answer))
    assert await shown(chat, id) == ["Mine", "One two three."]


async def test_a_stranger_cannot_stop_what_is_being_written(chat: Chat, provider: Playing) -> None:
    provider.part = slowly = Slowly()
    answer = await started(chat)
    with pytest.raises(Missing):
        await chat.stop("bob", answer.conversation_id or "")
    slowly.say("on")
    slowly.end()
    assert (await ended(chat, answer)).text == "on"


async def test_a_question_is_not_an_answer(chat: Chat) -> None:
    id = await conversed(chat, "First")
    question, answer = (it.message.id for it in (await chat.open("ann", id)).shown)
    with pytest.raises(Missing):
        await chat.edit("ann", id, answer, "x")
    with pytest.raises(Missing):
        await chat.retry("ann", id, question)
