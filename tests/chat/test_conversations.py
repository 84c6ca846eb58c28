"""Conversations: their messages and branches, their list, and who may see and change them."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

from app.base import clock
from app.base.errors import Conflict, Invalid, Missing
from app.chat.schemas import ChatLimits, NewMessage
from app.chat.service import Chat
from app.chat.validation import MAX_MESSAGE, MAX_SYSTEM_PROMPT
from app.db.database import Database
from tests.chat.conftest import (
    IMAGES,
    OTHER,
    SMALL,
    WRITER,
    OpenChat,
    ScriptedProvider,
    Steps,
    conversation,
    ended,
    saying,
    shown,
    started,
)


def sent(provider: ScriptedProvider) -> list[tuple[str, str]]:
    """Role and text of each message of the last request to the model."""
    return [(turn.role, str(turn.content).strip()) for turn in provider.requests[-1].messages]


async def test_the_model_is_sent_the_whole_conversation(chat: Chat, provider: ScriptedProvider) -> None:
    id = await conversation(chat, "First", "Second")
    assert sent(provider) == [("user", "First"), ("assistant", "One two three."), ("user", "Second")]
    assert await shown(chat, id) == ["First", "One two three.", "Second", "One two three."]


async def test_a_system_prompt_is_sent_first_and_can_be_changed(chat: Chat, provider: ScriptedProvider) -> None:
    answer = await started(chat, "First", system_prompt="Be brief.")
    await ended(chat, answer)
    assert sent(provider) == [("system", "Be brief."), ("user", "First")]
    id = answer.conversation_id or ""
    await ended(chat, await chat.messages.send("ann", id, NewMessage(text="Second", system_prompt="Be kind.")))
    assert sent(provider)[0] == ("system", "Be kind.")
    await chat.conversations.save_settings("ann", id, system_prompt="")
    await ended(chat, await chat.messages.send("ann", id, NewMessage(text="Third")))
    assert sent(provider)[0] == ("user", "First")


async def test_the_model_of_a_conversation_can_be_changed(chat: Chat, provider: ScriptedProvider) -> None:
    id = await conversation(chat, "First")
    await chat.conversations.save_settings("ann", id, model=OTHER)
    await ended(chat, await chat.messages.send("ann", id, NewMessage(text="Second")))
    assert provider.requests[-1].model == OTHER
    names = [it.message.model_name for it in (await chat.conversations.open("ann", id)).shown]
    assert names == [None, "Writer", None, "Other"]
    for wrong in ("acme/unknown", IMAGES):
        with pytest.raises(Invalid) as exc:
            await chat.conversations.save_settings("ann", id, model=wrong)
        assert set(exc.value.fields) == {"model"}


async def test_editing_a_message_creates_a_branch_and_both_branches_stay(
    chat: Chat, provider: ScriptedProvider
) -> None:
    id = await conversation(chat, "First", "Second")
    thread = await chat.conversations.open("ann", id)
    provider.script = saying("Another.")
    await ended(chat, await chat.messages.edit("ann", id, thread.shown[2].message.id, "Second, better"))
    assert sent(provider) == [("user", "First"), ("assistant", "One two three."), ("user", "Second, better")]
    assert await shown(chat, id) == ["First", "One two three.", "Second, better", "Another."]
    edited = (await chat.conversations.open("ann", id)).shown[2]
    assert (edited.number, edited.count, edited.after) == (2, 2, None)
    await chat.conversations.show_branch("ann", id, edited.before or "")
    assert await shown(chat, id) == ["First", "One two three.", "Second", "One two three."]
    await chat.conversations.show_branch("ann", id, edited.message.id)
    assert await shown(chat, id) == ["First", "One two three.", "Second, better", "Another."]


async def test_the_first_message_can_be_edited_too(chat: Chat, provider: ScriptedProvider) -> None:
    id = await conversation(chat, "First", "Second")
    first = (await chat.conversations.open("ann", id)).shown[0].message
    await ended(chat, await chat.messages.edit("ann", id, first.id, "A new beginning"))
    assert sent(provider) == [("user", "A new beginning")]
    assert await shown(chat, id) == ["A new beginning", "One two three."]


async def test_a_retry_is_a_sibling_and_switching_shows_the_newest_end_of_a_branch(
    chat: Chat, provider: ScriptedProvider
) -> None:
    id = await conversation(chat, "First", "Second")
    first_answer = (await chat.conversations.open("ann", id)).shown[1].message
    provider.script = saying("Better.")
    await ended(chat, await chat.messages.retry("ann", id, first_answer.id))
    assert sent(provider) == [("user", "First")]
    assert await shown(chat, id) == ["First", "Better."]
    it = (await chat.conversations.open("ann", id)).shown[1]
    assert (it.number, it.count, it.before) == (2, 2, first_answer.id)
    await chat.conversations.show_branch("ann", id, first_answer.id)
    assert len(await shown(chat, id)) == 4, "the whole old branch is back"


async def test_a_conversation_cannot_be_changed_while_an_answer_is_being_written(
    chat: Chat, provider: ScriptedProvider
) -> None:
    id = await conversation(chat, "First")
    question, answer = (it.message.id for it in (await chat.conversations.open("ann", id)).shown)
    provider.script = Steps()
    await chat.messages.send("ann", id, NewMessage(text="Second"))
    for call in (
        chat.messages.send("ann", id, NewMessage(text="x")),
        chat.messages.edit("ann", id, question, "x"),
        chat.messages.retry("ann", id, answer),
        chat.conversations.show_branch("ann", id, question),
    ):
        with pytest.raises(Conflict):
            await call
    assert await shown(chat, id) == ["First", "One two three.", "Second", ""]
    await chat.messages.stop("ann", id)
    provider.script = saying("On.")
    await ended(chat, await chat.messages.send("ann", id, NewMessage(text="Third")))
    assert sent(provider)[-2:] == [("user", "Second"), ("user", "Third")], "an empty answer is not sent"


async def test_one_of_several_messages_at_once_is_accepted(chat: Chat, provider: ScriptedProvider) -> None:
    id = await conversation(chat, "First")
    provider.script = Steps()
    results = await asyncio.gather(
        *(chat.messages.send("ann", id, NewMessage(text=f"Second {n}")) for n in range(5)), return_exceptions=True
    )
    assert sum(isinstance(it, Conflict) for it in results) == 4
    assert len(await shown(chat, id)) == 4


async def test_the_oldest_messages_are_left_out_when_the_context_of_the_model_is_full(
    chat: Chat, provider: ScriptedProvider
) -> None:
    provider.script = saying("b" * 300)
    answer = await started(chat, "a" * 300, model=SMALL, system_prompt="Stay.")
    await ended(chat, answer)
    id = answer.conversation_id or ""
    for _ in range(4):
        await ended(chat, await chat.messages.send("ann", id, NewMessage(text="a" * 300)))
    messages = sent(provider)
    assert messages[0] == ("system", "Stay.")
    assert [role for role, _ in messages[1:]] == ["user", "assistant", "user"]
    assert len(await shown(chat, id)) == 10, "the user still sees all of them"


async def test_the_title_is_the_beginning_of_the_first_message_and_can_be_changed(chat: Chat) -> None:
    id = await conversation(chat, "  # Names for\n a paper boat, five of them please, each with one sentence why  ")
    assert (
        await chat.conversations.open("ann", id)
    ).conversation.title == "Names for a paper boat, five of them please,…"
    await chat.conversations.rename("ann", id, "  Boats \u202e and  more ")
    assert (await chat.conversations.open("ann", id)).conversation.title == "Boats and more"
    for wrong in ("", " \x00\u202e ", "x" * 81):
        with pytest.raises(Invalid) as exc:
            await chat.conversations.rename("ann", id, wrong)
        assert set(exc.value.fields) == {"title"}


async def test_an_invalid_message_names_its_field(chat: Chat) -> None:
    id = await conversation(chat, "First")
    for text in ("", " \n ", "x" * (MAX_MESSAGE + 1), "a\x00b"):
        for call in (
            chat.messages.start("ann", NewMessage(text=text, model=WRITER)),
            chat.messages.send("ann", id, NewMessage(text=text)),
        ):
            with pytest.raises(Invalid) as exc:
                await call
            assert set(exc.value.fields) == {"text"}
    with pytest.raises(Invalid) as exc:
        await chat.messages.send("ann", id, NewMessage(text="x", system_prompt="x" * (MAX_SYSTEM_PROMPT + 1)))
    assert set(exc.value.fields) == {"system_prompt"}
    with pytest.raises(Invalid) as exc:
        await chat.messages.start("ann", NewMessage(text="x"))
    assert set(exc.value.fields) == {"model"}
    assert len(await shown(chat, id)) == 2


async def test_the_length_of_a_conversation_is_limited(open_chat: OpenChat) -> None:
    chat = await open_chat(ChatLimits(messages=4))
    id = await conversation(chat, "First", "Second")
    with pytest.raises(Conflict):
        await chat.messages.send("ann", id, NewMessage(text="Third"))


async def test_a_long_branch_is_shown_in_pages(open_chat: OpenChat) -> None:
    chat = await open_chat(ChatLimits(page=4))
    id = await conversation(chat, "1", "2", "3", "4")
    latest = await chat.conversations.open("ann", id)
    assert [it.message.text for it in latest.shown][::2] == ["3", "4"]
    earlier = await chat.conversations.open("ann", id, until=latest.earlier)
    assert [it.message.text for it in earlier.shown][::2] == ["1", "2"]
    assert earlier.earlier is None


async def test_conversations_are_listed_by_their_last_use_in_pages(chat: Chat) -> None:
    ids = [await conversation(chat, f"Talk {n}") for n in range(5)]
    await ended(chat, await chat.messages.send("ann", ids[1], NewMessage(text="more")))
    expected = [ids[1], ids[4], ids[3], ids[2], ids[0]]
    found, before = [], None
    while True:
        part = await chat.conversations.newest("ann", before=before, limit=2)
        assert part.total == 5
        found += [it.id for it in part.items]
        if (before := part.next) is None:
            break
    assert found == expected
    assert all(a.changed_at >= b.changed_at for a, b in pairwise((await chat.conversations.newest("ann")).items))


async def test_titles_are_searched_by_words(chat: Chat) -> None:
    for text in ("Shot list for the HARBOUR film", "Names for a paper boat", "A boat in the harbour 100%_"):
        await conversation(chat, text)
    for q, count in (("harbour", 2), ("boat harbour", 1), ("%", 1), ("_", 1), ("zebra", 0), ("", 3)):
        part = await chat.conversations.newest("ann", q=q)
        assert (q, len(part.items), part.total) == (q, count, count)
    for wrong in ("no place", "2026-13-01 x"):
        with pytest.raises(Invalid):
            await chat.conversations.newest("ann", before=wrong)


async def test_a_deleted_conversation_can_be_restored(chat: Chat, provider: ScriptedProvider) -> None:
    id = await conversation(chat, "First")
    provider.script = Steps()
    await chat.messages.send("ann", id, NewMessage(text="Second"))
    await chat.conversations.delete("ann", id)
    assert provider.open == 0, "the answer that was being written is stopped"
    for call in (
        chat.conversations.open("ann", id),
        chat.conversations.delete("ann", id),
        chat.messages.send("ann", id, NewMessage(text="x")),
    ):
        with pytest.raises(Missing):
            await call
    assert (await chat.conversations.newest("ann")).total == 0
    await chat.conversations.restore("ann", id)
    assert await shown(chat, id) == ["First", "One two three.", "Second", ""]
    with pytest.raises(Missing):
        await chat.conversations.restore("ann", id)


async def test_only_the_cost_remains_of_a_conversation_that_was_deleted_long_ago(
    chat: Chat, database: Database
) -> None:
    kept, old, recent = [await conversation(chat, text) for text in ("Kept", "Old", "Recent")]
    await chat.conversations.delete("ann", old)
    await chat.conversations.delete("ann", recent)
    long_ago = clock.now() - timedelta(minutes=11)
    await database.write(
        lambda tx: tx.execute("conversations", "update conversations set deleted_at = $1 where id = $2", long_ago, old)
    )
    await chat.conversations.sweep()
    with pytest.raises(Missing):
        await chat.conversations.restore("ann", old)
    rows = await database.read(
        lambda tx: tx.rows("messages", "select text, cost_nano from messages where conversation_id = $1", old)
    )
    assert [(it["text"], it["cost_nano"]) for it in rows] == [("", 1_500_000)]
    await chat.conversations.restore("ann", recent)
    assert await shown(chat, recent) == ["Recent", "One two three."]
    assert await shown(chat, kept) == ["Kept", "One two three."]


async def test_the_conversations_of_another_user_are_missing(chat: Chat) -> None:
    id = await conversation(chat, "Mine")
    question, answer = (it.message.id for it in (await chat.conversations.open("ann", id)).shown)
    other = await conversation(chat, "Theirs", owner="bob")
    for owner, missing in (("bob", id), ("ann", other), ("ann", "0" * 32)):
        for call in (
            chat.conversations.open(owner, missing),
            chat.messages.send(owner, missing, NewMessage(text="x")),
            chat.messages.edit(owner, missing, question, "x"),
            chat.messages.retry(owner, missing, answer),
            chat.conversations.show_branch(owner, missing, question),
            chat.conversations.save_settings(owner, missing, model=OTHER),
            chat.messages.stop(owner, missing),
            chat.conversations.rename(owner, missing, "x"),
            chat.conversations.delete(owner, missing),
            chat.conversations.restore(owner, missing),
            anext(chat.messages.watch(owner, missing, answer)),
        ):
            with pytest.raises(Missing):
                await call
    for call in (
        chat.messages.edit("bob", other, question, "x"),
        chat.messages.retry("bob", other, answer),
        chat.conversations.show_branch("bob", other, question),
        anext(chat.messages.watch("bob", other, answer)),
    ):
        with pytest.raises(Missing):
            await call
    assert await shown(chat, id) == ["Mine", "One two three."]


async def test_another_user_cannot_stop_an_answer(chat: Chat, provider: ScriptedProvider) -> None:
    provider.script = steps = Steps()
    answer = await started(chat)
    with pytest.raises(Missing):
        await chat.messages.stop("bob", answer.conversation_id or "")
    await steps.send("on")
    steps.end()
    assert (await ended(chat, answer)).text == "on"


async def test_only_messages_of_the_conversation_are_edited_and_only_answers_are_retried(chat: Chat) -> None:
    id = await conversation(chat, "First")
    question, answer = (it.message.id for it in (await chat.conversations.open("ann", id)).shown)
    elsewhere = await conversation(chat, "Second")
    with pytest.raises(Missing):
        await chat.messages.edit("ann", elsewhere, answer, "x")
    with pytest.raises(Missing):
        await chat.messages.retry("ann", id, question)
