"""API routes of the model catalog."""

from typing import Any

import msgspec
from litestar import Request, Router, delete, get, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import signed_in
from app.catalog.schemas import ModelOut
from app.catalog.service import Catalog
from app.web import paging
from app.web.openapi import BEARER, error_responses

ApiRequest = Request[Any, Any, State]


class ModelList(paging.PageOut[ModelOut]):
    """A page of models."""


@get("/ai/models", responses=error_responses(400, 401), summary="List models")
async def index(
    request: ApiRequest,
    catalog: NamedDependency[Catalog],
    output: FromQuery[str | None] = None,
    input: FromQuery[str | None] = None,
    provider: FromQuery[str | None] = None,
    q: FromQuery[str | None] = None,
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> ModelList:
    """Lists the available models by name. Filters: `output` and `input` modality, `provider`, and `q`, a search in id,
    name and description. An API key restricted to certain models sees only those."""
    limits = request.auth.limits
    models = catalog.search(output=output, input=input, provider=provider, q=q)
    if limits is not None:
        models = [model for model in models if limits.allows(model.id)]
    return ModelList.of(paging.part_of(models, lambda model: model.id, paging.after(cursor), limit), ModelOut.of)


class FavoriteModels(msgspec.Struct, frozen=True):
    """The ids of the models that you have marked."""

    items: list[str]


@get("/ai/favorites", responses=error_responses(401), summary="List favorite models")
async def favorites(request: ApiRequest, catalog: NamedDependency[Catalog]) -> FavoriteModels:
    return FavoriteModels(sorted(await catalog.preferences.favorites(request.user.id)))


@put("/ai/favorites/{id:path}", status_code=204, responses=error_responses(401, 403, 404), summary="Mark a model")
async def mark(request: ApiRequest, id: FromPath[str], catalog: NamedDependency[Catalog]) -> None:
    """The create form lists it first. The slashes of an id may stand in the path as they are."""
    model = catalog.find(id.removeprefix("/"))
    await catalog.preferences.set_favorite(request.user.id, model.id, True)


@delete("/ai/favorites/{id:path}", responses=error_responses(401, 403, 404), summary="Unmark a model")
async def unmark(request: ApiRequest, id: FromPath[str], catalog: NamedDependency[Catalog]) -> None:
    name = id.removeprefix("/")
    if name not in await catalog.preferences.favorites(request.user.id):  # one that is gone can be unmarked, too
        catalog.known(name)
    await catalog.preferences.set_favorite(request.user.id, name, False)


routes = [
    Router(
        "/api/v1", route_handlers=[index, favorites, mark, unmark], guards=[signed_in], security=BEARER, tags=["Models"]
    )
]
