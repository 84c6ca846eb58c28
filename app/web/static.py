"""Serves static files. Browsers may cache them for a year, because their URLs contain a content hash."""

from typing import Any, Final

from litestar import Request, Router
from litestar.datastructures import CacheControlHeader, State
from litestar.static_files import create_static_files_router

from app.base.errors import Missing
from app.web.render import STATIC

YEAR: Final = 31_536_000  # seconds
MAX_PATH: Final = 200  # characters; no static file has a longer path


async def _check_path(request: Request[Any, Any, State]) -> None:
    """Answer 404 for paths that the file system would reject with an error."""
    path: str = request.path_params["file_path"]
    if len(path) > MAX_PATH or not path.isprintable():
        raise Missing("There is nothing at this address.")


def static_files() -> Router:
    return create_static_files_router(
        path="/static",
        directories=[STATIC],
        include_in_schema=False,
        before_request=_check_path,
        opt={"limit": "none"},
        cache_control=CacheControlHeader(public=True, max_age=YEAR, immutable=True),
    )
