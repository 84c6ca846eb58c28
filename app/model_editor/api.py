"""API routes of the models for admins. Model ids contain slashes: use `/admin/models/google/veo-3.1`, or `%2F` for the slash."""

from typing import Annotated, Any, ClassVar, Final

import msgspec
from litestar import Request, Router, delete, get, patch, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import Body, FromPath, JSONBody, QueryParameter

from app.accounts.guards import SignedIn
from app.accounts.guards import admin as admins
from app.audit.schemas import Actor
from app.base.errors import Invalid
from app.base.money import usd
from app.catalog.schemas import DescriptionProblem
from app.model_editor.pages import preview_html
from app.model_editor.schemas import AdminModelOut, forms_of
from app.model_editor.service import ModelEditor
from app.web import paging
from app.web.openapi import BEARER, error_responses

ApiRequest = Request[Any, Any, State]

_DESCRIPTION: Final[dict[str, Any]] = {
    "name": {"type": "string"},
    "description": {"type": "string"},
    "type": {"type": "string", "description": "What the model makes from what, such as `text_to_image`."},
    "inputs": {"type": "array", "items": {"type": "object"}},
    "outputs": {"type": "object"},
    "parameters": {"type": "object", "description": "The JSON Schema of the parameters, with hints for the form."},
    "price": {"type": "string", "description": "A formula over the parameters in USD, such as `0.05 * n`."},
    "button": {"type": "string"},
    "help": {"type": "object"},
}
_EXAMPLE: Final[dict[str, Any]] = {
    "name": "Our painter",
    "type": "text_to_image",
    "parameters": {"type": "object", "properties": {"seed": {"title": "Seed", "type": "integer", "minimum": 0}}},
    "price": "0.025 * n",
}


def _body(properties: dict[str, Any], required: list[str], example: dict[str, Any]) -> Any:
    return Body(
        schema_extra={
            "type": "object",
            "properties": properties,
            "required": required,
            "additional_properties": False,
            "examples": [example],
        }
    )


DraftBody = Annotated[
    dict[str, Any],
    Body(
        description="A description, complete or not.",
        schema_extra={"type": "object", "properties": {}, "additional_properties": True, "examples": [_EXAMPLE]},
    ),
]
ChangeBody = Annotated[
    dict[str, Any],
    _body({**_DESCRIPTION, "version": {"type": "integer"}, "enabled": {"type": "boolean"}}, [], {"enabled": True}),
]
NewBody = Annotated[
    dict[str, Any],
    _body(
        {
            "provider": {"type": "string"},
            "endpoint": {"type": "string", "description": "The provider's id of the model."},
            "copy_of": {"type": "string", "description": "The id of a model that supplies what is left out."},
            **_DESCRIPTION,
        },
        ["provider", "endpoint", "name", "type"],
        {"provider": "openrouter", "endpoint": "ours/fine-tuned", **_EXAMPLE},
    ),
]


SearchTerms = Annotated[str, QueryParameter(description="Terms that id, name or description contain.", max_length=200)]


class AdminModels(paging.PageOut[AdminModelOut]):
    """All models, by name."""


class ModelChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`default_for`: exactly the forms that begin with the model, such as `text_to_image`. Null leaves a setting as it is."""

    example: ClassVar = {"enabled": True, "default_for": ["text_to_image"]}

    enabled: bool | None = None
    default_for: list[str] | None = None


class PreviewOut(msgspec.Struct, frozen=True, kw_only=True):
    """`html` is the form as far as the description is valid; `cost_usd` is the price of the defaults, null when unknown."""

    problems: list[DescriptionProblem]
    html: str
    cost_usd: str | None


class RefreshResult(msgspec.Struct, frozen=True):
    """The numbers of added, removed and changed models."""

    added: int
    removed: int
    changed: int


@get("/", responses=error_responses(400, 401, 403), summary="List all models")
async def models(
    model_editor: NamedDependency[ModelEditor],
    q: SearchTerms = "",
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> AdminModels:
    part = paging.part_of(list(model_editor.models(q)), lambda model: model.id, paging.after(cursor), limit)
    return AdminModels.of(part, lambda model: AdminModelOut.of_edited(model_editor.edited(model)))


@get("/{id:path}", responses=error_responses(401, 403, 404), summary="Get a model with its description")
async def model(id: FromPath[str], model_editor: NamedDependency[ModelEditor]) -> AdminModelOut:
    return AdminModelOut.of_edited(model_editor.find(id.removeprefix("/")))


@post("/", responses=error_responses(400, 401, 403, 404, 413), summary="Add a model")
async def add(request: SignedIn, data: NewBody, model_editor: NamedDependency[ModelEditor]) -> AdminModelOut:
    """Describes a model that its provider does not list. 400 names every problem by its path in the JSON."""
    texts = {name: data.pop(name, None) for name in ("provider", "endpoint", "copy_of")}
    wrong = {name: "must be a string" for name, text in texts.items() if not isinstance(text, str | None)}
    wrong |= {name: "is missing" for name in ("provider", "endpoint") if not texts[name]}
    if wrong:
        raise Invalid("The request is not valid.", fields=wrong)
    added = await model_editor.add(
        _actor(request), texts["provider"] or "", texts["endpoint"] or "", data, copy_of=texts["copy_of"]
    )
    return AdminModelOut.of_edited(added)


@put(
    "/{id:path}",
    responses=error_responses(400, 401, 403, 404, 409, 413),
    summary="Replace a model's description",
)
async def replace(
    request: SignedIn, id: FromPath[str], data: ChangeBody, model_editor: NamedDependency[ModelEditor]
) -> AdminModelOut:
    """400 names every problem by its path in the JSON. With the `version` that was read, 409 if someone else has changed it since.
    A body of only `enabled` enables or disables the model."""
    name = id.removeprefix("/")
    if data.keys() <= {"enabled"}:
        enabled = data.get("enabled")
        if not isinstance(enabled, bool):
            raise Invalid("The request is not valid.", fields={"enabled": "must be true or false"})
        return AdminModelOut.of_edited(await model_editor.change(_actor(request), name, enabled=enabled))
    version = data.pop("version", None)
    if isinstance(version, bool) or not isinstance(version, int | None):
        raise Invalid("The request is not valid.", fields={"version": "must be an integer"})
    return AdminModelOut.of_edited(await model_editor.describe(_actor(request), name, data, version=version))


@patch(
    "/{id:path}",
    responses=error_responses(400, 401, 403, 404, 413),
    summary="Enable a model, or let forms begin with it",
)
async def change(
    request: SignedIn, id: FromPath[str], data: JSONBody[ModelChanges], model_editor: NamedDependency[ModelEditor]
) -> AdminModelOut:
    forms = None if data.default_for is None else forms_of(data.default_for)
    changed = await model_editor.change(_actor(request), id.removeprefix("/"), enabled=data.enabled, default_for=forms)
    return AdminModelOut.of_edited(changed)


@delete("/{id:path}", responses=error_responses(401, 403, 404), summary="Reset or remove a model")
async def reset(request: SignedIn, id: FromPath[str], model_editor: NamedDependency[ModelEditor]) -> None:
    """Back to the provider's description; a model that an admin added is removed. 404 when nothing was changed."""
    await model_editor.reset(_actor(request), id.removeprefix("/"))


@post(
    "/preview",
    status_code=200,
    responses=error_responses(400, 401, 403, 413),
    summary="Preview the form of a description",
)
async def preview(request: SignedIn, data: DraftBody, model_editor: NamedDependency[ModelEditor]) -> PreviewOut:
    """Nothing is stored. A description with problems is previewed as far as it is valid."""
    unknown = dict.fromkeys(data.keys() - _DESCRIPTION.keys(), "is not a part of a description")
    if unknown:
        raise Invalid("The request is not valid.", fields=unknown)
    _, cost = model_editor.preview(data)
    return PreviewOut(
        problems=model_editor.problems(data),
        html=preview_html(request, model_editor, data),
        cost_usd=usd(cost.least) if cost else None,
    )


@post(
    "/refresh",
    status_code=200,
    responses=error_responses(401, 403, 502),
    summary="Refresh the models from the providers",
)
async def refresh(request: SignedIn, model_editor: NamedDependency[ModelEditor]) -> RefreshResult:
    changes = await model_editor.refresh(_actor(request))
    return RefreshResult(len(changes.added), len(changes.removed), len(changes.changed))


def _actor(request: SignedIn) -> Actor:
    return Actor(request.user.id, request.user.email)


routes: Final = [
    Router(
        "/api/v1/admin/models",
        route_handlers=[models, model, add, replace, change, reset, preview, refresh],
        guards=[admins],
        security=BEARER,
        tags=["Administration"],
    )
]
