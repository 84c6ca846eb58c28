"""Every door of the program, asked of the program itself, so that a new one cannot be forgotten."""

import re
from typing import Any, NamedTuple

import msgspec
from litestar import Litestar

from app.base.metrics import Metrics
from app.main import build
from app.web.errors import for_programs
from tests.api.kit import INVENTED
from tests.studio import Studio

SAFE = ("GET", "HEAD")
# What a parameter of a path stands for where an id would be nonsense.
USUAL = {"kind": "image", "file_path": "css/base.css"}


class Door(NamedTuple):
    """`path` is a template, as in `/jobs/{id}`."""

    method: str
    path: str
    handler: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def for_programs(self) -> bool:
        return for_programs(self.path)

    @property
    def changes(self) -> bool:
        return self.method not in SAFE

    def at(self, **known: str) -> str:
        """A path through this door: `known` are the parameters that name something, all others are invented."""
        values = {**USUAL, **known}
        return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], INVENTED), self.path)


def program(studio: Studio) -> Litestar:
    """The same program once more, to look at and not to run."""
    twin = msgspec.structs.replace(studio.program, metrics=Metrics())
    inner = build(twin)._app._app._app  # type: ignore[attr-defined]
    assert isinstance(inner, Litestar)
    return inner


def doors(studio: Studio) -> list[Door]:
    """All of them but OPTIONS, which is Litestar's own."""
    return [
        Door(str(method), re.sub(r":\w+\}", "}", route.path), handler)
        for route in program(studio).routes
        for handler in getattr(route, "route_handlers", [])
        for method in handler.http_methods
        if method != "OPTIONS"
    ]


def changing_pages(studio: Studio) -> list[Door]:
    """What a browser that is signed in by cookie can change."""
    return [door for door in doors(studio) if door.changes and not door.for_programs]
