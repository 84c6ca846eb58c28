"""Whether the program is well, for whoever watches it."""

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency

from app.home.service import Home
from app.web.openapi import refusals


class Health(msgspec.Struct):
    """`ok`; an answer that is not well says 503 and no more."""

    status: str


@get("/health", responses=refusals(), summary="Whether the program is well", tags=["Health"])
async def health(request: Request[None, None, State], home: NamedDependency[Home]) -> Response[Health]:
    """Public, and without details: 503 when the database or a loop is dead."""
    loops_alive: bool = request.app.state.background.alive
    well = loops_alive and await home.well()
    return Response(Health("ok" if well else "failing"), status_code=200 if well else 503)


routes = [health]
