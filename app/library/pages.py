"""Changes to a person's library, and the media in it. The page that shows it, unfinished jobs first, is `home`'s."""

from typing import Any

from litestar import HttpMethod, Request, Response, post, route
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from app.accounts.guards import signed_in
from app.base.errors import Invalid, Missing
from app.library.schemas import Asset
from app.library.service import Library
from app.web import forms
from app.web.limits import FILES
from app.web.ranges import file_response
from app.web.render import page, partial

Person = Request[Any, Any, State]


@post("/library", guards=[signed_in], include_in_schema=False, status_code=200, request_max_body_size=FILES)
async def upload(request: Person, library: NamedDependency[Library]) -> Response[str]:
    file = await forms.file(request, "file")
    if file is None:
        raise Invalid("Choose a file first.", fields={"file": "Choose a file first."})
    added = await library.upload(request.user.id, forms.chunks(file), file.filename)
    return forms.go(f"/library/{added.id}", "The file is in your library.")


@post("/library/{id:str}/delete", guards=[signed_in], include_in_schema=False, status_code=200)
async def delete(request: Person, id: FromPath[str], library: NamedDependency[Library]) -> Response[str]:
    deleted = await library.delete(request.user.id, id)
    if partial(request):
        return page("library/_deleted.html", request, asset=deleted)
    return forms.go("/library", "The file was deleted.")


@post("/library/{id:str}/restore", guards=[signed_in], include_in_schema=False, status_code=200)
async def restore(request: Person, id: FromPath[str], library: NamedDependency[Library]) -> Response[str]:
    restored = await library.restore(request.user.id, id)
    if partial(request):
        return page("library/_asset.html", request, asset=restored)
    return forms.go(f"/library/{restored.id}", "The file is back.")


@route("/media/{id:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD], guards=[signed_in], include_in_schema=False)
async def media(
    request: Person, id: FromPath[str], library: NamedDependency[Library], download: FromQuery[bool] = False
) -> Response[Any] | Stream:
    """The picture or clip itself, to its owner, also in parts."""
    found = await library.find(request.user.id, id)
    return await _file(request, library, found, thumbnail=False, download=download)


@route(
    "/media/{id:str}/thumbnail",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    guards=[signed_in],
    include_in_schema=False,
)
async def thumbnail(request: Person, id: FromPath[str], library: NamedDependency[Library]) -> Response[Any] | Stream:
    found = await library.find(request.user.id, id)
    return await _file(request, library, found, thumbnail=True, download=False)


async def _file(
    request: Person, library: Library, asset: Asset, *, thumbnail: bool, download: bool
) -> Response[Any] | Stream:
    path = library.path(asset, thumbnail=thumbnail)
    mime = "image/webp" if thumbnail else asset.mime
    try:
        return await file_response(request, path, mime=mime, name=f"{asset.id}{path.suffix}", attachment=download)
    except FileNotFoundError:
        raise Missing("The file is not in the store any more.") from None


routes = [upload, delete, restore, media, thumbnail]
