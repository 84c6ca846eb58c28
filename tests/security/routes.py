"""Every route of the program, read from the program itself, so that a new one cannot be forgotten."""

import re
from functools import cache
from typing import Any, NamedTuple

from app.asgi import litestar_app
from app.web.paths import rule_for
from tests.kit import UNKNOWN_ID

SAFE_METHODS = ("GET", "HEAD")
# Values of path parameters that are no ids.
VALUES = {"kind": "image", "file_path": "css/base.css"}


class Route(NamedTuple):
    """`path` is a template, as in `/jobs/{id}`."""

    method: str
    path: str
    handler: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def in_api(self) -> bool:
        return rule_for(self.path).is_api

    @property
    def changes(self) -> bool:
        return self.method not in SAFE_METHODS

    @property
    def guarded(self) -> bool:
        return bool(self.handler.resolve_guards())

    def at(self, **values: str) -> str:
        """A path of this route: `values` are for its parameters, and those without one get an id that does not exist."""
        known = {**VALUES, **values}
        return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], UNKNOWN_ID), self.path)


@cache
def routes() -> list[Route]:
    """All routes without OPTIONS, which Litestar adds."""
    return [
        Route(str(method), re.sub(r":\w+\}", "}", route.path), handler)
        for route in litestar_app().routes
        for handler in getattr(route, "route_handlers", [])
        for method in handler.http_methods
        if method != "OPTIONS"
    ]


def changing_page_routes() -> list[Route]:
    """The routes by which a browser with a session cookie changes something."""
    return [route for route in routes() if route.changes and not route.in_api]
