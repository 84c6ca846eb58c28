"""The pages of prompt templates and wildcard lists: the list, the forms, and what the create form inserts."""

from typing import Any, Final

from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import SignedIn, signed_in
from app.base.errors import AtelierError, Conflict, Invalid
from app.prompts.exchange import MAX_FILE, as_text
from app.prompts.schemas import Prompt, PromptContent, PromptKind, Visibility
from app.prompts.service import Prompts
from app.prompts.validation import OUTPUTS
from app.providers.contract import Kind
from app.web import forms, paging
from app.web.errors import to_response
from app.web.limits import FILES
from app.web.render import page, partial

LIST: Final = "/prompts"
PAGE_SIZE: Final = 50
FIELDS: Final = ("name", "text", "negative_prompt", "output", "lines", "tags", "shared", "version")


@get("/")
async def index(
    request: SignedIn,
    prompts: NamedDependency[Prompts],
    q: FromQuery[str] = "",
    kind: FromQuery[str] = "",
    visibility: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
    deleted: FromQuery[str] = "",
) -> Response[str]:
    """The list. `deleted` is the id of a prompt that was deleted just now, to undo it without scripts."""
    found = await prompts.search(
        request.user,
        kind=PromptKind(kind) if kind in [*PromptKind] else None,
        visibility=Visibility(visibility) if visibility in [*Visibility] else None,
        q=q,
        after=paging.after(cursor or None),
        limit=PAGE_SIZE,
    )
    return page(
        "prompts/prompts.html",
        request,
        prompts=found.items,
        total=found.total,
        next=paging.cursor(found.next) if found.next else None,
        filters={"q": q, "kind": kind, "visibility": visibility},
        deleted=await prompts.find_deleted(request.user, deleted) if deleted else None,
        import_error=None,
    )


@get("/new")
async def new(request: SignedIn, kind: FromQuery[str] = "") -> Response[str]:
    """The form of a new template or list; the query string may fill it."""
    filled = {name: value for name, value in request.query_params.items() if isinstance(value, str)}
    return _form(request, _kind(kind), filled)


@post("/", status_code=200)
async def add(request: SignedIn, prompts: NamedDependency[Prompts]) -> Response[str]:
    form = await forms.read(request)
    kind = _kind(form.get("kind", ""))
    try:
        prompt = await prompts.add(request.user, kind, _content(kind, form))
    except (Invalid, Conflict) as exc:
        return _form(request, kind, form, exc)
    return forms.go(LIST, f"{prompt.name} was saved.")


@get("/export")
async def export(request: SignedIn, prompts: NamedDependency[Prompts]) -> Response[bytes]:
    """All of the user's own as a JSON file."""
    return _file(await prompts.export(request.user), "prompts.json", "application/json")


@post("/import", status_code=200, request_max_body_size=FILES)
async def import_file(request: SignedIn, prompts: NamedDependency[Prompts]) -> Response[str]:
    try:
        file = await forms.file(request, "file")
        if file is None:
            raise Invalid("Choose a file.", fields={"file": "Choose a file."})
        done = await prompts.import_file(request.user, file.filename, await file.read(MAX_FILE + 1))
    except (Invalid, Conflict) as exc:
        found = await prompts.search(request.user, limit=PAGE_SIZE)
        return page(
            "prompts/prompts.html",
            request,
            status_code=to_response(exc).status,
            prompts=found.items,
            total=found.total,
            next=paging.cursor(found.next) if found.next else None,
            filters={"q": "", "kind": "", "visibility": ""},
            deleted=None,
            import_error=exc.message,
        )
    skipped = f" {len(done.skipped)} left out, because you have prompts with their names." if done.skipped else ""
    return forms.go(LIST, f"{len(done.added)} imported.{skipped}")


@get("/{id:str}")
async def show(request: SignedIn, id: FromPath[str], prompts: NamedDependency[Prompts]) -> Response[str]:
    """The form of a prompt, or its content when the user may not change it."""
    prompt = await prompts.find(request.user, id)
    if not prompt.may_change:
        return page("prompts/shared.html", request, prompt=prompt)
    return _form(request, prompt.kind, _filled(prompt), prompt=prompt)


@post("/{id:str}", status_code=200)
async def change(request: SignedIn, id: FromPath[str], prompts: NamedDependency[Prompts]) -> Response[str]:
    form, prompt = await forms.read(request), await prompts.find(request.user, id)
    version = form.get("version", "")
    try:
        changed = await prompts.change(
            request.user, id, _content(prompt.kind, form), int(version[:9]) if version.isdecimal() else 0
        )
    except (Invalid, Conflict) as exc:
        newer = await prompts.find(request.user, id) if "version" in exc.details else None
        form = {**form, "version": str(newer.version)} if newer else form
        return _form(request, prompt.kind, form, exc, prompt=prompt, newer=newer)
    return forms.go(LIST, f"{changed.name} was saved.")


@get("/{id:str}/export")
async def export_list(request: SignedIn, id: FromPath[str], prompts: NamedDependency[Prompts]) -> Response[bytes]:
    """A wildcard list as a text file."""
    prompt = await prompts.find(request.user, id)
    return _file(as_text(prompt), f"{prompt.name}.txt", "text/plain")


@post("/{id:str}/copy", status_code=200)
async def copy(request: SignedIn, id: FromPath[str], prompts: NamedDependency[Prompts]) -> Response[str]:
    copied = await prompts.copy(request.user, id)
    return forms.go(f"{LIST}/{copied.id}", "This is your own copy now.")


@post("/{id:str}/delete", status_code=200)
async def delete(request: SignedIn, id: FromPath[str], prompts: NamedDependency[Prompts]) -> Response[str]:
    deleted = await prompts.delete(request.user, id)
    if partial(request):
        return page("prompts/_deleted.html", request, prompt=deleted)
    return forms.go(f"{LIST}?deleted={deleted.id}")


@post("/{id:str}/restore", status_code=200)
async def restore(request: SignedIn, id: FromPath[str], prompts: NamedDependency[Prompts]) -> Response[str]:
    restored = await prompts.restore(request.user, id)
    if partial(request):
        return page("prompts/_prompt.html", request, prompt=restored)
    return forms.go(LIST, f"{restored.name} was restored.")


def _form(
    request: SignedIn,
    kind: PromptKind,
    form: dict[str, str],
    error: AtelierError | None = None,
    *,
    prompt: Prompt | None = None,
    newer: Prompt | None = None,
) -> Response[str]:
    """The form of a new prompt, or of `prompt`. `newer` is the version that another user has saved meanwhile."""
    errors = error.fields if isinstance(error, Invalid) else {}
    if error and "name" in error.details:
        errors = {"name": error.message}
    return page(
        "prompts/edit.html",
        request,
        status_code=to_response(error).status if error else 200,
        kind=kind.value,
        prompt=prompt,
        newer=newer,
        values={name: form.get(name, "") for name in FIELDS},
        outputs=[kind.value for kind in OUTPUTS],
        errors=errors,
        message=error.message if error and not errors else None,
    )


def _filled(prompt: Prompt) -> dict[str, str]:
    return {
        "name": prompt.name,
        "text": prompt.text,
        "negative_prompt": prompt.negative_prompt,
        "output": prompt.output.value if prompt.output else "",
        "lines": "\n".join(prompt.lines or ()),
        "tags": ", ".join(prompt.tags),
        "shared": "true" if prompt.shared else "",
        "version": str(prompt.version),
    }


def _content(kind: PromptKind, form: dict[str, str]) -> PromptContent:
    """What the form of this kind has; a field of the other kind is not read."""
    template, output = kind is PromptKind.TEMPLATE, form.get("output", "")
    if template and output not in ("", *OUTPUTS):
        raise Invalid("Choose a kind of output.", fields={"output": "Choose a kind of output."})
    return PromptContent(
        name=form.get("name", ""),
        text=form.get("text", "") if template else "",
        negative_prompt=form.get("negative_prompt", "") if template else "",
        output=Kind(output) if template and output else None,
        lines=() if template else tuple(form.get("lines", "").splitlines()),
        tags=tuple(form.get("tags", "").split(",")),
        shared=form.get("shared", "") == "true",
    )


def _kind(text: str) -> PromptKind:
    return PromptKind(text) if text in [*PromptKind] else PromptKind.TEMPLATE


def _file(content: bytes, name: str, media_type: str) -> Response[bytes]:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, headers=headers, media_type=media_type)


routes: Final[list[Any]] = [
    Router(
        LIST,
        route_handlers=[
            index,
            new,
            add,
            export,
            import_file,
            show,
            change,
            export_list,
            copy,
            delete,
            restore,
        ],
        guards=[signed_in],
        include_in_schema=False,
    )
]
