"""Pages that combine several features, and the help pages."""

import asyncio
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import signed_in
from app.base.errors import Invalid
from app.home import reference
from app.home.service import Home
from app.web import forms
from app.web.limits import FILES
from app.web.openapi import build_document
from app.web.render import page, partial

PageRequest = Request[Any, Any, State]


@get("/", guards=[signed_in], include_in_schema=False)
async def dashboard(request: PageRequest, home: NamedDependency[Home]) -> Response[str]:
    view = await home.dashboard(request.user.id)
    return page("home/dashboard.html", request, jobs=view.jobs, counts=view.counts, spent_nano=view.spent_nano)


@get("/library", guards=[signed_in], include_in_schema=False)
async def library(
    request: PageRequest,
    home: NamedDependency[Home],
    kind: FromQuery[str] = "",
    q: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    view = await home.library_view(request.user.id, kind=kind, q=q, before=cursor)
    context: dict[str, Any] = {"assets": view.assets.items, "next": view.assets.next, "kind": kind, "q": q}
    if partial(request) and cursor:
        return page("library/_assets.html", request, **context)
    return page("library/library.html", request, jobs=view.jobs, total=view.assets.total, **context)


@post("/library", guards=[signed_in], include_in_schema=False, status_code=200, request_max_body_size=FILES)
async def upload(request: PageRequest, home: NamedDependency[Home]) -> Response[str]:
    file = await forms.file(request, "file")
    if file is None:
        raise Invalid("Choose a file.", fields={"file": "Choose a file."})
    added = await home.upload(request.user.id, forms.chunks(file), file.filename)
    notice = " ".join(["The file was added to your library.", *(warning.message for warning in added.warnings)])
    return forms.go(f"/library/{added.id}", notice)


@get("/library/{id:str}", guards=[signed_in], include_in_schema=False)
async def asset(request: PageRequest, id: FromPath[str], home: NamedDependency[Home]) -> Response[str]:
    found, job, versions = await home.asset(request.user.id, id)
    return page("library/asset.html", request, asset=found, job=job, versions=versions)


@get("/spending", guards=[signed_in], include_in_schema=False)
async def spending(request: PageRequest, home: NamedDependency[Home]) -> Response[str]:
    return page("home/spending.html", request, months=await home.months(request.user.id))


@get("/help/providers", guards=[signed_in], include_in_schema=False)
async def providers(request: PageRequest) -> Response[str]:
    """How to connect a provider, and the simulator commands."""
    directives = [(name, description) for name, _, description in request.app.state.directives()]
    return page("home/providers.html", request, directives=directives)


@get("/help/api", guards=[signed_in], include_in_schema=False)
async def api_clients(request: PageRequest, home: NamedDependency[Home]) -> Response[str]:
    """How to use OpenAI-compatible clients, with examples for this user."""
    origin = str(request.app.state.settings.public_url)
    return page("home/api.html", request, examples=await home.examples(request.user.id, origin))


@get("/api/docs", include_in_schema=False, before_request=build_document)
async def docs(request: PageRequest) -> Response[str]:
    """The API reference, rendered from the OpenAPI document. The page is long, so it is rendered in a thread."""
    return await asyncio.to_thread(_docs, request)


def _docs(request: PageRequest) -> Response[str]:
    document = reference.read(request.app.openapi_schema.to_schema(), str(request.app.state.settings.public_url))
    return page("home/docs.html", request, info=document.info, groups=document.groups, curl=document.curl)


routes = [dashboard, library, upload, asset, spending, providers, api_clients, docs]
