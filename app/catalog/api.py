"""API routes of the model catalog."""

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


routes = [Router("/api/v1", route_handlers=[index], guards=[signed_in], security=BEARER, tags=["Models"])]
