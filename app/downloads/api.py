"""API route of downloads."""

from typing import Any, Literal

from litestar import Request, Response, Router, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from app.accounts.guards import signed_in
from app.downloads.service import DownloadFile, Downloads
from app.web.openapi import BEARER, error_responses
from app.web.ranges import file_response

ApiRequest = Request[Any, Any, State]


@get(
    "/assets/{id:str}/download",
    responses={
        200: ResponseSpec(bytes, description="The file.", media_type="*/*", generate_examples=False),
        **error_responses(400, 401, 404),
    },
    summary="Download a file with its prompt, model and settings",
)
async def download(
    request: ApiRequest,
    id: FromPath[str],
    downloads: NamedDependency[Downloads],
    metadata: FromQuery[Literal["all", "none"]] = "all",
) -> Response[Any] | Stream:
    """PNG, JPEG, WebP and MP4 files hold prompt, model, seed and settings as XMP, PNG files also as text and MP4 files as tags;
    `metadata=none` is the file without any metadata. The image or video itself is not changed. Supports range requests."""
    return await respond(request, await downloads.prepare(request.user.id, id, metadata=metadata == "all"))


async def respond(request: ApiRequest, found: DownloadFile) -> Response[Any] | Stream:
    """The file as an attachment."""
    return await file_response(
        request, found.path, mime=found.asset.mime, name=found.name, attachment=True, parts=found.parts
    )


routes = [Router("/api/v1", route_handlers=[download], guards=[signed_in], security=BEARER, tags=["Assets"])]
