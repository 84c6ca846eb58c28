"""Chat service: conversations of users, and chat requests of API clients.

An answer belongs to no connection (see `answers`): pages only read it, so leaving, reloading or losing the connection
does not affect it.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.base.errors import Conflict, Invalid, Missing, Upstream
from app.base.ids import uuid7
from app.base.once import Once
from app.base.paging import Page
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat import repository, validation
from app.chat.answers import Answers, Record
from app.chat.answers import StreamingAnswer as StreamingAnswer
from app.chat.schemas import (
    DEFAULT_LIMITS,
    ChatLimits,
    ChatRequest,
    Conversation,
    Message,
    MessageNode,
    MessageRole,
    MessageStatus,
    NewMessage,
    ShownMessage,
    Thread,
)
from app.chat.tree import Tree, fitting
from app.db.database import Database, Transaction
from app.jobs.service import Jobs
from app.ledger.service import Ledger
from app.providers.contract import ErrorCode, Kind, Provider, Turn

T = TypeVar("T")

UNDO: Final = timedelta(minutes=10)


class Chat:
    """Conversations and chat requests."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        catalog: Catalog,
        jobs: Jobs,
        providers: Mapping[str, Provider],
        limits: ChatLimits = DEFAULT_LIMITS,
    ) -> None:
        self._database = database
        self._limits = limits
        self._catalog = catalog
        self._jobs = jobs  # keeps the idempotency keys
        self._answers = Answers(database, ledger, providers, limits)

    # For pages

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

    async def open(self, owner: str, id: str, *, until: str | None = None) -> Thread:
        """The conversation with the last messages of its shown branch, or with those before `until`."""
        streaming = {
            live.message.id: live for live in self._answers.of(id)
        }  # before the read: one may end in the meantime
        thread = await self._database.read(_thread, owner, id, until, self._limits.page)
        if thread is None:
            raise _missing()
        return msgspec.structs.replace(thread, shown=[_with_progress(it, streaming) for it in thread.shown])

    async def start(self, owner: str, new_message: NewMessage, once: Once | None = None) -> Message:
        """Start a conversation; returns its streaming answer. A repeated request returns the answer of the first one."""
        text, model = (
            validation.message_text(new_message.text),
            self._catalog.choose((new_message.model or "").strip(), Kind.TEXT),
        )
        now, id = clock.now(), uuid7()
        user_message = _user_message(owner, id, text, now)
        answer = _answer(owner, model, now, conversation_id=id, parent_id=user_message.id)
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
        live, _ = await self._begin(
            answer, model, lambda tx: _start(tx, owner, conversation, user_message, answer), once
        )
        return live.message

    async def say(self, owner: str, id: str, new_message: NewMessage, once: Once | None = None) -> Message:
        """Add a message at the end of the shown branch; returns the streaming answer. A repeated request returns the answer
        of the first one, here and in `edit` and `retry`."""
        text = validation.message_text(new_message.text)
        conversation = await self.choose(owner, id, model=new_message.model, system_prompt=new_message.system_prompt)
        return await self._add_turn(conversation, text, _SHOWN_LEAF, once)

    async def edit(self, owner: str, id: str, message_id: str, text: str, once: Once | None = None) -> Message:
        """Add another version of a user message, as a new branch; returns the streaming answer."""
        text = validation.message_text(text)
        conversation = await self._find(owner, id)
        old = await self._message(conversation, message_id, MessageRole.USER)
        return await self._add_turn(conversation, text, old.parent_id, once)

    async def retry(self, owner: str, id: str, message_id: str, once: Once | None = None) -> Message:
        """Add another version of an answer, by the model that is selected now."""
        conversation = await self._find(owner, id)
        old = await self._message(conversation, message_id, MessageRole.ASSISTANT)
        return await self._add_turn(conversation, None, old.parent_id, once)

    async def switch(self, owner: str, id: str, message_id: str) -> None:
        """Show the newest branch through this message."""
        await self._database.write(_switch, owner, id, message_id)

    async def choose(
        self, owner: str, id: str, *, model: str | None = None, system_prompt: str | None = None
    ) -> Conversation:
        """Set the model and system prompt of the next answer; None keeps the current value."""
        conversation = await self._find(owner, id)
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
            await self._database.write(repository.choose, owner, id, changed.model, changed.system_prompt)
        return changed

    async def stop(self, owner: str, id: str) -> None:
        """Stop the streaming answer of this conversation, if any; the text so far is kept."""
        await self._find(owner, id)
        for live in self._answers.of(id):
            live.cancel_upstream()
            await live.ended.wait()

    async def rename(self, owner: str, id: str, title: str) -> None:
        if not await self._database.write(repository.rename, owner, id, validation.title(title)):
            raise _missing()

    async def delete(self, owner: str, id: str) -> Conversation:
        """Delete a conversation. It can be restored for `UNDO`, then its text is removed."""
        await self.stop(owner, id)
        deleted = await self._database.write(repository.mark_deleted, owner, id, clock.now())
        if deleted is None:
            raise _missing()
        return deleted

    async def restore(self, owner: str, id: str) -> Conversation:
        if not await self._database.write(repository.mark_restored, owner, id, clock.now() - UNDO):
            raise Missing("This conversation can no longer be restored.")
        return await self._find(owner, id)

    async def watch(self, owner: str, id: str, message_id: str) -> AsyncGenerator[ShownMessage | None, None]:
        """Yields a message of the shown branch now, after each update, and at its end; None as a keep-alive. A slow reader
        skips intermediate states."""
        live = self._answers.find(message_id)  # before the read: it may end in the meantime
        thread = await self.open(owner, id)
        shown = next((it for it in thread.shown if it.message.id == message_id), None)
        if shown is None:
            message = await self._message(thread.conversation, message_id, MessageRole.ASSISTANT)
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

    # For the API

    def check(self, body: Mapping[str, Any]) -> ChatRequest:
        """Validate the body of a chat request; raises Invalid with the fields."""
        model_id = body.get("model")
        if not isinstance(model_id, str | None):
            raise validation.wrong("model", "must be a string")
        messages = body.get("messages")
        validation.turns(messages)  # errors in the messages are reported before errors in the model
        model = self._catalog.choose((model_id or "").strip(), Kind.TEXT)
        params = {name: value for name, value in body.items() if name not in _OWN and value is not None}
        return self.build_request(model, messages, self._catalog.check(model, params))

    def build_request(
        self,
        model: Model,
        messages: object,
        params: dict[str, Any],
        *,
        raw: bool = False,
        whole: bool = False,
    ) -> ChatRequest:
        """A chat request with parameters that are already validated; raises Invalid for its messages."""
        turns = validation.turns(messages, raw=raw)
        if any(map(validation.images_of, turns)) and not model.accepts_image:
            raise validation.wrong("messages", f"contain an image, but {model.name} does not accept images")
        return ChatRequest(model=model, turns=turns, params=params, raw=raw, whole=whole)

    async def answer(
        self, owner: str, ask: ChatRequest, once: Once | None = None, *, limits: KeyLimits | None = None
    ) -> Message:
        """The complete answer. Raises Invalid when the provider refused, Upstream when it failed. Cancelling the wait stops
        the answer, unless it was started by an earlier request with the same key."""
        return (await self.complete(owner, ask, once, limits=limits)).message

    async def complete(
        self, owner: str, ask: ChatRequest, once: Once | None = None, *, limits: KeyLimits | None = None
    ) -> StreamingAnswer:
        """The same, as a StreamingAnswer with its metrics."""
        live, own = await self._ask(owner, ask, limits, once)
        try:
            await live.ended.wait()
        finally:
            if own:
                live.cancel_upstream()
        require_complete(live.message)
        return live

    async def stream(
        self, owner: str, ask: ChatRequest, *, limits: KeyLimits | None = None
    ) -> AsyncGenerator[str | Message, None]:
        """Yields the answer in pieces, then the complete message. Closing the iterator stops the answer; errors as in
        `answer`."""
        live, _ = await self._ask(owner, ask, limits)
        async with aclosing(_updates(live, live.pieces, self._limits.silence)) as parts:
            async for pieces in parts:
                for piece in pieces or [""]:
                    yield piece
        yield require_complete(live.message)

    async def stream_raw(
        self, owner: str, ask: ChatRequest, *, limits: KeyLimits | None = None
    ) -> tuple[StreamingAnswer, AsyncGenerator[Sequence[dict[str, Any]], None]]:
        """Start a `raw` answer: returns it with an iterator over its new choices, empty as a keep-alive. Closing the iterator
        stops the answer."""
        live, _ = await self._ask(owner, ask, limits)
        return live, _updates(live, live.choices, self._limits.silence, raw=True)

    # For background tasks and the application lifecycle

    def streaming_answers(self, owner: str) -> list[StreamingAnswer]:
        """The user's streaming answers, including those to API requests."""
        return [live for live in self._answers.all() if live.message.owner_id == owner]

    async def rescue(self) -> None:
        """At startup: fail the answers that a stop or crash interrupted; their saved text is kept."""
        await self._answers.rescue()

    async def flush(self) -> None:
        """Save the progress of the streaming answers."""
        await self._answers.flush()

    async def sweep(self) -> None:
        """Remove conversations that can no longer be restored."""
        await self._database.write(repository.sweep_any, clock.now() - UNDO)

    async def close(self) -> None:
        """At shutdown: end every answer and keep its text so far, so that no reader is left waiting."""
        await self._answers.close()

    def forget_user(self, tx: Transaction, owner: str) -> None:
        """Runs in the transaction that deletes a user; their streaming answers are stopped after the commit."""
        repository.forget(tx, owner)
        tx.on_commit(self._answers.abandon, owner)

    async def _find(self, owner: str, id: str) -> Conversation:
        conversation = await self._database.read(repository.find, owner, id)
        if conversation is None:
            raise _missing()
        return conversation

    async def _message(self, conversation: Conversation, id: str, role: MessageRole) -> Message:
        """A message of this conversation with this role; raises Missing."""
        found = await self._database.read(repository.messages, conversation.owner_id, [id])
        if not found or found[0].conversation_id != conversation.id or found[0].role is not role:
            raise Missing("Message not found.")
        return found[0]

    async def _add_turn(
        self, conversation: Conversation, text: str | None, parent_id: str | None, once: Once | None
    ) -> Message:
        """Add a turn below the message `parent_id`: the user message, unless `text` is None, and its answer."""
        owner, id, now = conversation.owner_id, conversation.id, clock.now()
        model = self._catalog.choose(conversation.model, Kind.TEXT)
        user_message = None if text is None else _user_message(owner, id, text, now)
        answer = _answer(
            owner, model, now, conversation_id=id, parent_id=user_message.id if user_message else parent_id
        )
        live, _ = await self._begin(
            answer,
            model,
            lambda tx: _continue(tx, owner, id, user_message, answer, model, parent_id, self._limits.messages),
            once,
        )
        return live.message

    async def _ask(
        self, owner: str, ask: ChatRequest, limits: KeyLimits | None, once: Once | None = None
    ) -> tuple[StreamingAnswer, bool]:
        answer = _answer(owner, ask.model, clock.now())
        return await self._begin(answer, ask.model, lambda _: ask.turns, once, ask, limits)

    async def _begin(
        self,
        answer: Message,
        model: Model,
        record: Record,
        once: Once | None,
        ask: ChatRequest | None = None,
        limits: KeyLimits | None = None,
    ) -> tuple[StreamingAnswer, bool]:
        """The answer, and whether this call started it; False when an earlier request with the same key did."""

        def recorded(tx: Transaction) -> tuple[Turn, ...]:
            if once and (first := self._jobs.claim_key(tx, answer.owner_id, once, answer.id, answer.created_at)):
                raise _Repeated(first)
            return record(tx)

        params, raw, whole = (ask.params, ask.raw, ask.whole) if ask else ({}, False, False)
        try:
            live = await self._answers.begin(
                answer,
                model,
                recorded,
                params,
                raw=raw,
                whole=whole,
                limits=limits,
                blind=ask is not None and once is None,
            )
            return live, True
        except _Repeated as repeated:
            return await self._existing_answer(answer.owner_id, repeated.id), False

    async def _existing_answer(self, owner: str, id: str) -> StreamingAnswer:
        """The answer of an earlier request with the same key."""
        if live := self._answers.find(id):
            return live
        found = await self._database.read(repository.messages, owner, [id])
        if not found:
            raise Missing("The result of this Idempotency-Key was deleted.")
        live = StreamingAnswer(found[0])
        live.end(found[0])
        return live


class _Repeated(Exception):
    """An earlier request with the same idempotency key started the answer `id`."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id


_SHOWN_LEAF: Final = ""  # means: below the last message of the shown branch
_OWN: Final = ("model", "messages", "stream")


def _with_progress(shown: ShownMessage, streaming: Mapping[str, StreamingAnswer]) -> ShownMessage:
    """The message with the text that is not saved yet."""
    live = streaming.get(shown.message.id)
    return msgspec.structs.replace(shown, message=live.now()) if live else shown


async def _updates(
    live: StreamingAnswer, items: Sequence[T], silence: float, *, raw: bool = False
) -> AsyncGenerator[Sequence[T], None]:
    """Yields the new items of an answer until it ends, an empty list as a keep-alive. Closing the iterator stops the
    answer."""
    seen = 0
    try:
        while seen < len(items) or not live.ended.is_set():
            if more := items[seen:]:
                seen += len(more)
                yield more
            elif not await live.wait_for_update(seen, silence, raw=raw):
                yield []
    finally:
        live.cancel_upstream()


def require_complete(message: Message) -> Message:
    """The message when it is complete; raises Invalid or Upstream when it is not."""
    if message.status is MessageStatus.COMPLETE:
        return message
    error = message.error
    if error is None:
        raise Upstream("The answer was stopped.", details={"id": message.id})
    details = {"id": message.id, "code": error.code.value}
    if error.code is ErrorCode.PROVIDER_REFUSED:
        raise Invalid(error.message, details=details)
    raise Upstream(error.message, details=details)


def _missing() -> Missing:
    return Missing("Conversation not found.")


def _user_message(owner: str, conversation_id: str, text: str, now: datetime) -> Message:
    return Message(
        id=uuid7(),
        conversation_id=conversation_id,
        owner_id=owner,
        role=MessageRole.USER,
        text=text,
        created_at=now,
        ended_at=now,
    )


def _answer(
    owner: str, model: Model, now: datetime, *, conversation_id: str | None = None, parent_id: str | None = None
) -> Message:
    """A new, empty answer."""
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
    tx: Transaction, owner: str, q: Sequence[str], before: tuple[datetime, str] | None, limit: int
) -> Page[Conversation]:
    found = repository.newest(tx, owner, words=q, before=before, limit=limit + 1)
    items, last = found[:limit], found[:limit][-1:]
    key = f"{last[0].changed_at.isoformat()} {last[0].id}" if len(found) > limit else None
    return Page(items, repository.count(tx, owner, words=q), key)


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


def _start(
    tx: Transaction, owner: str, conversation: Conversation, user_message: Message, answer: Message
) -> tuple[Turn, ...]:
    repository.add_conversation(tx, owner, conversation)
    repository.add(tx, owner, user_message)
    repository.add(tx, owner, answer)
    return (*_system_turn(conversation), Turn(user_message.role.value, user_message.text))


def _continue(
    tx: Transaction,
    owner: str,
    id: str,
    user_message: Message | None,
    answer: Message,
    model: Model,
    parent_id: str | None,
    max_items: int,
) -> tuple[Turn, ...]:
    """Store a new turn; returns the messages for the model: the system prompt and as much of the branch as fits."""
    conversation = _idle_conversation(tx, owner, id)
    nodes = repository.tree(tx, owner, id)
    if len(nodes) + 2 > max_items:
        raise Conflict(f"A conversation can have at most {max_items:,} messages. Start a new one.")
    if user_message is not None:
        parent = conversation.leaf_id if parent_id == _SHOWN_LEAF else parent_id
        repository.add(tx, owner, msgspec.structs.replace(user_message, parent_id=parent))
        nodes.append(MessageNode(user_message.id, parent, user_message.role, len(user_message.text)))
    repository.add(tx, owner, answer)
    repository.append(tx, owner, id, answer.id, answer.created_at)
    branch = Tree(nodes).branch(answer.parent_id or "")
    found = repository.messages(tx, owner, fitting(branch, conversation.system_prompt, model.context_length))
    return (*_system_turn(conversation), *(Turn(message.role.value, message.text) for message in found))


def _system_turn(conversation: Conversation) -> tuple[Turn, ...]:
    return (Turn("system", conversation.system_prompt),) if conversation.system_prompt else ()


def _switch(tx: Transaction, owner: str, id: str, message_id: str) -> None:
    _idle_conversation(tx, owner, id)
    tree = Tree(repository.tree(tx, owner, id))
    if tree.find(message_id) is None:
        raise Missing("Message not found.")
    repository.show(tx, owner, id, tree.leaf(message_id))


def _idle_conversation(tx: Transaction, owner: str, id: str) -> Conversation:
    """The conversation; raises Conflict while an answer is streaming in it."""
    conversation = repository.find(tx, owner, id)
    if conversation is None:
        raise _missing()
    if repository.is_answering(tx, owner, id):
        raise Conflict("An answer is still being written in this conversation. Wait for it or stop it.")
    return conversation
