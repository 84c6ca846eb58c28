"""The pages on which admins enable models, choose defaults and edit descriptions, with a preview of the form."""

from typing import Any, Final

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import SignedIn
from app.accounts.guards import admin as admins
from app.audit.schemas import Actor
from app.base.errors import AtelierError, Conflict, Invalid, Missing
from app.catalog.schemas import DescriptionProblem
from app.model_editor import draft as drafts
from app.model_editor.schemas import FORMS, EditedModel, forms_of
from app.model_editor.service import ModelEditor
from app.providers.contract import ModelType
from app.web import forms
from app.web.errors import to_response
from app.web.render import page, render

LIST: Final = "/admin/models"
EDIT: Final = f"{LIST}/edit"
MAX_FILE: Final = 16 * 1024 * 1024  # bytes of an import

AnyRequest = Request[Any, Any, State]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a draft will be saved as: the description of the model `id`, or for an empty one a new model of a provider. `version` is
    the one that was read; `copy_of` supplies what a description does not say."""

    id: str = ""
    provider: str = ""
    endpoint: str = ""
    copy_of: str = ""
    version: int = 0


@get("/")
async def models(
    request: SignedIn, model_editor: NamedDependency[ModelEditor], q: FromQuery[str] = ""
) -> Response[str]:
    found = [model_editor.edited(model) for model in model_editor.models(q)]
    return page("admin/models.html", request, models=found, q=q, last=model_editor.last_changes())


@post("/refresh", status_code=200)
async def refresh(request: SignedIn, model_editor: NamedDependency[ModelEditor]) -> Response[str]:
    changes = await model_editor.refresh(_actor(request))
    summary = f"{len(changes.added)} added, {len(changes.removed)} removed, {len(changes.changed)} changed."
    return forms.go(LIST, f"Models refreshed: {summary}")


@post("/switch", status_code=200)
async def switch(request: SignedIn, model_editor: NamedDependency[ModelEditor]) -> Response[str]:
    form = await forms.read(request)
    found = await model_editor.change(_actor(request), form.get("id", ""), enabled=form.get("enabled") == "true")
    return forms.go(LIST, f"{found.model.name} is {'enabled' if found.model.enabled else 'disabled'}.")


@post("/default", status_code=200)
async def set_default(request: SignedIn, model_editor: NamedDependency[ModelEditor]) -> Response[str]:
    form = await forms.read(request)
    chosen = forms_of(await forms.values(request, "default_for"))
    found = await model_editor.change(_actor(request), form.get("id", ""), default_for=chosen)
    return forms.go(f"{EDIT}/{found.model.id}", "Default saved.")


@get("/new")
async def new(
    request: SignedIn,
    model_editor: NamedDependency[ModelEditor],
    copy_of: FromQuery[str] = "",
    provider: FromQuery[str] = "",
) -> Response[str]:
    """An empty draft, or a copy of a model."""
    draft: dict[str, Any] = {"name": "", "type": ModelType.TEXT_TO_IMAGE.value}
    target = Target(provider=provider)
    if copy_of:
        found = model_editor.find(copy_of)
        draft = msgspec.to_builtins(model_editor.description(copy_of))
        draft["name"] = f"{found.model.name} (copy)"
        target = Target(provider=found.model.provider, endpoint=found.model.upstream_id, copy_of=copy_of)
    return _editor(request, model_editor, target, draft, show_problems=False)


@get("/edit/{id:path}")
async def edit(request: SignedIn, id: FromPath[str], model_editor: NamedDependency[ModelEditor]) -> Response[str]:
    found = model_editor.find(id.removeprefix("/"))
    draft = msgspec.to_builtins(model_editor.description(found.model.id))
    target = Target(id=found.model.id, version=found.saved.version if found.saved else 0)
    return _editor(request, model_editor, target, draft, show_problems=False)


@post("/edit", status_code=200)
async def save(request: SignedIn, model_editor: NamedDependency[ModelEditor]) -> Response[str]:
    """Save the draft, or show it again: as JSON, as a form, with another order of parameters, with its problems."""
    form = await forms.read(request)
    target, action = _target(form), form.get("action", "save")
    try:
        draft = _draft(form)
    except Invalid as exc:
        return _editor(request, model_editor, target, {}, error=exc, text=form.get("json", ""))
    if action in ("json", "form", "preview"):
        return _editor(request, model_editor, target, draft, view="json" if action == "json" else "form")
    if action != "save":
        return _editor(request, model_editor, target, drafts.moved(draft, action), show_problems=False)
    try:
        if target.id:
            saved = await model_editor.describe(_actor(request), target.id, draft, version=target.version)
        else:
            saved = await model_editor.add(
                _actor(request), target.provider, target.endpoint, draft, copy_of=target.copy_of or None
            )
    except (Invalid, Conflict, Missing) as exc:
        return _editor(request, model_editor, target, draft, error=exc, view="json" if "json" in form else "form")
    return forms.go(f"{EDIT}/{saved.model.id}", f"{saved.model.name} was saved.")


@post("/preview", status_code=200)
async def preview(request: SignedIn, model_editor: NamedDependency[ModelEditor]) -> Response[str]:
    """The form of the draft, as it is being edited."""
    form = await forms.read(request)
    try:
        draft: Any = _draft(form)
    except Invalid:
        draft = None
    return page("admin/_model_preview.html", request, **_preview(model_editor, draft))


@post("/reset", status_code=200)
async def reset(request: SignedIn, model_editor: NamedDependency[ModelEditor]) -> Response[str]:
    id = (await forms.read(request)).get("id", "")
    if await model_editor.reset(_actor(request), id):
        return forms.go(f"{EDIT}/{id}", "The provider's description is used again.")
    return forms.go(LIST, "The model was removed.")


@get("/export")
async def export(
    request: SignedIn, model_editor: NamedDependency[ModelEditor], id: FromQuery[str | None] = None
) -> Response[bytes]:
    """A JSON file with one description, or with all that admins saved."""
    content = msgspec.json.format(msgspec.json.encode(model_editor.export(id)), indent=2)
    disposition = 'attachment; filename="models.json"'
    return Response(content, media_type="application/json", headers={"Content-Disposition": disposition})


@post("/import", status_code=200)
async def bring_in(request: SignedIn, model_editor: NamedDependency[ModelEditor]) -> Response[str]:
    file = await forms.file(request, "file")
    if file is None:
        raise Invalid("Choose a JSON file.", fields={"file": "Choose a JSON file."})
    content = await file.read(MAX_FILE + 1)
    try:
        exported = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        raise Invalid("This is not a JSON file of models.", fields={"file": "is not a JSON file"}) from None
    ids = await model_editor.bring_in(_actor(request), exported)
    return forms.go(LIST, f"{len(ids)} model{' was' if len(ids) == 1 else 's were'} imported.")


def preview_html(request: AnyRequest, model_editor: ModelEditor, draft: Any) -> str:
    """The previewed form as HTML."""
    return render("admin/_model_preview.html", request, **_preview(model_editor, draft))


def _preview(model_editor: ModelEditor, draft: Any) -> dict[str, Any]:
    fields, cost = model_editor.preview(draft)
    raw = draft if isinstance(draft, dict) else {}
    return {
        "problems": model_editor.problems(draft)
        if draft is not None
        else [DescriptionProblem("$", "is not valid JSON")],
        "fields": fields,
        "cost": cost,
        "button": raw.get("button") if isinstance(raw.get("button"), str) else "",
        "name": raw.get("name") if isinstance(raw.get("name"), str) else "",
    }


def _editor(
    request: SignedIn,
    model_editor: ModelEditor,
    target: Target,
    draft: dict[str, Any],
    *,
    view: str = "form",
    error: AtelierError | None = None,
    text: str | None = None,
    show_problems: bool = True,
) -> Response[str]:
    """The page of a draft. `text` is JSON that could not be read."""
    found: EditedModel | None = model_editor.find(target.id) if target.id else None
    problems = model_editor.problems(draft) if show_problems and text is None else []
    errors = error.fields if isinstance(error, Invalid) else {}
    return page(
        "admin/model.html",
        request,
        status_code=to_response(error).status if error else 200,
        target=target,
        found=found,
        values=drafts.values(draft),
        json=text if text is not None else msgspec.json.format(msgspec.json.encode(draft), indent=2).decode(),
        view="json" if text is not None else view,
        parameters=drafts.parameter_rows(draft, problems),
        inputs=drafts.input_rows(draft, problems),
        rest={
            "parameters": msgspec.json.encode(_without(draft.get("parameters"), "properties")).decode(),
            "outputs": msgspec.json.encode(draft.get("outputs") or {}).decode(),
        },
        errors={
            path: drafts.messages(problems, path) for path in ("name", "type", "price", "button", "outputs", "help")
        },
        target_errors={name: errors[name] for name in ("provider", "endpoint") if name in errors},
        message=error.message if error and not problems else None,
        providers=model_editor.providers(),
        types=[(type_.value, type_.value.replace("_", " ").capitalize()) for type_ in ModelType],
        forms=[
            (form.value, form.value.replace("_", " ").capitalize()) for form in FORMS if found and _makes(found, form)
        ],
        controls=drafts.CONTROLS,
        **_preview(model_editor, draft if text is None else None) | {"problems": problems},
    )


def _makes(found: EditedModel, form: ModelType) -> bool:
    """Whether this form can begin with the model."""
    kind = "image" if form is ModelType.INPAINTING else form.value.rpartition("_to_")[2]
    from_image = form in (ModelType.IMAGE_TO_IMAGE, ModelType.INPAINTING, ModelType.IMAGE_TO_VIDEO)
    model = found.model
    return kind in model.output_modalities and (model.accepts_image if from_image else not model.requires_image)


def _draft(form: dict[str, str]) -> dict[str, Any]:
    """The draft in the JSON view or in the form. Raises Invalid when the text is not JSON."""
    if "json" not in form:
        return drafts.read(form)
    try:
        found = msgspec.json.decode(form["json"].encode())
    except (msgspec.DecodeError, RecursionError) as exc:
        message = f"This is not valid JSON: {exc}."
        raise Invalid(message, fields={"json": message}) from None
    if not isinstance(found, dict):
        raise Invalid("A description is a JSON object.", fields={"json": "must be a JSON object"})
    return found


def _target(form: dict[str, str]) -> Target:
    version = form.get("version", "")
    return Target(
        id=form.get("id", ""),
        provider=form.get("provider", ""),
        endpoint=form.get("endpoint", "").strip(),
        copy_of=form.get("copy_of", ""),
        version=int(version) if version.isdecimal() and len(version) < 10 else 0,
    )


def _without(value: Any, name: str) -> dict[str, Any]:
    return {key: part for key, part in value.items() if key != name} if isinstance(value, dict) else {}


def _actor(request: SignedIn) -> Actor:
    return Actor(request.user.id, request.user.email)


routes: Final[list[Any]] = [
    Router(
        LIST,
        route_handlers=[models, refresh, switch, set_default, new, edit, save, preview, reset, export, bring_in],
        guards=[admins],
        include_in_schema=False,
    )
]
