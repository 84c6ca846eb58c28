"""Chat pages: the list of conversations, a thread of messages, and streaming answers."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Stream
from markupsafe import Markup

from app.accounts.guards import signed_in
from app.base.errors import Conflict, Exhausted, Invalid, Missing, Unready
from app.chat import answer_events, export, page_context, validation
from app.chat.images import MAX_IMAGES
from app.chat.page_context import PageState, RejectedForm
from app.chat.schemas import NewMessage, ShownMessage
from app.chat.service import Chat
from app.idempotency.schemas import IdempotencyKey
from app.web import forms
from app.web.errors import to_response
from app.web.limits import FILES, PAID
from app.web.markdown import Renderer
from app.web.render import page, partial, render

PageRequest = Request[Any, Any, State]

FORM_ERRORS: Final = (Invalid, Conflict, Exhausted, Unready)  # shown in the form, which keeps its input
_ID: Final = re.compile(r"[0-9a-f]{32}")


@get("/chat", guards=[signed_in], include_in_schema=False)
async def index(request: PageRequest, chat: NamedDependency[Chat]) -> Redirect:
    """Redirect to the last conversation, or to a new one."""
    found = await chat.conversations.newest(request.user.id, limit=1)
    return Redirect(f"/chat/{found.items[0].id}" if found.items else "/chat/new", status_code=303)


@get("/chat/new", guards=[signed_in], include_in_schema=False)
async def new(
    request: PageRequest,
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
    q: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
    prompt: FromQuery[str] = "",
    model: FromQuery[str] = "",
    deleted: FromQuery[str] = "",
    image: FromQuery[str] = "",
) -> Response[str]:
    """The page of a new conversation; `deleted` is the id of one that can still be restored, and `image` that of an asset to ask
    about."""
    state = PageState(
        form={"text": prompt, "model": model},
        images=[image] if _ID.fullmatch(image) else [],
        q=q,
        before=cursor,
        deleted=deleted if _ID.fullmatch(deleted) else "",
    )
    return await _page(request, chat, markdown, state)


@post(
    "/chat",
    guards=[signed_in],
    include_in_schema=False,
    status_code=200,
    opt=PAID,
    request_max_body_size=FILES,
)
async def start(
    request: PageRequest, chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    owner, form, images = request.user.id, await forms.read(request), await _chosen(request)

    async def upload() -> Sequence[str]:
        nonlocal images
        images = await _with_uploads(request, chat, images)
        return images

    try:
        key = _key(request, {**form, **await _content(request)})
        answer = await chat.messages.start(owner, _new_message(form, upload), key)
    except FORM_ERRORS as exc:
        return await _page(request, chat, markdown, PageState(form=form, images=images, error=exc))
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
    found = await chat.conversations.newest(request.user.id, q=q, before=cursor)
    return page("chat/_conversations.html", request, conversations=found.items, next=found.next, q=q, current=current)


@get("/chat/{id:str}", guards=[signed_in], include_in_schema=False)
async def conversation(
    request: PageRequest,
    id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
    q: FromQuery[str] = "",
    until: FromQuery[str | None] = None,
) -> Response[str]:
    if partial(request):
        return await _thread(request, chat, markdown, id, until)
    thread = await chat.conversations.open(request.user.id, id, until=until)
    return await _page(request, chat, markdown, PageState(thread=thread, q=q, until=until))


@post(
    "/chat/{id:str}",
    guards=[signed_in],
    include_in_schema=False,
    status_code=200,
    opt=PAID,
    request_max_body_size=FILES,
)
async def send(
    request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    owner, form, images = request.user.id, await forms.read(request), await _chosen(request)

    async def upload() -> Sequence[str]:
        nonlocal images
        images = await _with_uploads(request, chat, images)
        return images

    try:
        key = _key(request, {**form, **await _content(request)})
        answer = await chat.messages.send(owner, id, _new_message(form, upload), key)
    except FORM_ERRORS as exc:
        thread = await chat.conversations.open(owner, id)
        return await _rejected(request, chat, markdown, PageState(thread=thread, form=form, images=images, error=exc))
    return await _changed(request, chat, markdown, id, at=answer.id)


@post("/chat/{id:str}/settings", guards=[signed_in], include_in_schema=False, status_code=200)
async def settings(
    request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    """Set the model and system prompt of the next answer."""
    owner, form = request.user.id, await forms.read(request)
    try:
        await chat.conversations.save_settings(
            owner, id, model=form.get("model") or None, system_prompt=form.get("system_prompt")
        )
    except FORM_ERRORS as exc:
        thread = await chat.conversations.open(owner, id)
        return await _rejected(request, chat, markdown, PageState(thread=thread, form=form, error=exc))
    return Response("", status_code=204) if partial(request) else forms.go(f"/chat/{id}")


@post("/chat/{id:str}/stop", guards=[signed_in], include_in_schema=False, status_code=200)
async def stop(
    request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    await chat.messages.stop(request.user.id, id)
    return await _changed(request, chat, markdown, id)


@post("/chat/{id:str}/rename", guards=[signed_in], include_in_schema=False, status_code=200)
async def rename(
    request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat], markdown: NamedDependency[Renderer]
) -> Response[str]:
    owner, title = request.user.id, (await forms.read(request)).get("title", "")
    try:
        await chat.conversations.rename(owner, id, title)
    except FORM_ERRORS as exc:
        thread = await chat.conversations.open(owner, id)
        state = PageState(thread=thread, rejected=RejectedForm("title", title, exc))
        return await _page(request, chat, markdown, state)
    return forms.go(f"/chat/{id}", "Conversation renamed.")


@get("/chat/{id:str}/export", guards=[signed_in], include_in_schema=False)
async def export_conversation(
    request: PageRequest,
    id: FromPath[str],
    chat: NamedDependency[Chat],
    format: FromQuery[Literal["markdown", "json"]] = "markdown",
) -> Response[Any]:
    """The shown branch as a file."""
    conversation, messages = await chat.conversations.branch(request.user.id, id)
    if format == "json":
        content, kind, suffix = export.as_json(conversation, messages), "application/json", "json"
    else:
        content, kind, suffix = export.as_markdown(conversation, messages).encode(), "text/markdown", "md"
    name = quote(f"{conversation.title}.{suffix}")
    return Response(content, media_type=kind, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"})


@post("/chat/{id:str}/messages/{message_id:str}/fork", guards=[signed_in], include_in_schema=False, status_code=200)
async def fork(
    request: PageRequest, id: FromPath[str], message_id: FromPath[str], chat: NamedDependency[Chat]
) -> Response[str]:
    """Go on from this message in a new conversation."""
    forked = await chat.conversations.fork(request.user.id, id, message_id)
    return forms.go(f"/chat/{forked.id}", "The conversation was copied up to this message.")


@post("/chat/{id:str}/delete", guards=[signed_in], include_in_schema=False, status_code=200)
async def delete(request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat]) -> Response[str]:
    deleted = await chat.conversations.delete(request.user.id, id)
    if partial(request):
        return page("chat/_deleted.html", request, conversation=deleted)
    return forms.go(f"/chat/new?deleted={id}")


@post("/chat/{id:str}/restore", guards=[signed_in], include_in_schema=False, status_code=200)
async def restore(request: PageRequest, id: FromPath[str], chat: NamedDependency[Chat]) -> Response[str]:
    restored = await chat.conversations.restore(request.user.id, id)
    if partial(request):
        return page("chat/_conversation.html", request, conversation=restored, current="")
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
        answer = await chat.messages.edit(owner, id, message_id, text, _key(request, form))
    except FORM_ERRORS as exc:
        thread = await chat.conversations.open(owner, id, until=until)
        rejected = RejectedForm(message_id, text, exc)
        shown = next((it for it in thread.shown if it.message.id == message_id), None)
        if shown is None:
            raise Missing("This message is no longer shown. Reload the page.") from exc
        if partial(request):
            return page("chat/_edit.html", request, status_code=400, it=shown, until=until, refused=rejected)
        return await _page(request, chat, markdown, PageState(thread=thread, until=until, rejected=rejected))
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
    key = _key(request, await forms.read(request))
    answer = await chat.messages.retry(request.user.id, id, message_id, key)
    return await _changed(request, chat, markdown, id, at=answer.id)


@post("/chat/{id:str}/messages/{message_id:str}/show", guards=[signed_in], include_in_schema=False, status_code=200)
async def show(
    request: PageRequest,
    id: FromPath[str],
    message_id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
) -> Response[str]:
    await chat.conversations.show_branch(request.user.id, id, message_id)
    return await _changed(request, chat, markdown, id, at=message_id)


@get("/chat/{id:str}/messages/{message_id:str}/live", guards=[signed_in], include_in_schema=False)
async def live(
    request: PageRequest,
    id: FromPath[str],
    message_id: FromPath[str],
    chat: NamedDependency[Chat],
    markdown: NamedDependency[Renderer],
) -> Stream:
    """Stream an answer as server-sent events."""

    def element(shown: ShownMessage, html: Markup) -> str:
        return render("chat/_message.html", request, it=shown, html=html, until=None, refused=None)

    states = chat.messages.watch(request.user.id, id, message_id)
    first = await anext(states)
    return Stream(
        answer_events.events(first, states, markdown, element),
        status_code=200,
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


def _key(request: PageRequest, form: Mapping[str, str]) -> IdempotencyKey | None:
    return IdempotencyKey.of_form(request.user.id, request.url.path, form)


def _new_message(form: dict[str, str], upload: Callable[[], Awaitable[Sequence[str]]]) -> NewMessage:
    return NewMessage(
        text=form.get("text", ""),
        upload=upload,
        model=form.get("model") or None,
        system_prompt=form.get("system_prompt"),
    )


async def _chosen(request: PageRequest) -> list[str]:
    """The ids of the library images of a message."""
    return [id for id in await forms.values(request, "image_id") if _ID.fullmatch(id)]


async def _with_uploads(request: PageRequest, chat: Chat, chosen: list[str]) -> list[str]:
    """The chosen images, and those that were sent with the form, which are in the library from here on."""
    files = await forms.files(request, "image")
    if len(chosen) + len(files) > MAX_IMAGES:
        raise validation.wrong("images", f"A message can have at most {MAX_IMAGES} images.")
    uploaded = [await chat.images.upload(request.user.id, forms.chunks(file), file.filename) for file in files]
    return [*chosen, *uploaded]


async def _content(request: PageRequest) -> dict[str, str]:
    """What a form has in fields with several values or files, for comparing it with a repeated one."""
    hashes = [await forms.content_hash(file) for file in await forms.files(request, "image")]
    return {"image": ",".join(hashes), "image_id": ",".join(await _chosen(request))}


async def _changed(
    request: PageRequest, chat: Chat, markdown: Renderer, id: str, *, at: str | None = None
) -> Response[str]:
    """After a change: the thread for htmx; otherwise a redirect to the page, at the message `at`."""
    if partial(request):
        return await _thread(request, chat, markdown, id)
    return forms.go(f"/chat/{id}#message-{at}" if at else f"/chat/{id}")


async def _thread(
    request: PageRequest, chat: Chat, markdown: Renderer, id: str, until: str | None = None
) -> Response[str]:
    thread = await chat.conversations.open(request.user.id, id, until=until)
    return page("chat/_thread.html", request, **await page_context.of_thread(markdown, thread))


async def _rejected(request: PageRequest, chat: Chat, markdown: Renderer, state: PageState) -> Response[str]:
    """The composer with its error and its input."""
    if partial(request):
        return page(
            "chat/_composer.html",
            request,
            status_code=400,
            **await page_context.of_composer(chat, request.user.id, state),
        )
    return await _page(request, chat, markdown, state)


async def _page(request: PageRequest, chat: Chat, markdown: Renderer, state: PageState) -> Response[str]:
    answer = to_response(state.shown_error) if state.shown_error else None
    return page(
        "chat/chat.html",
        request,
        status_code=answer.status if answer else 200,
        headers=answer.headers if answer else None,
        **await page_context.of_page(chat, markdown, request.user.id, state),
    )


routes = [
    index,
    new,
    start,
    conversation_list,
    conversation,
    send,
    settings,
    stop,
    rename,
    export_conversation,
    fork,
    delete,
    restore,
    edit,
    retry,
    show,
    live,
]
