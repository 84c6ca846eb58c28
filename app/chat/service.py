"""The rules of conversations: what may be said and by whom it is answered.

An answer belongs to no connection (see `answers`): people and programs only read along, so leaving, reloading or a lost
line changes nothing.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.base.errors import Conflict, Invalid, Missing, Upstream
from app.base.once import Once
from app.base.paging import Page
from app.base.secret import uuid7
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat import repository, validation
from app.chat.answers import Answers, Record
from app.chat.answers import StreamingAnswer as StreamingAnswer
from app.chat.schemas import (
    USUAL,
    ChatLimits,
    ChatRequest,
    Conversation,
    Message,
    MessageNode,
    NewMessage,
    Role,
    Shown,
    Status,
    Thread,
)
from app.chat.tree import Tree, fitting
from app.db.database import Database, Transaction
from app.jobs.service import Jobs
from app.ledger.service import Ledger
from app.providers.contract import ErrorCode, Kind, Provider
from app.providers.contract import Message as Turn

T = TypeVar("T")

UNDO: Final = timedelta(minutes=10)


class Chat:
    """Everything that is said to models turn by turn."""

    def __init__(
        self,
        database: Database,
        quota: Ledger,
        catalog: Catalog,
        jobs: Jobs,
        providers: Mapping[str, Provider],
        limits: ChatLimits = USUAL,
    ) -> None:
        self._database = database
        self._limits = limits
        self._catalog = catalog
        self._jobs = jobs  # which knows what was asked before
        self._answers = Answers(database, quota, providers, limits)

    # What people ask for

    def models(self) -> Sequence[Model]:
        """The models that a conversation can be had with, by name."""
        return [model for model in self._catalog.search(output=Kind.TEXT.value) if model.output_modalities == ("text",)]

    def usual(self, conversations: Sequence[Conversation]) -> str:
        """The model to begin with: the one that was used last, if it is still on offer, or nothing."""
        offered = {model.id for model in self.models()}
        return next((it.model for it in conversations if it.model in offered), "")

    async def newest(
        self, owner: str, *, q: str = "", before: str | None = None, limit: int = 30
    ) -> Page[Conversation]:
        """Last used first, those with every word of `q` in their title; `before` is the key of the part before."""
        return await self._database.read(_newest, owner, q.split()[:8], _place(before), limit)

    async def open(self, owner: str, id: str, *, until: str | None = None) -> Thread:
        """The conversation with the last messages of its shown branch, or those that come before `until`."""
        growing = {live.message.id: live for live in self._answers.of(id)}  # asked first: one may end meanwhile
        thread = await self._database.read(_thread, owner, id, until, self._limits.page)
        if thread is None:
            raise _missing()
        return msgspec.structs.replace(thread, shown=[_fresh(it, growing) for it in thread.shown])

    async def start(self, owner: str, saying: NewMessage, once: Once | None = None) -> Message:
        """Begin a conversation; returns the answer that is being written, of the conversation that the same request began
        before if there is one."""
        text, model = validation.said(saying.text), self._catalog.choose((saying.model or "").strip(), Kind.TEXT)
        now, id = clock.now(), uuid7()
        said = _said(owner, id, text, now)
        answer = _answer(owner, model, now, conversation_id=id, parent_id=said.id)
        conversation = Conversation(
            id=id,
            owner_id=owner,
            title=validation.title_of(text),
            model=model.id,
            system_prompt=validation.instruction(saying.system_prompt or ""),
            leaf_id=answer.id,
            created_at=now,
            changed_at=now,
        )
        live, _ = await self._begin(answer, model, lambda tx: _start(tx, owner, conversation, said, answer), once)
        return live.message

    async def say(self, owner: str, id: str, saying: NewMessage, once: Once | None = None) -> Message:
        """Say something at the end of the shown branch; returns the answer that is being written, or the one that the same
        request asked for before, as `edit` and `retry` do too."""
        text = validation.said(saying.text)
        conversation = await self.choose(owner, id, model=saying.model, system_prompt=saying.system_prompt)
        return await self._go_on(conversation, text, _AT_THE_END, once)

    async def edit(self, owner: str, id: str, message_id: str, text: str, once: Once | None = None) -> Message:
        """Say something else instead: a branch of its own beside the old one."""
        text = validation.said(text)
        conversation = await self._find(owner, id)
        old = await self._message(conversation, message_id, Role.USER)
        return await self._go_on(conversation, text, old.parent_id, once)

    async def retry(self, owner: str, id: str, message_id: str, once: Once | None = None) -> Message:
        """Another answer beside this one, by the model that is chosen now."""
        conversation = await self._find(owner, id)
        old = await self._message(conversation, message_id, Role.ASSISTANT)
        return await self._go_on(conversation, None, old.parent_id, once)

    async def switch(self, owner: str, id: str, message_id: str) -> None:
        """Show the branch that goes through this message, to its newest end."""
        await self._database.write(_switch, owner, id, message_id)

    async def choose(
        self, owner: str, id: str, *, model: str | None = None, system_prompt: str | None = None
    ) -> Conversation:
        """Set what the next answer is asked with; None leaves it as it is."""
        conversation = await self._find(owner, id)
        if model is not None and model != conversation.model:
            model = self._catalog.choose(model.strip(), Kind.TEXT).id
        changed = msgspec.structs.replace(
            conversation,
            model=conversation.model if model is None else model,
            system_prompt=conversation.system_prompt
            if system_prompt is None
            else validation.instruction(system_prompt),
        )
        if changed != conversation:
            await self._database.write(repository.choose, owner, id, changed.model, changed.system_prompt)
        return changed

    async def stop(self, owner: str, id: str) -> None:
        """Stop the answer that is being written in this conversation, if there is one; what has come is kept."""
        await self._find(owner, id)
        for live in self._answers.of(id):
            live.cancel_upstream()
            await live.ended.wait()

    async def rename(self, owner: str, id: str, title: str) -> None:
        if not await self._database.write(repository.rename, owner, id, validation.title(title)):
            raise _missing()

    async def delete(self, owner: str, id: str) -> Conversation:
        """Hide a conversation; `restore` brings it back for a while, then it is swept."""
        await self.stop(owner, id)
        deleted = await self._database.write(repository.mark_deleted, owner, id, clock.now())
        if deleted is None:
            raise _missing()
        return deleted

    async def restore(self, owner: str, id: str) -> Conversation:
        if not await self._database.write(repository.mark_restored, owner, id, clock.now() - UNDO):
            raise Missing("There is no such conversation to bring back.")
        return await self._find(owner, id)

    async def watch(self, owner: str, id: str, message_id: str) -> AsyncGenerator[Shown | None, None]:
        """A message of the shown branch as it stands, again whenever it has grown, and as it ended; None as a sign of
        life when nothing comes. Whoever takes long gets only the newest state."""
        live = self._answers.find(message_id)  # asked first: it may end meanwhile
        thread = await self.open(owner, id)
        shown = next((it for it in thread.shown if it.message.id == message_id), None)
        if shown is None:
            message = await self._message(thread.conversation, message_id, Role.ASSISTANT)
            shown = Shown(message=message)
        if live is None:
            yield shown
            return
        seen = -1
        while not live.ended.is_set():
            if await live.news(seen, self._limits.silence):
                seen = len(live.pieces)
                yield msgspec.structs.replace(shown, message=live.now())
            else:
                yield None
        yield msgspec.structs.replace(shown, message=live.message)

    # What programs ask for

    def check(self, body: Mapping[str, Any]) -> ChatRequest:
        """A program's question; Invalid names every field that is wrong."""
        given = body.get("model")
        if not isinstance(given, str | None):
            raise validation.wrong("model", "must be a text")
        messages = body.get("messages")
        validation.turns(messages)  # what is wrong there is said before what is wrong with the model
        model = self._catalog.choose((given or "").strip(), Kind.TEXT)
        params = {name: value for name, value in body.items() if name not in _OWN and value is not None}
        return self.asking(model, messages, self._catalog.check(model, params))

    def asking(
        self,
        model: Model,
        messages: object,
        params: dict[str, Any],
        *,
        raw: bool = False,
        whole: bool = False,
    ) -> ChatRequest:
        """A question whose parameters have been checked; Invalid for what is wrong with its messages."""
        turns = validation.turns(messages, raw=raw)
        if any(map(validation.pictures_of, turns)) and not model.takes_picture:
            raise validation.wrong("messages", f"hold a picture, and {model.name} takes none")
        return ChatRequest(model=model, turns=turns, params=params, raw=raw, whole=whole)

    async def answer(
        self, owner: str, ask: ChatRequest, once: Once | None = None, *, limits: KeyLimits | None = None
    ) -> Message:
        """The whole answer, once it has ended well; Invalid when the provider refused, Upstream when it failed. Whoever
        is cancelled while waiting hangs up, but not on an answer that the same request had asked for before."""
        return (await self.complete(owner, ask, once, limits=limits)).message

    async def complete(
        self, owner: str, ask: ChatRequest, once: Once | None = None, *, limits: KeyLimits | None = None
    ) -> StreamingAnswer:
        """The same, with all that is known of it."""
        live, own = await self._ask(owner, ask, limits, once)
        try:
            await live.ended.wait()
        finally:
            if own:
                live.cancel_upstream()
        whole(live.message)
        return live

    async def stream(
        self, owner: str, ask: ChatRequest, *, limits: KeyLimits | None = None
    ) -> AsyncGenerator[str | Message, None]:
        """The answer piece by piece, at last the whole of it. Closing the iterator hangs up; errors as `answer` has."""
        live, _ = await self._ask(owner, ask, limits)
        async with aclosing(_as_it_comes(live, live.pieces, self._limits.silence)) as parts:
            async for pieces in parts:
                for piece in pieces or [""]:
                    yield piece
        yield whole(live.message)

    async def stream_raw(
        self, owner: str, ask: ChatRequest, *, limits: KeyLimits | None = None
    ) -> tuple[StreamingAnswer, AsyncGenerator[Sequence[dict[str, Any]], None]]:
        """A `raw` answer that has begun: all that is known of it, and its choices as they come, each time all there are,
        none as a sign of life. Closing the iterator hangs up."""
        live, _ = await self._ask(owner, ask, limits)
        return live, _as_it_comes(live, live.choices, self._limits.silence, raw=True)

    # What the loops and the program ask for

    def being_written(self, owner: str) -> list[StreamingAnswer]:
        """The answers that are being written for this person at this moment, those to programs included."""
        return [live for live in self._answers.all() if live.message.owner_id == owner]

    async def rescue(self) -> None:
        """At start: answers that a stop or a kill has cut off have failed, with the text that was saved."""
        await self._answers.rescue()

    async def flush(self) -> None:
        """Write down what has come of the answers that are being written."""
        await self._answers.flush()

    async def sweep(self) -> None:
        """Forget what was deleted long enough ago."""
        await self._database.write(repository.sweep_any, clock.now() - UNDO)

    async def close(self) -> None:
        """Before the program stops: end every answer with what has come, so that nobody is kept waiting."""
        await self._answers.close()

    def forget_person(self, tx: Transaction, owner: str) -> None:
        """Joins the transaction that deletes a person; what is being written for them is stopped after it."""
        repository.forget(tx, owner)
        tx.on_commit(self._answers.abandon, owner)

    # Within

    async def _find(self, owner: str, id: str) -> Conversation:
        conversation = await self._database.read(repository.find, owner, id)
        if conversation is None:
            raise _missing()
        return conversation

    async def _message(self, conversation: Conversation, id: str, role: Role) -> Message:
        """A message of this conversation and role, or Missing."""
        found = await self._database.read(repository.messages, conversation.owner_id, [id])
        if not found or found[0].conversation_id != conversation.id or found[0].role is not role:
            raise Missing("There is no such message.")
        return found[0]

    async def _go_on(
        self, conversation: Conversation, text: str | None, under: str | None, once: Once | None
    ) -> Message:
        """A new turn beneath the message `under`: what the person says, unless it is None, and the answer to it."""
        owner, id, now = conversation.owner_id, conversation.id, clock.now()
        model = self._catalog.choose(conversation.model, Kind.TEXT)
        said = None if text is None else _said(owner, id, text, now)
        answer = _answer(owner, model, now, conversation_id=id, parent_id=said.id if said else under)
        live, _ = await self._begin(
            answer,
            model,
            lambda tx: _continue(tx, owner, id, said, answer, model, under, self._limits.messages),
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
        """The answer, and whether it is this caller's own: not when the same request had begun one before."""

        def recorded(tx: Transaction) -> tuple[Turn, ...]:
            if once and (first := self._jobs.remember(tx, answer.owner_id, once, answer.id, answer.created_at)):
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
            return await self._earlier(answer.owner_id, repeated.id), False

    async def _earlier(self, owner: str, id: str) -> StreamingAnswer:
        """An answer that was begun before, as it stands."""
        if live := self._answers.find(id):
            return live
        found = await self._database.read(repository.messages, owner, [id])
        if not found:
            raise Missing("What this Idempotency-Key asked for was deleted.")
        live = StreamingAnswer(found[0])
        live.end(found[0])
        return live


class _Repeated(Exception):
    """The same request began the answer `id` before."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id


_AT_THE_END: Final = ""  # beneath whatever is the end of the shown branch at that moment
_OWN: Final = ("model", "messages", "stream")


def _fresh(shown: Shown, growing: Mapping[str, StreamingAnswer]) -> Shown:
    """With what has come since it was last written down."""
    live = growing.get(shown.message.id)
    return msgspec.structs.replace(shown, message=live.now()) if live else shown


async def _as_it_comes(
    live: StreamingAnswer, come: Sequence[T], silence: float, *, raw: bool = False
) -> AsyncGenerator[Sequence[T], None]:
    """What has come of an answer since the last time, until its end, nothing as a sign of life; closing the iterator hangs
    up."""
    seen = 0
    try:
        while seen < len(come) or not live.ended.is_set():
            if more := come[seen:]:
                seen += len(more)
                yield more
            elif not await live.news(seen, silence, raw=raw):
                yield []
    finally:
        live.cancel_upstream()


def whole(message: Message) -> Message:
    """An answer that ended well, or why it did not."""
    if message.status is Status.COMPLETE:
        return message
    error = message.error
    if error is None:
        raise Upstream("The answer was stopped.", details={"id": message.id})
    details = {"id": message.id, "code": error.code.value}
    if error.code is ErrorCode.PROVIDER_REFUSED:
        raise Invalid(error.message, details=details)
    raise Upstream(error.message, details=details)


def _missing() -> Missing:
    return Missing("There is no such conversation.")


def _said(owner: str, conversation_id: str, text: str, now: datetime) -> Message:
    return Message(
        id=uuid7(),
        conversation_id=conversation_id,
        owner_id=owner,
        role=Role.USER,
        text=text,
        created_at=now,
        ended_at=now,
    )


def _answer(
    owner: str, model: Model, now: datetime, *, conversation_id: str | None = None, parent_id: str | None = None
) -> Message:
    """An answer of which nothing has come yet."""
    return Message(
        id=uuid7(),
        conversation_id=conversation_id,
        owner_id=owner,
        parent_id=parent_id,
        role=Role.ASSISTANT,
        status=Status.STREAMING,
        model=model.id,
        model_name=model.name,
        provider=model.provider,
        created_at=now,
    )


def _place(key: str | None) -> tuple[datetime, str] | None:
    """Where a part of the list begins, out of the `next` of the part before."""
    if key is None:
        return None
    moment, _, id = key.partition(" ")
    try:
        return datetime.fromisoformat(moment).replace(tzinfo=None), id
    except ValueError:
        raise validation.wrong("cursor", "is not a place in this list") from None


# Within one transaction


def _newest(
    tx: Transaction, owner: str, q: Sequence[str], before: tuple[datetime, str] | None, limit: int
) -> Page[Conversation]:
    found = repository.newest(tx, owner, words=q, before=before, limit=limit + 1)
    items, last = found[:limit], found[:limit][-1:]
    key = f"{last[0].changed_at.isoformat()} {last[0].id}" if len(found) > limit else None
    return Page(items, repository.count(tx, owner, words=q), key)


def _thread(tx: Transaction, owner: str, id: str, until: str | None, most: int) -> Thread | None:
    conversation = repository.find(tx, owner, id)
    if conversation is None:
        return None
    tree = Tree(repository.tree(tx, owner, id))
    branch = [twig.id for twig in tree.branch(conversation.leaf_id)]
    if until in branch:
        branch = branch[: branch.index(until)]
    stretch = branch[-most:]
    shown = []
    for message in repository.messages(tx, owner, stretch):
        siblings = tree.siblings(message.id)
        place = siblings.index(message.id)
        shown.append(
            Shown(
                message=message,
                number=place + 1,
                count=len(siblings),
                before=siblings[place - 1] if place else None,
                after=siblings[place + 1] if place + 1 < len(siblings) else None,
            )
        )
    return Thread(conversation=conversation, shown=shown, earlier=stretch[0] if len(branch) > len(stretch) else None)


def _start(tx: Transaction, owner: str, conversation: Conversation, said: Message, answer: Message) -> tuple[Turn, ...]:
    repository.add_conversation(tx, owner, conversation)
    repository.add(tx, owner, said)
    repository.add(tx, owner, answer)
    return (*_instruction(conversation), Turn(said.role.value, said.text))


def _continue(
    tx: Transaction,
    owner: str,
    id: str,
    said: Message | None,
    answer: Message,
    model: Model,
    under: str | None,
    most: int,
) -> tuple[Turn, ...]:
    """Write down a new turn; returns what the model is told: the system prompt, and of the branch what fits."""
    conversation = _still(tx, owner, id)
    twigs = repository.tree(tx, owner, id)
    if len(twigs) + 2 > most:
        raise Conflict("This conversation is as long as one can be. Begin a new one.")
    if said is not None:
        parent = conversation.leaf_id if under == _AT_THE_END else under
        repository.add(tx, owner, msgspec.structs.replace(said, parent_id=parent))
        twigs.append(MessageNode(said.id, parent, said.role, len(said.text)))
    repository.add(tx, owner, answer)
    repository.go_on(tx, owner, id, answer.id, answer.created_at)
    branch = Tree(twigs).branch(answer.parent_id or "")
    found = repository.messages(tx, owner, fitting(branch, conversation.system_prompt, model.context_length))
    return (*_instruction(conversation), *(Turn(message.role.value, message.text) for message in found))


def _instruction(conversation: Conversation) -> tuple[Turn, ...]:
    return (Turn("system", conversation.system_prompt),) if conversation.system_prompt else ()


def _switch(tx: Transaction, owner: str, id: str, message_id: str) -> None:
    _still(tx, owner, id)
    tree = Tree(repository.tree(tx, owner, id))
    if tree.find(message_id) is None:
        raise Missing("There is no such message.")
    repository.show(tx, owner, id, tree.leaf(message_id))


def _still(tx: Transaction, owner: str, id: str) -> Conversation:
    """The conversation, in which nothing is being written."""
    conversation = repository.find(tx, owner, id)
    if conversation is None:
        raise _missing()
    if repository.is_answering(tx, owner, id):
        raise Conflict("An answer is still being written here. Wait for it, or stop it.")
    return conversation
