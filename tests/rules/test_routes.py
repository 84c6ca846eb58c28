"""Architecture rules 5 and 8: every route has a guard or is on a short public list, and the documented tables equal the program."""

import re
from pathlib import Path

import pytest
from litestar import Litestar

from app.accounts.guards import admin, signed_in
from app.asgi import litestar_app
from app.base.config import SETTINGS
from tests.rules.reference import PATH, guards, reference, routes
from tests.rules.source import ROOT

# Routes that anyone may use, each with its reason.
PUBLIC = {
    "GET /health": "for monitoring; shows whether the server works and nothing else",
    "GET /api/v1/openapi.json": "describes the API, without data of any user",
    "GET /api/v1": "the same document, where a client looks first",
    "GET /api/docs": "the same as a page",
    "POST /api/v1/auth/register": "creates the account",
    "POST /api/v1/auth/login": "signs in",
    "POST /api/v1/auth/refresh": "the refresh token authenticates",
    "POST /api/v1/auth/logout": "the refresh token authenticates",
    "GET /login": "signs in",
    "POST /login": "signs in",
    "GET /register": "creates the account",
    "POST /register": "creates the account",
    "POST /logout": "signs out the caller and no one else",
    "POST /theme": "sets a cookie about colors",
    "POST /webhooks/{provider:str}/{token:str}": "the address authenticates, and the signature where there is one",
    "GET /static/{file_path:path}": "the files of the pages",
    "HEAD /static/{file_path:path}": "the files of the pages",
}


@pytest.fixture
def app() -> Litestar:
    return litestar_app()


async def test_every_route_has_a_guard_or_is_on_the_public_list(app: Litestar) -> None:
    unguarded = {name for name, handler in routes(app) if not {signed_in, admin} & guards(handler)}
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


def test_the_settings_in_the_readme_equal_those_of_the_program() -> None:
    documented = {row[0].strip("`| "): row[1].strip("` ") for row in _table("Settings")}
    assert documented == {setting.name: setting.default or "" for setting in SETTINGS}


async def test_the_reference_lists_every_route_and_error_code_of_the_program(app: Litestar) -> None:
    assert PATH.read_text("utf-8") == reference(app), "run: python -m tests.rules.reference"


def test_the_top_level_holds_what_the_owner_wants_there_and_nothing_else() -> None:
    visible = {path.name for path in Path(ROOT).iterdir() if not path.name.startswith((".", "__"))}
    allowed = {"app", "templates", "static", "migrations", "tests", "pyproject.toml", "Dockerfile", "README.md"}
    assert visible - {"data", "atelier.egg-info"} == allowed | {"requirements.lock", "LICENSE"}
