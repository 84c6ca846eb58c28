"""Conversations of users: their list, their settings, which branch of their messages is shown, and their deletion."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from app.base import clock
from app.base.errors import Conflict, Missing
from app.base.ids import uuid7
from app.base.paging import Page
from app.base.text import shortened
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat import repository, validation
from app.chat.answers import Answers
from app.chat.schemas import ChatLimits, Conversation, Message, MessageRole, ShownMessage, Thread
from app.chat.streaming import StreamingAnswer
from app.chat.tree import Tree
from app.db.database import Database
from app.db.transaction import Transaction
from app.providers.contract import Kind

UNDO: Final = timedelta(minutes=10)


class Conversations:
    """What a user sees of conversations and changes in them, apart from their messages."""

    def __init__(self, database: Database, catalog: Catalog, answers: Answers, limits: ChatLimits) -> None:
        self._database = database
        self._catalog = catalog
        self._answers = answers
        self._limits = limits

    def models(self) -> Sequence[Model]:
        """The text models, by name."""
        return [model for model in self._catalog.search(output=Kind.TEXT.value) if model.output_modalities == ("text",)]

    def default_model(self, conversations: Sequence[Conversation]) -> str:
        """The model last used that is still available; empty when there is none."""
        available = {model.id for model in self.models()}
        return next((it.model for it in conversations if it.model in available), "")

    async def newest(
        self, owner: str, *, q: str = "", before: str | None = None, limit: int = 30
    ) -> Page[Conversation]:
        """Conversations whose title contains every word of `q`, last changed first; `before` is the key of the previous page."""
        return await self._database.read(_newest, owner, q.split()[:8], _parse_key(before), limit)

    async def find(self, owner: str, id: str) -> Conversation:
        conversation = await self._database.read(repository.find, owner, id)
        if conversation is None:
            raise _missing()
        return conversation

    async def open(self, owner: str, id: str, *, until: str | None = None) -> Thread:
        """The conversation with the last messages of its shown branch, or with those before `until`."""
        # Before the read, because one may end in the meantime.
        streaming = {live.message.id: live for live in self._answers.of_conversation(id)}
        thread = await self._database.read(_thread, owner, id, until, self._limits.page)
        if thread is None:
            raise _missing()
        return msgspec.structs.replace(thread, shown=[_with_progress(it, streaming) for it in thread.shown])

    async def show_branch(self, owner: str, id: str, message_id: str) -> None:
        """Show the newest branch through this message."""
        await self._database.write(_show_branch, owner, id, message_id)

    async def save_settings(
        self, owner: str, id: str, *, model: str | None = None, system_prompt: str | None = None
    ) -> Conversation:
        """Set the model and system prompt of the next answer; None keeps the current value."""
        conversation = await self.find(owner, id)
        if model is not None and model != conversation.model:
            model = self._catalog.choose(model.strip(), Kind.TEXT).id
        changed = msgspec.structs.replace(
            conversation,
            model=conversation.model if model is None else model,
            system_prompt=conversation.system_prompt
            if system_prompt is None
            else validation.system_prompt(system_prompt),
        )
        if changed != conversation:
            await self._database.write(repository.save_settings, owner, id, changed.model, changed.system_prompt)
        return changed

    async def rename(self, owner: str, id: str, title: str) -> None:
        if not await self._database.write(repository.rename, owner, id, validation.title(title)):
            raise _missing()

    async def delete(self, owner: str, id: str) -> Conversation:
        """Stop its answer and delete the conversation. It can be restored for `UNDO`, then its text is removed."""
        await self.find(owner, id)
        await self._answers.stop(id)
        deleted = await self._database.write(repository.mark_deleted, owner, id, clock.now())
        if deleted is None:
            raise _missing()
        return deleted

    async def restore(self, owner: str, id: str) -> Conversation:
        if not await self._database.write(repository.mark_restored, owner, id, clock.now() - UNDO):
            raise Missing("This conversation can no longer be restored.")
        return await self.find(owner, id)

    async def branch(self, owner: str, id: str) -> tuple[Conversation, list[Message]]:
        """The conversation with all messages of its shown branch, for an export."""
        found = await self._database.read(_whole_branch, owner, id)
        if found is None:
            raise _missing()
        return found

    async def fork(self, owner: str, id: str, message_id: str) -> Conversation:
        """A new conversation with copies of the messages up to this one. What they cost stays with the originals."""
        return await self._database.write(_fork, owner, id, message_id)

    async def sweep(self) -> None:
        """Remove conversations that can no longer be restored."""
        await self._database.write(repository.sweep_any, clock.now() - UNDO)


def _missing() -> Missing:
    return Missing("Conversation not found.")


def find_idle(tx: Transaction, owner: str, id: str) -> Conversation:
    """The conversation, in the caller's transaction; raises Conflict while an answer is streaming in it."""
    conversation = repository.find(tx, owner, id)
    if conversation is None:
        raise _missing()
    if repository.is_answering(tx, owner, id):
        raise Conflict("An answer is still being written in this conversation. Wait for it or stop it.")
    return conversation


def _with_progress(shown: ShownMessage, streaming: Mapping[str, StreamingAnswer]) -> ShownMessage:
    """The message with the text that is not saved yet."""
    live = streaming.get(shown.message.id)
    return msgspec.structs.replace(shown, message=live.now()) if live else shown


def _key(conversation: Conversation) -> str:
    """Where a page of the list ends."""
    return f"{conversation.changed_at.isoformat()} {conversation.id}"


def _parse_key(key: str | None) -> tuple[datetime, str] | None:
    """The sort key in the `next` of the previous page."""
    if key is None:
        return None
    moment, _, id = key.partition(" ")
    try:
        return datetime.fromisoformat(moment).replace(tzinfo=None), id
    except ValueError:
        raise validation.wrong("cursor", "is not a valid cursor") from None


# Transaction functions


def _newest(
    tx: Transaction, owner: str, words: Sequence[str], before: tuple[datetime, str] | None, limit: int
) -> Page[Conversation]:
    found = repository.newest(tx, owner, words=words, before=before, limit=limit + 1)
    return Page.of(found, repository.count(tx, owner, words=words), limit, key=_key)


def _thread(tx: Transaction, owner: str, id: str, until: str | None, max_items: int) -> Thread | None:
    conversation = repository.find(tx, owner, id)
    if conversation is None:
        return None
    tree = Tree(repository.tree(tx, owner, id))
    branch = [node.id for node in tree.branch(conversation.leaf_id)]
    if until in branch:
        branch = branch[: branch.index(until)]
    part = branch[-max_items:]
    shown = []
    for message in repository.messages(tx, owner, part):
        siblings = tree.siblings(message.id)
        index = siblings.index(message.id)
        shown.append(
            ShownMessage(
                message=message,
                number=index + 1,
                count=len(siblings),
                before=siblings[index - 1] if index else None,
                after=siblings[index + 1] if index + 1 < len(siblings) else None,
            )
        )
    return Thread(conversation=conversation, shown=shown, earlier=part[0] if len(branch) > len(part) else None)


def _whole_branch(tx: Transaction, owner: str, id: str) -> tuple[Conversation, list[Message]] | None:
    conversation = repository.find(tx, owner, id)
    if conversation is None:
        return None
    branch = Tree(repository.tree(tx, owner, id)).branch(conversation.leaf_id)
    return conversation, repository.messages(tx, owner, [node.id for node in branch])


def _fork(tx: Transaction, owner: str, id: str, message_id: str) -> Conversation:
    old = find_idle(tx, owner, id)
    branch = Tree(repository.tree(tx, owner, id)).branch(message_id)
    if not branch:
        raise Missing("Message not found.")
    now, new_id, parent_id = clock.now(), uuid7(), None
    for message in repository.messages(tx, owner, [node.id for node in branch]):
        copy_of = message.id if message.role is MessageRole.ASSISTANT else None
        copy = msgspec.structs.replace(
            message, id=uuid7(), conversation_id=new_id, parent_id=parent_id, copy_of=copy_of
        )
        repository.add(tx, owner, copy)
        repository.add_images(tx, owner, copy)
        parent_id = copy.id
    title = shortened(f"{old.title} (fork)", validation.MAX_TITLE)
    new = msgspec.structs.replace(old, id=new_id, title=title, leaf_id=parent_id or "", created_at=now, changed_at=now)
    repository.add_conversation(tx, owner, new)
    return new


def _show_branch(tx: Transaction, owner: str, id: str, message_id: str) -> None:
    find_idle(tx, owner, id)
    tree = Tree(repository.tree(tx, owner, id))
    if tree.find(message_id) is None:
        raise Missing("Message not found.")
    repository.show(tx, owner, id, tree.leaf(message_id))
