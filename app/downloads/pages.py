"""Page route of downloads."""

from typing import Any, Literal

from litestar import HttpMethod, Request, Response, route
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from app.accounts.guards import signed_in
from app.downloads.api import respond
from app.downloads.service import Downloads


@route(
    "/media/{id:str}/download",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    guards=[signed_in],
    include_in_schema=False,
)
async def download(
    request: Request[Any, Any, State],
    id: FromPath[str],
    downloads: NamedDependency[Downloads],
    metadata: FromQuery[Literal["all", "none"]] = "all",
) -> Response[Any] | Stream:
    """The file with its settings inside, or with `metadata=none` without any metadata."""
    return await respond(request, await downloads.prepare(request.user.id, id, metadata=metadata == "all"))


routes = [download]
