"""No password, token or key is ever shown: not in a log, not in a repr, not in an error."""

import inspect
import io
import json
import sys
from collections.abc import Callable, Iterator

import msgspec
import pytest
import structlog

from app.accounts import api, schemas
from app.accounts.repository import person_signing_in
from app.base import log

from .studio import PASSWORD, Studio


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """What the program logs, as it logs when nobody watches."""
    lines, before = io.StringIO(), structlog.get_config()
    monkeypatch.setattr(sys, "stderr", lines)
    log.start(human=False)
    yield lines.getvalue
    structlog.configure(**before)


async def test_no_log_line_of_a_whole_visit_holds_a_secret(studio: Studio, written: Callable[[], str]) -> None:
    await studio.register()
    tokens = await studio.login()
    key = await studio.key(tokens["access_token"])
    await studio.status(key)
    await studio.status(tokens["refresh_token"])
    await studio.call("POST", "/auth/login", {"email": "ada@example.org", "password": "wrong password"})
    await studio.call("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    browser = studio.browser()
    await browser.post("/login", data={"email": "ada@example.org", "password": PASSWORD})
    cookie = browser.cookies["session"]
    lines = written()
    assert '"path":"/api/v1/auth/login"' in lines
    for secret in (PASSWORD, "wrong password", tokens["access_token"], tokens["refresh_token"], key, cookie):
        assert secret not in lines


async def test_a_bug_in_the_middle_of_a_sign_in_shows_no_secret(
    studio: Studio, written: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("broken")

    await studio.register()
    monkeypatch.setattr(studio.accounts, "_open", broken)
    answer = await studio.call("POST", "/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    assert answer.status_code == 500
    lines = written()
    assert "RuntimeError: broken" in lines
    assert PASSWORD not in lines + answer.text


def structs(module: object) -> list[type[msgspec.Struct]]:
    return [item for _, item in inspect.getmembers(module, inspect.isclass) if issubclass(item, msgspec.Struct)]


SECRETS = {"password", "current_password", "access_token", "refresh_token", "key", "secret", "token"}


@pytest.mark.parametrize(
    "struct",
    [
        struct
        for struct in dict.fromkeys([*structs(api), *structs(schemas)])
        if any(field.name in SECRETS for field in msgspec.structs.fields(struct))
    ],
    ids=lambda struct: str(struct.__name__),
)
def test_a_shape_that_holds_a_secret_shows_nothing_of_itself(struct: type[msgspec.Struct]) -> None:
    assert issubclass(struct, schemas.Silent)
    shown = struct(**{field.name: "hunter2" for field in msgspec.structs.fields(struct)})
    assert "hunter2" not in repr(shown)
    assert "hunter2" not in str([shown])


async def test_a_person_read_for_signing_in_does_not_show_the_hash(studio: Studio) -> None:
    await studio.register()
    person = await studio.database.read(person_signing_in, "ada@example.org")
    assert person is not None
    assert "argon2" in str(person.password_hash)
    assert "argon2" not in repr(person)


async def test_no_answer_about_a_person_holds_the_hash(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    for path in ("/users/me", "/users", "/users/me/keys", "/users/me/sessions"):
        answer = await studio.call("GET", path, bearer=bearer)
        assert "hash" not in json.dumps(answer.json())
        assert "argon2" not in answer.text
