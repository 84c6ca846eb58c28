"""Messages of conversations and the answers to them: send, edit, retry, stop, and watch an answer being written.

An answer belongs to no connection (see `answers`): pages only read it, so leaving, reloading or losing the connection
does not affect it.
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from app.base import clock
from app.base.errors import Conflict, Missing
from app.base.ids import uuid7
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat import repository, validation
from app.chat.answers import Answers, NewAnswer, StoreTurn, empty_answer
from app.chat.conversations import Conversations, find_idle
from app.chat.images import MessageImages, turn_with
from app.chat.schemas import (
    ChatLimits,
    ChatRequest,
    Conversation,
    Message,
    MessageNode,
    MessageRole,
    MessageStatus,
    NewMessage,
    ShownMessage,
)
from app.chat.tree import Tree, fitting
from app.db.database import Database
from app.db.transaction import Transaction
from app.idempotency.schemas import IdempotencyKey
from app.providers.contract import Kind, Turn

_EDITED: Final = " (edited)"
_SHOWN_LEAF: Final = ""  # means: below the last message of the shown branch


class Messages:
    """A message and the answer to it are one turn. `start`, `send`, `edit` and `retry` return the streaming answer; a repeated
    request returns the answer of the first one."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        conversations: Conversations,
        answers: Answers,
        images: MessageImages,
        limits: ChatLimits,
    ) -> None:
        self._images = images
        self._database = database
        self._catalog = catalog
        self._conversations = conversations
        self._answers = answers
        self._limits = limits

    async def start(self, owner: str, new_message: NewMessage, key: IdempotencyKey | None = None) -> Message:
        """Start a conversation with this message."""
        async with self._answers.first_answer(owner, key) as earlier:
            if earlier:
                return earlier.message
            images = await _images_of(new_message)  # first, so that they are kept when something is wrong with the rest
            text = validation.message_text(new_message.text)
            model = self._catalog.choose((new_message.model or "").strip(), Kind.TEXT)
            images = await self._images.check(owner, images, model)
            now, id = clock.now(), uuid7()
            user_message = _user_message(owner, id, text, images, now)
            answer = empty_answer(owner, model, now, conversation_id=id, parent_id=user_message.id)
            conversation = Conversation(
                id=id,
                owner_id=owner,
                title=validation.title_of(text),
                model=model.id,
                system_prompt=validation.system_prompt(new_message.system_prompt or ""),
                leaf_id=answer.id,
                created_at=now,
                changed_at=now,
            )

            def store(tx: Transaction) -> tuple[Turn, ...]:
                repository.add_conversation(tx, owner, conversation)
                _add_user_message(tx, user_message)
                repository.add(tx, owner, answer)
                return (*_system_turn(conversation), _turn(user_message))

            return await self._begin(answer, model, store, key)

    async def send(self, owner: str, id: str, new_message: NewMessage, key: IdempotencyKey | None = None) -> Message:
        """Add a message at the end of the shown branch."""
        async with self._answers.first_answer(owner, key) as earlier:
            if earlier:
                return earlier.message
            images = await _images_of(new_message)
            text = validation.message_text(new_message.text)
            conversation = await self._conversations.save_settings(
                owner, id, model=new_message.model, system_prompt=new_message.system_prompt
            )
            return await self._add_turn(conversation, text, images, _SHOWN_LEAF, key)

    async def edit(self, owner: str, id: str, message_id: str, text: str, key: IdempotencyKey | None = None) -> Message:
        """Add another version of a user message, as a new branch with its own answer, or of an answer."""
        async with self._answers.first_answer(owner, key) as earlier:
            if earlier:
                return earlier.message
            text = validation.message_text(text)
            conversation = await self._conversations.find(owner, id)
            old = await self._find(conversation, message_id)
            if old.role is MessageRole.ASSISTANT:
                return await self._database.write(self._store_edited, old, text, key)
            return await self._add_turn(conversation, text, old.images, old.parent_id, key)

    async def retry(self, owner: str, id: str, message_id: str, key: IdempotencyKey | None = None) -> Message:
        """Add another version of an answer, by the model that is selected now."""
        async with self._answers.first_answer(owner, key) as earlier:
            if earlier:
                return earlier.message
            conversation = await self._conversations.find(owner, id)
            old = await self._find(conversation, message_id, MessageRole.ASSISTANT)
            return await self._add_turn(conversation, None, (), old.parent_id, key)

    async def stop(self, owner: str, id: str) -> None:
        """Stop the streaming answer of this conversation, if any; the text so far is kept."""
        await self._conversations.find(owner, id)
        await self._answers.stop(id)

    async def watch(self, owner: str, id: str, message_id: str) -> AsyncGenerator[ShownMessage | None, None]:
        """Yields a message of the shown branch now, after each update, and at its end; None as a keep-alive. A slow reader
        skips intermediate states."""
        live = self._answers.find(message_id)  # before the read: it may end in the meantime
        thread = await self._conversations.open(owner, id)
        shown = next((it for it in thread.shown if it.message.id == message_id), None)
        if shown is None:
            message = await self._find(thread.conversation, message_id, MessageRole.ASSISTANT)
            shown = ShownMessage(message=message)
        if live is None:
            yield shown
            return
        seen = -1
        while not live.ended.is_set():
            if await live.wait_for_update(seen, self._limits.silence):
                seen = len(live.pieces)
                yield msgspec.structs.replace(shown, message=live.now())
            else:
                yield None
        yield msgspec.structs.replace(shown, message=live.message)

    async def _find(self, conversation: Conversation, id: str, role: MessageRole | None = None) -> Message:
        """A message of this conversation, with this role if one is given; raises Missing."""
        found = await self._database.read(repository.messages, conversation.owner_id, [id])
        if not found or found[0].conversation_id != conversation.id or role not in (None, found[0].role):
            raise Missing("Message not found.")
        return found[0]

    async def _add_turn(
        self,
        conversation: Conversation,
        text: str | None,
        images: Sequence[str],
        parent_id: str | None,
        key: IdempotencyKey | None,
    ) -> Message:
        """Add a turn below the message `parent_id`: the user message, unless `text` is None, and its answer."""
        owner, id, now = conversation.owner_id, conversation.id, clock.now()
        model = self._catalog.choose(conversation.model, Kind.TEXT)
        images = await self._images.check(owner, images, model)
        user_message = None if text is None else _user_message(owner, id, text, images, now, parent_id)
        answer = empty_answer(
            owner, model, now, conversation_id=id, parent_id=user_message.id if user_message else parent_id
        )

        def store(tx: Transaction) -> tuple[Turn, ...]:
            return _store_turn(tx, user_message, answer, model, self._limits.messages)

        return await self._begin(answer, model, store, key)

    def _store_edited(self, tx: Transaction, old: Message, text: str, key: IdempotencyKey | None) -> Message:
        """Another version of an answer, which becomes the end of the shown branch."""
        owner, id, now = old.owner_id, old.conversation_id or "", clock.now()
        find_idle(tx, owner, id)
        _check_length(repository.tree(tx, owner, id), 1, self._limits.messages)
        edited = msgspec.structs.replace(
            old,
            id=uuid7(),
            copy_of=old.id,
            model_name=f"{(old.model_name or 'Answer').removesuffix(_EDITED)}{_EDITED}",
            text=text,
            status=MessageStatus.COMPLETE,
            usage=None,
            cost_nano=None,
            finish_reason=None,
            error=None,
            created_at=now,
            ended_at=now,
        )
        self._answers.add_edited(tx, edited, key)
        repository.append(tx, owner, id, edited.id, now)
        return edited

    async def _begin(self, answer: Message, model: Model, store: StoreTurn, key: IdempotencyKey | None) -> Message:
        request = ChatRequest(model=model)
        load = partial(self._images.loaded, answer.owner_id)
        new = NewAnswer(message=answer, request=request, store_turn=store, load_images=load, key=key)
        live, _ = await self._answers.begin(new)
        return live.message


async def _images_of(new_message: NewMessage) -> Sequence[str]:
    return new_message.images if new_message.upload is None else await new_message.upload()


def _user_message(
    owner: str,
    conversation_id: str,
    text: str,
    images: tuple[str, ...],
    now: datetime,
    parent_id: str | None = None,
) -> Message:
    return Message(
        id=uuid7(),
        conversation_id=conversation_id,
        owner_id=owner,
        parent_id=parent_id,
        role=MessageRole.USER,
        text=text,
        images=images,
        created_at=now,
        ended_at=now,
    )


def _add_user_message(tx: Transaction, message: Message) -> None:
    repository.add(tx, message.owner_id, message)
    repository.add_images(tx, message.owner_id, message)


def _store_turn(
    tx: Transaction, user_message: Message | None, answer: Message, model: Model, max_messages: int
) -> tuple[Turn, ...]:
    """Store a new turn; returns the messages for the model: the system prompt and as much of the branch as fits."""
    owner, id = answer.owner_id, answer.conversation_id or ""
    conversation = find_idle(tx, owner, id)
    nodes = repository.tree(tx, owner, id)
    _check_length(nodes, 2, max_messages)
    if user_message is not None:
        if user_message.parent_id == _SHOWN_LEAF:
            user_message = msgspec.structs.replace(user_message, parent_id=conversation.leaf_id)
        _add_user_message(tx, user_message)
        nodes.append(MessageNode(user_message.id, user_message.parent_id, user_message.role, len(user_message.text)))
    repository.add(tx, owner, answer)
    repository.append(tx, owner, id, answer.id, answer.created_at)
    branch = Tree(nodes).branch(answer.parent_id or "")
    found = repository.messages(tx, owner, fitting(branch, conversation.system_prompt, model.context_length))
    return (*_system_turn(conversation), *map(_turn, found))


def _check_length(nodes: Sequence[MessageNode], more: int, max_messages: int) -> None:
    if len(nodes) + more > max_messages:
        raise Conflict(f"A conversation can have at most {max_messages:,} messages. Start a new one.")


def _system_turn(conversation: Conversation) -> tuple[Turn, ...]:
    return (Turn("system", conversation.system_prompt),) if conversation.system_prompt else ()


def _turn(message: Message) -> Turn:
    return turn_with(message.role.value, message.text, message.images)
