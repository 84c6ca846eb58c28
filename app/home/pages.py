"""The pages that join several features, and those that explain."""

import asyncio
from typing import Any

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import signed_in
from app.home import reference
from app.home.service import Home
from app.web.openapi import made
from app.web.render import page, partial

Person = Request[Any, Any, State]


@get("/", guards=[signed_in], include_in_schema=False)
async def dashboard(request: Person, home: NamedDependency[Home]) -> Response[str]:
    front = await home.dashboard(request.user.id)
    return page("home/dashboard.html", request, jobs=front.jobs, counts=front.counts, spent_nano=front.spent_nano)


@get("/library", guards=[signed_in], include_in_schema=False)
async def library(
    request: Person,
    home: NamedDependency[Home],
    kind: FromQuery[str] = "",
    q: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    shelf = await home.library_view(request.user.id, kind=kind, q=q, before=cursor)
    context: dict[str, Any] = {"assets": shelf.assets.items, "next": shelf.assets.next, "kind": kind, "q": q}
    if partial(request) and cursor:
        return page("library/_assets.html", request, **context)
    return page("library/library.html", request, jobs=shelf.jobs, total=shelf.assets.total, **context)


@get("/library/{id:str}", guards=[signed_in], include_in_schema=False)
async def asset(request: Person, id: FromPath[str], home: NamedDependency[Home]) -> Response[str]:
    found, job = await home.asset(request.user.id, id)
    return page("library/asset.html", request, asset=found, job=job)


@get("/spending", guards=[signed_in], include_in_schema=False)
async def spending(request: Person, home: NamedDependency[Home]) -> Response[str]:
    return page("home/spending.html", request, months=await home.months(request.user.id))


@get("/help/providers", guards=[signed_in], include_in_schema=False)
async def providers(request: Person) -> Response[str]:
    """How to connect a provider, and what the simulator can be asked for."""
    directives = [(name, sentence) for name, _, sentence in request.app.state.directives]
    return page("home/providers.html", request, directives=directives)


@get("/help/api", guards=[signed_in], include_in_schema=False)
async def programs(request: Person, home: NamedDependency[Home]) -> Response[str]:
    """How existing programs use Atelier, with examples that hold what this person has."""
    origin = str(request.app.state.settings.public_url)
    return page("home/api.html", request, examples=await home.examples(request.user.id, origin))


@get("/api/docs", include_in_schema=False, before_request=made)
async def docs(request: Person) -> Response[str]:
    """The API's reference, made from its OpenAPI document; needs no other server. A long page: written in a thread."""
    return await asyncio.to_thread(_docs, request)


def _docs(request: Person) -> Response[str]:
    document = reference.read(request.app.openapi_schema.to_schema(), str(request.app.state.settings.public_url))
    return page("home/docs.html", request, info=document.info, groups=document.groups, curl=document.curl)


routes = [dashboard, library, asset, spending, providers, programs, docs]
