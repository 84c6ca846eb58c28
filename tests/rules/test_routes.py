"""Laws 5 and 8: every route is guarded or on a short public list, and the README's tables equal the program."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar

from app.accounts.guards import admin, signed_in
from app.base.config import SETTINGS
from app.main import build
from app.web.errors import CODES
from tests.rules.source import ROOT
from tests.studio import Studio

PUBLIC = {
    "GET /health": "whoever watches the machine; says no more than whether it is well",
    "GET /api/v1/openapi.json": "what the API is, without anybody's data",
    "GET /api/v1": "the same document, where a program looks first",
    "GET /api/docs": "the same for people",
    "POST /api/v1/auth/register": "how one becomes somebody",
    "POST /api/v1/auth/login": "how one says who one is",
    "POST /api/v1/auth/refresh": "the refresh token itself is the proof",
    "POST /api/v1/auth/logout": "the refresh token itself is the proof",
    "GET /login": "how one says who one is",
    "POST /login": "how one says who one is",
    "GET /register": "how one becomes somebody",
    "POST /register": "how one becomes somebody",
    "POST /logout": "signs out whoever asks, and nobody else",
    "POST /theme": "a cookie about colours",
    "POST /webhooks/{provider:str}/{token:str}": "the address itself is the proof, and the signature where there is one",
    "GET /static/{file_path:path}": "the pages' own files",
    "HEAD /static/{file_path:path}": "the pages' own files",
}


@pytest.fixture
def app(studio: Studio) -> Litestar:
    built = build(studio.program)
    inner = built._app._app._app  # type: ignore[attr-defined]
    assert isinstance(inner, Litestar)
    return inner


def _routes(app: Litestar) -> Iterator[tuple[str, Any]]:
    """Method and path as in `GET /jobs/{id:str}`, with the handler; OPTIONS is Litestar's own."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            for method in handler.http_methods:
                if method != "OPTIONS":
                    yield f"{method} {route.path}", handler


def _guards(handler: Any) -> set[Any]:
    """The guards as they were written; Litestar wraps plain functions."""
    return {getattr(guard, "func", guard) for guard in handler.resolve_guards()}


async def test_every_route_names_its_guard_or_stands_on_the_public_list(app: Litestar) -> None:
    unguarded = {name for name, handler in _routes(app) if not {signed_in, admin} & _guards(handler)}
    assert unguarded == set(PUBLIC)


def _table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of the README."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = re.split(rf"^#+ {re.escape(heading)}$", text, flags=re.M)[1]
    rows = []
    for line in section.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif rows:
            break
    return rows[2:]


def test_the_readmes_settings_equal_the_programs() -> None:
    documented = {row[0].strip("`| "): row[1].strip("` ") for row in _table("Settings")}
    assert documented == {setting.name: setting.default or "" for setting in SETTINGS}


def test_the_readmes_error_codes_equal_the_programs() -> None:
    documented = {row[0].strip("`| "): int(row[1].strip("| ")) for row in _table("Error codes")}
    assert documented == CODES


async def test_the_readmes_routes_equal_the_programs(app: Litestar) -> None:
    documented = {
        f"{method} {path}"
        for row in _table("Routes")
        for methods, path in [row[0].strip("| ").replace("`", "").split(" ", 1)]
        for method in methods.split(",")
    }
    served = {re.sub(r"\{(\w+):\w+\}", r"{\1}", name) for name, _ in _routes(app)}
    assert documented == served


def test_the_top_level_is_the_owners() -> None:
    visible = {path.name for path in Path(ROOT).iterdir() if not path.name.startswith((".", "__"))}
    allowed = {"app", "templates", "static", "migrations", "tests", "pyproject.toml", "Dockerfile", "README.md"}
    assert visible - {"data", "atelier.egg-info"} == allowed | {"requirements.lock", "LICENSE"}
