"""Conversations for people: the list, one thread of messages, and answers that grow while one reads."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Stream
from markupsafe import Markup

from app.accounts.guards import signed_in
from app.base.errors import AtelierError, Conflict, Exhausted, Invalid, Missing, Unready
from app.base.secret import uuid7
from app.chat.schemas import NewMessage, Role, Shown, Thread
from app.chat.service import Chat
from app.web import forms
from app.web.errors import to_response
from app.web.limits import PAID
from app.web.markdown import Renderer, StreamingRenderer
from app.web.render import page, partial, render
from app.web.sse import UNCOMPRESSED

Person = Request[Any, Any, State]

EXAMPLES: Final = (
    "Five shots for a harbour at dawn, from far to near, each one sentence",
    "Turn this into a prompt for a picture: an old lighthouse keeper who has found something",
    "Write a Python function that renames my clips by the date they were made",
)
PAUSE: Final = 0.1  # seconds between two states of an answer that is being written
SHARE: Final = 0.1  # of the time that rendering one answer may take
RATE: Final = 400_000  # characters of HTML a second to one reader
ALIVE: Final = b": still here\n\n"
REFUSALS: Final = (Invalid, Conflict, Exhausted, Unready)  # what a form says itself, with what was typed still in it
_ID: Final = re.compile(r"[0-9a-f]{32}")
_LINE: Final = re.compile(r"\r\n|\r|\n")  # what ends a line of an event


class Refused(msgspec.Struct, frozen=True):
    """A form beside the composer that could not be taken: the id of its message, or `title`; what was typed; and why."""

    where: str
    text: str
    problem: AtelierError


@get("/chat", guards=[signed_in], include_in_schema=False)
async def index(request: Person, chat: NamedDependency[Chat]) -> Redirect:
    """To the conversation that was last used, or to a new one."""
    found = await chat.newest(request.user.id, limit=1)
    return Redirect(f"/chat/{found.items[0].id}" if found.items else "/chat/new", status_code=303)


@get("/chat/new", guards=[signed_in], include_in_schema=False)
async def new(
    request: Person,
    chat: NamedDependency[Chat],
    q: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
    prompt: FromQuery[str] = "",
    model: FromQuery[str] = "",
    deleted: FromQuery[str] = "",
) -> Response[str]:
    """Where a conversation begins; `deleted` is one that can still be brought back."""
    form = {"text": prompt, "model": model}
    return await _new(request, chat, form, q=q, before=cursor, deleted=deleted if _ID.fullmatch(deleted) else "")


@post("/chat", guards=[signed_in], include_in_schema=False, status_code=200, opt=PAID)
async def start(request: Person, chat: NamedDependency[Chat]) -> Response[str]:
    form = await forms.read(request)
    try:
        answer = await chat.start(request.user.id, _saying(form), forms.once(request, form))
    except REFUSALS as exc:
        return await _new(request, chat, form, problem=exc)
    return forms.go(f"/chat/{answer.conversation_id}")


@get("/chat/list", guards=[signed_in], include_in_schema=False)
async def talks(
    request: Person,
    chat: NamedDependency[Chat],
    q: FromQuery[str] = "",
    current: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    """A stretch of the list."""
    found = await chat.newest(request.user.id, q=q, before=cursor)
    return page("chat/_talks.html", request, talks=found.items, next=found.next, q=q, current=current)


@get("/chat/{id:str}", guards=[signed_in], include_in_schema=False)
async def conversation(
    request: Person,
    id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
    q: FromQuery[str] = "",
    until: FromQuery[str | None] = None,
) -> Response[str]:
    thread = await chat.open(request.user.id, id, until=until)
    if partial(request):
        return await _thread(request, markdown, thread)
    return await _page(request, chat, markdown, thread, {}, q=q, until=until)


@post("/chat/{id:str}", guards=[signed_in], include_in_schema=False, status_code=200, opt=PAID)
async def say(
    request: Person, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    owner, form = request.user.id, await forms.read(request)
    try:
        answer = await chat.say(owner, id, _saying(form), forms.once(request, form))
    except REFUSALS as exc:
        return await _refused(request, chat, markdown, await chat.open(owner, id), form, exc)
    return await _changed(request, chat, markdown, id, at=answer.id)


@post("/chat/{id:str}/settings", guards=[signed_in], include_in_schema=False, status_code=200)
async def settings(
    request: Person, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    """The model and system prompt for what comes next."""
    owner, form = request.user.id, await forms.read(request)
    try:
        await chat.choose(owner, id, model=form.get("model") or None, system_prompt=form.get("system_prompt"))
    except REFUSALS as exc:
        return await _refused(request, chat, markdown, await chat.open(owner, id), form, exc)
    return Response("", status_code=204) if partial(request) else forms.go(f"/chat/{id}")


@post("/chat/{id:str}/stop", guards=[signed_in], include_in_schema=False, status_code=200)
async def stop(
    request: Person, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    await chat.stop(request.user.id, id)
    return await _changed(request, chat, markdown, id)


@post("/chat/{id:str}/rename", guards=[signed_in], include_in_schema=False, status_code=200)
async def rename(
    request: Person, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    owner, title = request.user.id, (await forms.read(request)).get("title", "")
    try:
        await chat.rename(owner, id, title)
    except REFUSALS as exc:
        refused = Refused("title", title, exc)
        return await _page(request, chat, markdown, await chat.open(owner, id), {}, refused=refused)
    return forms.go(f"/chat/{id}", "The conversation was renamed.")


@post("/chat/{id:str}/delete", guards=[signed_in], include_in_schema=False, status_code=200)
async def delete(request: Person, id: FromPath[str], chat: NamedDependency[Chat]) -> Response[str]:
    deleted = await chat.delete(request.user.id, id)
    if partial(request):
        return page("chat/_deleted.html", request, talk=deleted)
    return forms.go(f"/chat/new?deleted={id}")


@post("/chat/{id:str}/restore", guards=[signed_in], include_in_schema=False, status_code=200)
async def restore(request: Person, id: FromPath[str], chat: NamedDependency[Chat]) -> Response[str]:
    restored = await chat.restore(request.user.id, id)
    if partial(request):
        return page("chat/_talk.html", request, talk=restored, current="")
    return forms.go(f"/chat/{id}", "The conversation is back.")


@post(
    "/chat/{id:str}/messages/{message_id:str}/edit",
    guards=[signed_in],
    include_in_schema=False,
    status_code=200,
    opt=PAID,
)
async def edit(
    request: Person,
    id: FromPath[str],
    message_id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
) -> Response[str]:
    owner, form = request.user.id, await forms.read(request)
    text, until = form.get("text", ""), form.get("until")
    try:
        answer = await chat.edit(owner, id, message_id, text, forms.once(request, form))
    except REFUSALS as exc:
        thread, refused = await chat.open(owner, id, until=until), Refused(message_id, text, exc)
        shown = next((it for it in thread.shown if it.message.id == message_id), None)
        if shown is None:
            raise Missing("This message is not shown any more. Load the page again.") from exc
        if partial(request):
            return page("chat/_edit.html", request, status_code=400, it=shown, until=until, refused=refused)
        return await _page(request, chat, markdown, thread, {}, until=until, refused=refused)
    return await _changed(request, chat, markdown, id, at=answer.id)


@post(
    "/chat/{id:str}/messages/{message_id:str}/retry",
    guards=[signed_in],
    include_in_schema=False,
    status_code=200,
    opt=PAID,
)
async def retry(
    request: Person,
    id: FromPath[str],
    message_id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
) -> Response[str]:
    answer = await chat.retry(request.user.id, id, message_id, forms.once(request, await forms.read(request)))
    return await _changed(request, chat, markdown, id, at=answer.id)


@post("/chat/{id:str}/messages/{message_id:str}/show", guards=[signed_in], include_in_schema=False, status_code=200)
async def show(
    request: Person,
    id: FromPath[str],
    message_id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
) -> Response[str]:
    await chat.switch(request.user.id, id, message_id)
    return await _changed(request, chat, markdown, id, at=message_id)


@get("/chat/{id:str}/messages/{message_id:str}/live", guards=[signed_in], include_in_schema=False, opt=UNCOMPRESSED)
async def live(
    request: Person,
    id: FromPath[str],
    message_id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
) -> Stream:
    """An answer while it is written: its element whole in every event, the last one as it stays."""
    states = chat.watch(request.user.id, id, message_id)
    first = await anext(states)
    return Stream(
        _events(request, markdown, first, states),
        status_code=200,
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _events(
    request: Person, markdown: Renderer, first: Shown | None, states: AsyncGenerator[Shown | None, None]
) -> AsyncGenerator[bytes, None]:
    growing, shown = StreamingRenderer(markdown), first
    async with aclosing(states):
        while True:
            if shown is None:
                yield ALIVE
            elif shown.message.status.final:
                (html,) = await markdown.render([shown.message.text])
                yield _event(request, shown, html)
                return
            else:
                began = time.perf_counter()
                html = await growing.render(shown.message.text)
                took = time.perf_counter() - began
                yield _event(request, shown, html)
                await asyncio.sleep(max(PAUSE, took / SHARE, len(html) / RATE))
            shown = await anext(states)


def _event(request: Person, shown: Shown, html: Markup) -> bytes:
    element = render("chat/_message.html", request, it=shown, html=html, until=None, refused=None).strip()
    return b"".join(b"data: %s\n" % line.encode() for line in _LINE.split(element)) + b"\n"


def _saying(form: dict[str, str]) -> NewMessage:
    return NewMessage(
        text=form.get("text", ""), model=form.get("model") or None, system_prompt=form.get("system_prompt")
    )


async def _changed(request: Person, chat: Chat, markdown: Renderer, id: str, *, at: str | None = None) -> Response[str]:
    """After a change: the thread for htmx, the page for everybody else, at the message `at`."""
    if partial(request):
        return await _thread(request, markdown, await chat.open(request.user.id, id))
    return forms.go(f"/chat/{id}#message-{at}" if at else f"/chat/{id}")


async def _thread(request: Person, markdown: Renderer, thread: Thread) -> Response[str]:
    written = await _written(markdown, thread)
    return page("chat/_thread.html", request, thread=thread, written=written, until=None, refused=None)


async def _refused(
    request: Person, chat: Chat, markdown: Renderer, thread: Thread, form: dict[str, str], problem: AtelierError
) -> Response[str]:
    """What is wrong stands beside its field, and what was typed stays."""
    if partial(request):
        context = _composer(chat, form, thread, problem)
        return page("chat/_composer.html", request, status_code=400, **context)
    return await _page(request, chat, markdown, thread, form, problem=problem)


async def _new(
    request: Person,
    chat: Chat,
    form: dict[str, str],
    *,
    q: str = "",
    before: str | None = None,
    deleted: str = "",
    problem: AtelierError | None = None,
) -> Response[str]:
    found = await chat.newest(request.user.id, q=q, before=before)
    if not form.get("model"):
        form = {**form, "model": chat.usual(found.items)}
    answer = to_response(problem) if problem else None
    return page(
        "chat/chat.html",
        request,
        status_code=answer.status if answer else 200,
        headers=answer.headers if answer else None,
        thread=None,
        written={},
        talks=found.items,
        next=found.next,
        q=q,
        current="",
        until=None,
        refused=None,
        examples=EXAMPLES,
        deleted=deleted,
        **_composer(chat, form, None, problem),
    )


async def _page(
    request: Person,
    chat: Chat,
    markdown: Renderer,
    thread: Thread,
    form: dict[str, str],
    *,
    q: str = "",
    until: str | None = None,
    problem: AtelierError | None = None,
    refused: Refused | None = None,
) -> Response[str]:
    """`problem` is the composer's, that of any other form stands in `refused`."""
    found = await chat.newest(request.user.id, q=q)
    trouble = refused.problem if refused else problem
    answer = to_response(trouble) if trouble else None
    return page(
        "chat/chat.html",
        request,
        status_code=answer.status if answer else 200,
        headers=answer.headers if answer else None,
        thread=thread,
        written=await _written(markdown, thread),
        talks=found.items,
        next=found.next,
        q=q,
        current=thread.conversation.id,
        until=until,
        refused=refused,
        examples=(),
        deleted="",
        **_composer(chat, form, thread, problem),
    )


def _composer(chat: Chat, form: dict[str, str], thread: Thread | None, problem: AtelierError | None) -> dict[str, Any]:
    """What the composer needs: what was typed, else what the conversation is asked with."""
    kept = thread.conversation if thread else None
    errors = problem.fields if isinstance(problem, Invalid) else {}
    return {
        "conversation_id": kept.id if kept else None,
        "key": uuid7(),
        "models": chat.models(),
        "values": {
            "text": form.get("text", ""),
            "model": form.get("model") or (kept.model if kept else ""),
            "system_prompt": form.get("system_prompt", kept.system_prompt if kept else ""),
        },
        "errors": errors,
        "message": problem.message if problem and not errors else None,
    }


async def _written(markdown: Renderer, thread: Thread) -> dict[str, Markup]:
    """The HTML of the answers of a thread, by their ids."""
    answers = [it.message for it in thread.shown if it.message.role is Role.ASSISTANT]
    finished = [it for it in answers if it.status.final]
    made = dict(zip((it.id for it in finished), await markdown.render([it.text for it in finished]), strict=True))
    return made | {it.id: await StreamingRenderer(markdown).render(it.text) for it in answers if not it.status.final}


routes = [index, new, start, talks, conversation, say, settings, stop, rename, delete, restore, edit, retry, show, live]
