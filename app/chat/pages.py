"""Chat pages: the list of conversations, a thread of messages, and streaming answers."""

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
from app.base.ids import uuid7
from app.chat.schemas import MessageRole, NewMessage, ShownMessage, Thread
from app.chat.service import Chat
from app.web import forms
from app.web.errors import to_response
from app.web.limits import PAID
from app.web.markdown import Renderer, StreamingRenderer
from app.web.render import page, partial, render
from app.web.sse import UNCOMPRESSED

PageRequest = Request[Any, Any, State]

EXAMPLES: Final = (
    "Five shots for a harbour at dawn, from far to near, each one sentence",
    "Turn this into an image prompt: an old lighthouse keeper who has found something",
    "Write a Python function that renames my videos by creation date",
)
PAUSE: Final = 0.1  # seconds between two updates of a streaming answer
RENDER_SHARE: Final = 0.1  # of the time that may be spent on rendering one answer
RATE: Final = 400_000  # characters of HTML per second to one reader
KEEP_ALIVE: Final = b": keep-alive\n\n"
FORM_ERRORS: Final = (Invalid, Conflict, Exhausted, Unready)  # shown in the form, which keeps its input
_ID: Final = re.compile(r"[0-9a-f]{32}")
_LINE: Final = re.compile(r"\r\n|\r|\n")  # what ends a line of an event


class RejectedForm(msgspec.Struct, frozen=True):
    """An invalid form other than the composer: the id of its message, or `title`; its input; and the error."""

    where: str
    text: str
    error: AtelierError


@get("/chat", guards=[signed_in], include_in_schema=False)
async def index(request: PageRequest, chat: NamedDependency[Chat]) -> Redirect:
    """Redirect to the last conversation, or to a new one."""
    found = await chat.newest(request.user.id, limit=1)
    return Redirect(f"/chat/{found.items[0].id}" if found.items else "/chat/new", status_code=303)


@get("/chat/new", guards=[signed_in], include_in_schema=False)
async def new(
    request: PageRequest,
    chat: NamedDependency[Chat],
    q: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
    prompt: FromQuery[str] = "",
    model: FromQuery[str] = "",
    deleted: FromQuery[str] = "",
) -> Response[str]:
    """The page of a new conversation; `deleted` is the id of one that can still be restored."""
    form = {"text": prompt, "model": model}
    return await _new(request, chat, form, q=q, before=cursor, deleted=deleted if _ID.fullmatch(deleted) else "")


@post("/chat", guards=[signed_in], include_in_schema=False, status_code=200, opt=PAID)
async def start(request: PageRequest, chat: NamedDependency[Chat]) -> Response[str]:
    form = await forms.read(request)
    try:
        answer = await chat.start(request.user.id, _new_message(form), forms.once(request, form))
    except FORM_ERRORS as exc:
        return await _new(request, chat, form, error=exc)
    return forms.go(f"/chat/{answer.conversation_id}")


@get("/chat/list", guards=[signed_in], include_in_schema=False)
async def conversation_list(
    request: PageRequest,
    chat: NamedDependency[Chat],
    q: FromQuery[str] = "",
    current: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    """A page of the list of conversations."""
    found = await chat.newest(request.user.id, q=q, before=cursor)
    return page("chat/_talks.html", request, talks=found.items, next=found.next, q=q, current=current)


@get("/chat/{id:str}", guards=[signed_in], include_in_schema=False)
async def conversation(
    request: PageRequest,
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
    request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    owner, form = request.user.id, await forms.read(request)
    try:
        answer = await chat.say(owner, id, _new_message(form), forms.once(request, form))
    except FORM_ERRORS as exc:
        return await _refused(request, chat, markdown, await chat.open(owner, id), form, exc)
    return await _changed(request, chat, markdown, id, at=answer.id)


@post("/chat/{id:str}/settings", guards=[signed_in], include_in_schema=False, status_code=200)
async def settings(
    request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    """Set the model and system prompt of the next answer."""
    owner, form = request.user.id, await forms.read(request)
    try:
        await chat.choose(owner, id, model=form.get("model") or None, system_prompt=form.get("system_prompt"))
    except FORM_ERRORS as exc:
        return await _refused(request, chat, markdown, await chat.open(owner, id), form, exc)
    return Response("", status_code=204) if partial(request) else forms.go(f"/chat/{id}")


@post("/chat/{id:str}/stop", guards=[signed_in], include_in_schema=False, status_code=200)
async def stop(
    request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    await chat.stop(request.user.id, id)
    return await _changed(request, chat, markdown, id)


@post("/chat/{id:str}/rename", guards=[signed_in], include_in_schema=False, status_code=200)
async def rename(
    request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    owner, title = request.user.id, (await forms.read(request)).get("title", "")
    try:
        await chat.rename(owner, id, title)
    except FORM_ERRORS as exc:
        refused = RejectedForm("title", title, exc)
        return await _page(request, chat, markdown, await chat.open(owner, id), {}, refused=refused)
    return forms.go(f"/chat/{id}", "Conversation renamed.")


@post("/chat/{id:str}/delete", guards=[signed_in], include_in_schema=False, status_code=200)
async def delete(request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat]) -> Response[str]:
    deleted = await chat.delete(request.user.id, id)
    if partial(request):
        return page("chat/_deleted.html", request, talk=deleted)
    return forms.go(f"/chat/new?deleted={id}")


@post("/chat/{id:str}/restore", guards=[signed_in], include_in_schema=False, status_code=200)
async def restore(request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat]) -> Response[str]:
    restored = await chat.restore(request.user.id, id)
    if partial(request):
        return page("chat/_talk.html", request, talk=restored, current="")
    return forms.go(f"/chat/{id}", "Conversation restored.")


@post(
    "/chat/{id:str}/messages/{message_id:str}/edit",
    guards=[signed_in],
    include_in_schema=False,
    status_code=200,
    opt=PAID,
)
async def edit(
    request: PageRequest,
    id: FromPath[str],
    message_id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
) -> Response[str]:
    owner, form = request.user.id, await forms.read(request)
    text, until = form.get("text", ""), form.get("until")
    try:
        answer = await chat.edit(owner, id, message_id, text, forms.once(request, form))
    except FORM_ERRORS as exc:
        thread, refused = await chat.open(owner, id, until=until), RejectedForm(message_id, text, exc)
        shown = next((it for it in thread.shown if it.message.id == message_id), None)
        if shown is None:
            raise Missing("This message is no longer shown. Reload the page.") from exc
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
    request: PageRequest,
    id: FromPath[str],
    message_id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
) -> Response[str]:
    answer = await chat.retry(request.user.id, id, message_id, forms.once(request, await forms.read(request)))
    return await _changed(request, chat, markdown, id, at=answer.id)


@post("/chat/{id:str}/messages/{message_id:str}/show", guards=[signed_in], include_in_schema=False, status_code=200)
async def show(
    request: PageRequest,
    id: FromPath[str],
    message_id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
) -> Response[str]:
    await chat.switch(request.user.id, id, message_id)
    return await _changed(request, chat, markdown, id, at=message_id)


@get("/chat/{id:str}/messages/{message_id:str}/live", guards=[signed_in], include_in_schema=False, opt=UNCOMPRESSED)
async def live(
    request: PageRequest,
    id: FromPath[str],
    message_id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
) -> Stream:
    """Stream an answer: each event contains the whole element, the last one its final state."""
    states = chat.watch(request.user.id, id, message_id)
    first = await anext(states)
    return Stream(
        _events(request, markdown, first, states),
        status_code=200,
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _events(
    request: PageRequest,
    markdown: Renderer,
    first: ShownMessage | None,
    states: AsyncGenerator[ShownMessage | None, None],
) -> AsyncGenerator[bytes, None]:
    renderer, shown = StreamingRenderer(markdown), first
    async with aclosing(states):
        while True:
            if shown is None:
                yield KEEP_ALIVE
            elif shown.message.status.final:
                (html,) = await markdown.render([shown.message.text])
                yield _event(request, shown, html)
                return
            else:
                started = time.perf_counter()
                html = await renderer.render(shown.message.text)
                elapsed = time.perf_counter() - started
                yield _event(request, shown, html)
                await asyncio.sleep(max(PAUSE, elapsed / RENDER_SHARE, len(html) / RATE))
            shown = await anext(states)


def _event(request: PageRequest, shown: ShownMessage, html: Markup) -> bytes:
    element = render("chat/_message.html", request, it=shown, html=html, until=None, refused=None).strip()
    return b"".join(b"data: %s\n" % line.encode() for line in _LINE.split(element)) + b"\n"


def _new_message(form: dict[str, str]) -> NewMessage:
    return NewMessage(
        text=form.get("text", ""), model=form.get("model") or None, system_prompt=form.get("system_prompt")
    )


async def _changed(
    request: PageRequest, chat: Chat, markdown: Renderer, id: str, *, at: str | None = None
) -> Response[str]:
    """After a change: the thread for htmx; otherwise a redirect to the page, at the message `at`."""
    if partial(request):
        return await _thread(request, markdown, await chat.open(request.user.id, id))
    return forms.go(f"/chat/{id}#message-{at}" if at else f"/chat/{id}")


async def _thread(request: PageRequest, markdown: Renderer, thread: Thread) -> Response[str]:
    html_by_id = await _render_answers(markdown, thread)
    return page("chat/_thread.html", request, thread=thread, written=html_by_id, until=None, refused=None)


async def _refused(
    request: PageRequest, chat: Chat, markdown: Renderer, thread: Thread, form: dict[str, str], error: AtelierError
) -> Response[str]:
    """The composer with its error and its input."""
    if partial(request):
        context = _composer(chat, form, thread, error)
        return page("chat/_composer.html", request, status_code=400, **context)
    return await _page(request, chat, markdown, thread, form, error=error)


async def _new(
    request: PageRequest,
    chat: Chat,
    form: dict[str, str],
    *,
    q: str = "",
    before: str | None = None,
    deleted: str = "",
    error: AtelierError | None = None,
) -> Response[str]:
    found = await chat.newest(request.user.id, q=q, before=before)
    if not form.get("model"):
        form = {**form, "model": chat.default_model(found.items)}
    answer = to_response(error) if error else None
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
        **_composer(chat, form, None, error),
    )


async def _page(
    request: PageRequest,
    chat: Chat,
    markdown: Renderer,
    thread: Thread,
    form: dict[str, str],
    *,
    q: str = "",
    until: str | None = None,
    error: AtelierError | None = None,
    refused: RejectedForm | None = None,
) -> Response[str]:
    """`error` belongs to the composer; the error of any other form is in `refused`."""
    found = await chat.newest(request.user.id, q=q)
    shown_error = refused.error if refused else error
    answer = to_response(shown_error) if shown_error else None
    return page(
        "chat/chat.html",
        request,
        status_code=answer.status if answer else 200,
        headers=answer.headers if answer else None,
        thread=thread,
        written=await _render_answers(markdown, thread),
        talks=found.items,
        next=found.next,
        q=q,
        current=thread.conversation.id,
        until=until,
        refused=refused,
        examples=(),
        deleted="",
        **_composer(chat, form, thread, error),
    )


def _composer(chat: Chat, form: dict[str, str], thread: Thread | None, error: AtelierError | None) -> dict[str, Any]:
    """The variables of the composer: its input, or the settings of the conversation."""
    conversation = thread.conversation if thread else None
    errors = error.fields if isinstance(error, Invalid) else {}
    return {
        "conversation_id": conversation.id if conversation else None,
        "key": uuid7(),
        "models": chat.models(),
        "values": {
            "text": form.get("text", ""),
            "model": form.get("model") or (conversation.model if conversation else ""),
            "system_prompt": form.get("system_prompt", conversation.system_prompt if conversation else ""),
        },
        "errors": errors,
        "message": error.message if error and not errors else None,
    }


async def _render_answers(markdown: Renderer, thread: Thread) -> dict[str, Markup]:
    """The HTML of the answers of a thread, by message id."""
    answers = [it.message for it in thread.shown if it.message.role is MessageRole.ASSISTANT]
    finished = [it for it in answers if it.status.final]
    rendered = dict(zip((it.id for it in finished), await markdown.render([it.text for it in finished]), strict=True))
    return rendered | {
        it.id: await StreamingRenderer(markdown).render(it.text) for it in answers if not it.status.final
    }


routes = [
    index,
    new,
    start,
    conversation_list,
    conversation,
    say,
    settings,
    stop,
    rename,
    delete,
    restore,
    edit,
    retry,
    show,
    live,
]
