"""The doors of `/v1`, and the models."""

from typing import Any

import msgspec
from litestar import Request, Router, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.accounts.guards import signed_in
from app.base.errors import Missing
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.gateway import chat, pictures, videos, wire

Program = Request[Any, Any, State]


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's model object. When a model appeared is not known here: `created` is 0."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str

    @classmethod
    def of(cls, model: Model) -> "ModelObject":
        return cls(id=model.id, owned_by=model.id.partition("/")[0] if "/" in model.id else model.provider)


class Models(msgspec.Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[ModelObject]


@get("/models", guards=[signed_in])
async def models(catalog: NamedDependency[Catalog]) -> Models:
    return Models(data=[ModelObject.of(model) for model in catalog.search()])


@get("/models/{id:path}", guards=[signed_in])
async def model(id: FromPath[str], catalog: NamedDependency[Catalog]) -> ModelObject:
    try:
        return ModelObject.of(catalog.find(id.lstrip("/")))
    except Missing:
        raise wire.not_there(id.lstrip("/")) from None


routes = [
    Router(
        "/v1",
        route_handlers=[
            models,
            model,
            chat.complete,
            pictures.generate,
            pictures.edit,
            videos.create,
            videos.index,
            videos.one,
            videos.content,
            videos.remove,
        ],
        include_in_schema=False,
    )
]
