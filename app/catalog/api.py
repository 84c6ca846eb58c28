"""The models on offer, for programs."""

from typing import Any

from litestar import Request, Router, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from app.accounts.guards import signed_in
from app.catalog.schemas import ModelOut
from app.catalog.service import Catalog
from app.web import paging
from app.web.openapi import BEARER, error_responses

Program = Request[Any, Any, State]


class ModelList(paging.PageOut[ModelOut]):
    """A page of models."""


@get("/ai/models", responses=error_responses(400, 401), summary="The models on offer, by name")
async def models(
    request: Program,
    catalog: NamedDependency[Catalog],
    output: FromQuery[str | None] = None,
    input: FromQuery[str | None] = None,
    provider: FromQuery[str | None] = None,
    q: FromQuery[str | None] = None,
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> ModelList:
    """Filters by what a model makes (`output`) and takes (`input`), where it comes from, and words in its name. An
    API key that is for certain models is shown those only."""
    limits = request.auth.limits
    found = catalog.search(output=output, input=input, provider=provider, q=q)
    if limits is not None:
        found = [model for model in found if limits.admits(model.id)]
    return ModelList.of(paging.part_of(found, lambda model: model.id, paging.after(cursor), limit), ModelOut.of)


routes = [Router("/api/v1", route_handlers=[models], guards=[signed_in], security=BEARER, tags=["Models"])]
