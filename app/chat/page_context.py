"""What the templates of the chat need: the variables of the page, its thread and its composer."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from markupsafe import Markup

from app.base.errors import AtelierError, Invalid
from app.base.ids import uuid7
from app.chat.schemas import MessageRole, Thread
from app.chat.service import Chat
from app.web.markdown import Renderer, StreamingRenderer

EXAMPLES: Final = (
    "Five shots for a harbour at dawn, from far to near, each one sentence",
    "Turn this into an image prompt: an old lighthouse keeper who has found something",
    "Write a Python function that renames my videos by creation date",
)


class RejectedForm(msgspec.Struct, frozen=True):
    """An invalid form other than the composer: the id of its message, or `title`; its input; and the error."""

    where: str
    text: str
    error: AtelierError


class PageState(msgspec.Struct, frozen=True, kw_only=True):
    """What a chat page shows. Without a thread it is the page of a new conversation. `form` is the input of the composer and
    `error` its error; the error of any other form is in `rejected`."""

    thread: Thread | None = None
    form: dict[str, str] = {}
    images: Sequence[str] = ()  # ids of the images in the composer
    error: AtelierError | None = None
    rejected: RejectedForm | None = None
    q: str = ""
    before: str | None = None  # where the page of the list of conversations begins
    until: str | None = None  # where the page of the thread ends
    deleted: str = ""  # the id of a conversation that can still be restored

    @property
    def shown_error(self) -> AtelierError | None:
        return self.rejected.error if self.rejected else self.error


async def of_page(chat: Chat, markdown: Renderer, owner: str, state: PageState) -> dict[str, Any]:
    """The variables of `chat.html`."""
    found = await chat.conversations.newest(owner, q=state.q, before=state.before)
    thread = state.thread
    if thread is None and not state.form.get("model"):
        form = {**state.form, "model": chat.conversations.default_model(found.items)}
        state = msgspec.structs.replace(state, form=form)
    return {
        "conversations": found.items,
        "next": found.next,
        "q": state.q,
        "current": thread.conversation.id if thread else "",
        "examples": () if thread else EXAMPLES,
        "deleted": state.deleted,
        "thread": thread,
        "written": await _render_answers(markdown, thread) if thread else {},
        "until": state.until,
        "refused": state.rejected,
        **await of_composer(chat, owner, state),
    }


async def of_thread(markdown: Renderer, thread: Thread) -> dict[str, Any]:
    """The variables of `_thread.html`, at its end and without a rejected form."""
    return {"thread": thread, "written": await _render_answers(markdown, thread), "until": None, "refused": None}


async def of_composer(chat: Chat, owner: str, state: PageState) -> dict[str, Any]:
    """The variables of `_composer.html`: its input, or the settings of the conversation."""
    form, error = state.form, state.error
    conversation = state.thread.conversation if state.thread else None
    errors = error.fields if isinstance(error, Invalid) else {}
    return {
        "conversation_id": conversation.id if conversation else None,
        "key": uuid7(),
        "models": chat.conversations.models(),
        "values": {
            "text": form.get("text", ""),
            "model": form.get("model") or (conversation.model if conversation else ""),
            "system_prompt": form.get("system_prompt", conversation.system_prompt if conversation else ""),
        },
        "chosen": list(state.images),
        "library": [asset for asset in await chat.images.recent(owner) if asset.id not in state.images],
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
