"""API routes of the asset library."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.datastructures import State, UploadFile
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery

from app.accounts.guards import signed_in
from app.base.errors import Invalid
from app.library.schemas import AssetKind, AssetOut
from app.library.service import Library
from app.web import forms, paging
from app.web.limits import FILES
from app.web.openapi import BEARER, error_responses

ApiRequest = Request[Any, Any, State]


class UploadForm(msgspec.Struct):
    """A multipart form with one file."""

    file: UploadFile


class AssetList(paging.PageOut[AssetOut]):
    """A page of the library."""


async def _one_file(request: ApiRequest) -> None:
    """Rejects text and multiple files before Litestar parses the form, for a clearer error message."""
    values = [value for name, value in (await forms.parsed(request)).multi_items() if name == "file"]
    if len(values) > 1 or any(not isinstance(value, UploadFile) for value in values):
        raise Invalid("Send one file, in the field `file`.", fields={"file": "must be one file"})


@post(
    "/assets",
    responses=error_responses(400, 401, 413, 415),
    summary="Upload an image or video",
    before_request=_one_file,
    request_max_body_size=FILES,
)
async def upload(
    request: ApiRequest,
    data: Annotated[UploadForm, Body(media_type=RequestEncodingType.MULTI_PART)],
    library: NamedDependency[Library],
) -> AssetOut:
    """The media type is detected from the content; the file name is only a label. Images are re-encoded."""
    asset = await library.upload(request.user.id, forms.chunks(data.file), data.file.filename)
    return AssetOut.of(asset)


@get("/assets", responses=error_responses(400, 401), summary="List assets, newest first")
async def index(
    request: ApiRequest,
    library: NamedDependency[Library],
    kind: FromQuery[AssetKind | None] = None,
    q: FromQuery[str] = "",
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> AssetList:
    assets = await library.newest(request.user.id, kind=kind, q=q, before=paging.after(cursor), limit=limit)
    return AssetList.of(assets, AssetOut.of)


@get("/assets/{id:str}", responses=error_responses(400, 401, 404), summary="Get an asset")
async def show(request: ApiRequest, id: FromPath[str], library: NamedDependency[Library]) -> AssetOut:
    return AssetOut.of(await library.find(request.user.id, id))


@post(
    "/assets/{id:str}/last-frame",
    responses=error_responses(400, 401, 404),
    summary="Get the last frame of a video, to extend it",
)
async def last_frame(request: ApiRequest, id: FromPath[str], library: NamedDependency[Library]) -> AssetOut:
    """An image from which another video can start: an input with the role `first_frame`. It is not listed, and is deleted after a
    day if no job uses it."""
    return AssetOut.of(await library.last_frame(request.user.id, id))


@delete("/assets/{id:str}", responses=error_responses(400, 401, 404), summary="Delete an asset")
async def remove(request: ApiRequest, id: FromPath[str], library: NamedDependency[Library]) -> None:
    await library.delete(request.user.id, id)


routes = [
    Router(
        "/api/v1",
        route_handlers=[upload, index, show, last_frame, remove],
        guards=[signed_in],
        security=BEARER,
        tags=["Assets"],
    )
]
