"""Page routes that change an asset and serve its files. The library page, which also shows unfinished jobs, is in `home`."""

from typing import Any

from litestar import HttpMethod, Request, Response, post, route
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from app.accounts.guards import signed_in
from app.base.errors import Missing
from app.library.schemas import Asset
from app.library.service import Library
from app.web import forms
from app.web.ranges import file_response
from app.web.render import page, partial

PageRequest = Request[Any, Any, State]


@post("/library/{id:str}/delete", guards=[signed_in], include_in_schema=False, status_code=200)
async def delete(request: PageRequest, id: FromPath[str], library: NamedDependency[Library]) -> Response[str]:
    deleted = await library.delete(request.user.id, id)
    if partial(request):
        return page("library/_deleted.html", request, asset=deleted)
    return forms.go("/library", "The file was deleted.")


@post("/library/{id:str}/restore", guards=[signed_in], include_in_schema=False, status_code=200)
async def restore(request: PageRequest, id: FromPath[str], library: NamedDependency[Library]) -> Response[str]:
    restored = await library.restore(request.user.id, id)
    if partial(request):
        return page("library/_asset.html", request, asset=restored)
    return forms.go(f"/library/{restored.id}", "The file was restored.")


@post("/library/{id:str}/extend", guards=[signed_in], include_in_schema=False, status_code=200)
async def extend(request: PageRequest, id: FromPath[str], library: NamedDependency[Library]) -> Response[str]:
    """A form for a video that starts with the last frame of this one."""
    frame = await library.last_frame(request.user.id, id)
    return forms.go(f"/generate/video?mode=image&asset={frame.id}")


@route("/media/{id:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD], guards=[signed_in], include_in_schema=False)
async def media(
    request: PageRequest, id: FromPath[str], library: NamedDependency[Library], download: FromQuery[bool] = False
) -> Response[Any] | Stream:
    """The file of an asset, for its owner only. Supports range requests."""
    found = await library.find(request.user.id, id)
    return await _file(request, library, found, thumbnail=False, download=download)


@route(
    "/media/{id:str}/thumbnail",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    guards=[signed_in],
    include_in_schema=False,
)
async def thumbnail(
    request: PageRequest, id: FromPath[str], library: NamedDependency[Library]
) -> Response[Any] | Stream:
    found = await library.find(request.user.id, id)
    return await _file(request, library, found, thumbnail=True, download=False)


async def _file(
    request: PageRequest, library: Library, asset: Asset, *, thumbnail: bool, download: bool
) -> Response[Any] | Stream:
    path = library.path(asset, thumbnail=thumbnail)
    mime = "image/webp" if thumbnail else asset.mime
    try:
        return await file_response(request, path, mime=mime, name=f"{asset.id}{path.suffix}", attachment=download)
    except FileNotFoundError:
        raise Missing("This file no longer exists.") from None


routes = [delete, restore, extend, media, thumbnail]
