"""The pages' own files, which browsers may keep for a year because their addresses change with their content."""

from typing import Any, Final

from litestar import Request, Router
from litestar.datastructures import CacheControlHeader, State
from litestar.static_files import create_static_files_router

from app.base.errors import Missing
from app.web.render import STATIC

YEAR: Final = 31_536_000  # seconds
LONGEST: Final = 200  # characters; no file of ours has a longer path


async def _possible(request: Request[Any, Any, State]) -> None:
    """A path that no file system takes is nobody's file, and no bug."""
    path: str = request.path_params["file_path"]
    if len(path) > LONGEST or not path.isprintable():
        raise Missing("There is nothing at this address.")


def static_files() -> Router:
    return create_static_files_router(
        path="/static",
        directories=[STATIC],
        include_in_schema=False,
        before_request=_possible,
        cache_control=CacheControlHeader(public=True, max_age=YEAR, immutable=True),
    )
