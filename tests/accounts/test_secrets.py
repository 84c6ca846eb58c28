"""Passwords, tokens and keys never appear in logs, reprs or errors."""

import inspect
import json
from collections.abc import Callable, Iterator

import msgspec
import pytest
import structlog

from app.accounts import api, schemas
from app.accounts.repository import credentials_by_email
from app.base import logging
from tests.kit import Cases

from .studio import PASSWORD, Studio


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Returns the log output, in the format for a stderr that is not a terminal."""
    before = structlog.get_config()
    logging.start(human=False)
    yield lambda: capsys.readouterr().err
    structlog.configure(**before)


async def test_no_log_line_from_registration_to_sign_out_holds_a_secret(
    studio: Studio, logged: Callable[[], str]
) -> None:
    await studio.register()
    tokens = await studio.login()
    key = await studio.key(tokens["access_token"])
    await studio.status(key)
    await studio.status(tokens["refresh_token"])
    await studio.call("POST", "/auth/login", {"email": "ada@example.org", "password": "wrong password"})
    await studio.call("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    browser = studio.browser()
    await browser.post("/login", data={"email": "ada@example.org", "password": PASSWORD})
    cookie = browser.cookies[f"{studio.cookie_prefix}session"]
    lines = logged()
    assert '"path":"/api/v1/auth/login"' in lines
    for secret in (PASSWORD, "wrong password", tokens["access_token"], tokens["refresh_token"], key, cookie):
        assert secret not in lines


async def test_a_bug_during_a_sign_in_reveals_no_secret(
    studio: Studio, logged: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("broken")

    await studio.register()
    monkeypatch.setattr(studio.passwords, "verify", broken)
    answer = await studio.call("POST", "/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    assert answer.status_code == 500
    lines = logged()
    assert "RuntimeError: broken" in lines
    assert PASSWORD not in lines + answer.text


def structs(module: object) -> list[type[msgspec.Struct]]:
    return [item for _, item in inspect.getmembers(module, inspect.isclass) if issubclass(item, msgspec.Struct)]


SECRETS = {"password", "current_password", "access_token", "refresh_token", "key", "secret", "token"}


def test_a_struct_that_holds_a_secret_does_not_show_it() -> None:
    holders = [
        struct
        for struct in dict.fromkeys([*structs(api), *structs(schemas)])
        if any(field.name in SECRETS for field in msgspec.structs.fields(struct))
    ]
    assert {schemas.NewApiKey, schemas.Tokens, api.Login, api.Registration} <= set(holders)
    with Cases() as cases:
        for struct in holders:
            with cases.case(struct.__name__):
                assert issubclass(struct, schemas.Redacted)
                shown = struct(**{field.name: "hunter2" for field in msgspec.structs.fields(struct)})
                assert "hunter2" not in repr(shown)
                assert "hunter2" not in str([shown])


async def test_the_repr_of_a_user_who_signs_in_does_not_show_the_hash(studio: Studio) -> None:
    await studio.register()
    user = await studio.database.read(credentials_by_email, "ada@example.org")
    assert user is not None
    assert "argon2" in str(user.password_hash)
    assert "argon2" not in repr(user)


async def test_no_answer_about_a_user_holds_the_hash(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    for path in ("/users/me", "/users", "/users/me/keys", "/users/me/sessions"):
        answer = await studio.call("GET", path, bearer=bearer)
        assert "hash" not in json.dumps(answer.json())
        assert "argon2" not in answer.text
