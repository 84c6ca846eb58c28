"""A person's files, for programs."""

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

Program = Request[Any, Any, State]


class Upload(msgspec.Struct):
    """A multipart form with one file."""

    file: UploadFile


class AssetList(paging.PageOut[AssetOut]):
    """A page of the library."""


async def _one_file(request: Program) -> None:
    """Before Litestar reads the form: a text, or several files, are not what it would say they are."""
    given = [value for name, value in (await forms.parsed(request)).multi_items() if name == "file"]
    if len(given) > 1 or any(not isinstance(value, UploadFile) for value in given):
        raise Invalid("Send one file, in the field `file`.", fields={"file": "must be one file"})


@post(
    "/assets",
    responses=error_responses(400, 401, 413, 415),
    summary="Upload a picture or clip",
    before_request=_one_file,
    request_max_body_size=FILES,
)
async def upload(
    request: Program,
    data: Annotated[Upload, Body(media_type=RequestEncodingType.MULTI_PART)],
    library: NamedDependency[Library],
) -> AssetOut:
    """What it is, its bytes say; its name is only a label. Pictures are decoded and written anew."""
    asset = await library.upload(request.user.id, forms.chunks(data.file), data.file.filename)
    return AssetOut.of(asset)


@get("/assets", responses=error_responses(400, 401), summary="Own files, newest first")
async def index(
    request: Program,
    library: NamedDependency[Library],
    kind: FromQuery[AssetKind | None] = None,
    q: FromQuery[str] = "",
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> AssetList:
    part = await library.newest(request.user.id, kind=kind, q=q, before=paging.after(cursor), limit=limit)
    return AssetList.of(part, AssetOut.of)


@get("/assets/{id:str}", responses=error_responses(400, 401, 404), summary="One own file")
async def one(request: Program, id: FromPath[str], library: NamedDependency[Library]) -> AssetOut:
    return AssetOut.of(await library.find(request.user.id, id))


@delete("/assets/{id:str}", responses=error_responses(400, 401, 404), summary="Delete an own file")
async def remove(request: Program, id: FromPath[str], library: NamedDependency[Library]) -> None:
    await library.delete(request.user.id, id)


routes = [
    Router(
        "/api/v1",
        route_handlers=[upload, index, one, remove],
        guards=[signed_in],
        security=BEARER,
        tags=["Files"],
    )
]
