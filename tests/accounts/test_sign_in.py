"""Signing in and out, access tokens, and which routes accept which credential."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from app.accounts.passwords import Passwords
from app.base import config
from tests.kit import Cases

from .studio import PASSWORD, SECRET, RecordingPasswords, Start, Studio, error_code


async def test_signing_in_returns_the_tokens_that_the_contract_names(studio: Studio) -> None:
    await studio.register()
    tokens = await studio.login(" ADA@example.org ")
    assert tokens == {
        "access_token": tokens["access_token"],
        "refresh_token": tokens["refresh_token"],
        "token_type": "bearer",
        "expires_in": 900,
    }


async def test_the_last_sign_in_is_shown(studio: Studio) -> None:
    await studio.register()
    studio.clock.advance(hours=1)
    user = (await studio.call("GET", "/users/me", bearer=await studio.bearer())).json()
    assert user["last_login_at"] == "2026-11-20T10:30:00.000Z"


async def test_a_wrong_password_and_an_unknown_email_get_the_same_answer(studio: Studio) -> None:
    await studio.register()
    wrong = await studio.call("POST", "/auth/login", {"email": "ada@example.org", "password": "wrong password"})
    unknown = await studio.call("POST", "/auth/login", {"email": "eve@example.org", "password": PASSWORD})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


async def test_every_wrong_sign_in_costs_one_password_check(studio: Studio) -> None:
    await studio.register()
    attempts = [
        ("ada@example.org", "wrong password"),
        ("eve@example.org", PASSWORD),
        ("ada@example.org", "x" * 129),
        ("eve@example.org", "x" * 60_000),
        ("", ""),
        ("x" * 60_000, PASSWORD),
    ]
    with Cases() as cases:
        for email, password in attempts:
            with cases.case(email, password):
                studio.passwords.compared.clear()
                answer = await studio.call("POST", "/auth/login", {"email": email, "password": password})
                assert answer.status_code == 401
                assert len(studio.passwords.compared) == 1
                assert studio.passwords.compared[0] <= 128


def test_the_password_check_for_an_unknown_email_costs_the_same_as_any_other() -> None:
    """With the default parameters, which no other test uses."""
    settings = config.load({})
    passwords = Passwords(memory_kib=settings.password_memory_kib, passes=settings.password_passes)
    assert passwords.dummy_hash.rpartition("$")[0].rpartition("$")[0] == "$argon2id$v=19$m=19456,t=2,p=1"
    assert not passwords.outdated(passwords.dummy_hash)
    passwords.close()


async def test_a_stored_hash_has_the_parameters_of_the_settings(studio: Studio) -> None:
    """The only test that hashes with the default parameters."""
    settings = config.load({})
    passwords = Passwords(memory_kib=settings.password_memory_kib, passes=settings.password_passes)
    hashed = await passwords.hash(PASSWORD)
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify(hashed, PASSWORD)
    assert not await passwords.verify(hashed, "wrong password")
    passwords.close()


async def test_no_password_matches_the_hash_that_stands_in_for_an_unknown_email(studio: Studio) -> None:
    for password in ("", PASSWORD):
        assert not await studio.passwords.verify(None, password)
        assert not await studio.passwords.verify(studio.passwords.dummy_hash, password)


async def test_passwords_are_compared_in_unicode_normal_form(studio: Studio) -> None:
    await studio.register(password="caf\u00e9 au lait")
    assert await studio.login(password="cafe\u0301 au lait")


async def test_a_hash_with_older_parameters_is_renewed_at_the_next_sign_in(studio: Studio) -> None:
    studio.restart(RecordingPasswords(memory_kib=64, passes=2))
    await studio.register()
    studio.restart(RecordingPasswords(memory_kib=128, passes=1))
    await studio.login()
    stored = await studio.database.read(lambda tx: tx.value("users", "select password_hash from users"))
    assert "m=128,t=1" in stored
    assert await studio.login()


async def test_parallel_sign_ins_that_renew_the_hash_all_succeed(studio: Studio) -> None:
    studio.restart(RecordingPasswords(memory_kib=64, passes=2))
    await studio.register()
    studio.restart(RecordingPasswords(memory_kib=128, passes=1))
    assert len(await asyncio.gather(*(studio.login() for _ in range(8)))) == 8


async def test_hashing_uses_two_threads_and_never_the_event_loop() -> None:
    passwords = RecordingPasswords()
    await asyncio.gather(*(passwords.verify(None, "x") for _ in range(50)))
    assert {name.partition("_")[0] for name in passwords.threads} == {"password"}
    assert 1 <= len(passwords.threads) <= 2
    passwords.close()


class BlockedPasswords(RecordingPasswords):
    """Comparisons block their threads until `released` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def matches(self, password_hash: str, password: str) -> bool:
        assert self.released.wait(300)
        return super().matches(password_hash, password)


async def test_requests_are_served_while_many_sign_ins_wait_for_the_password_threads(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    held = BlockedPasswords()
    studio.restart(held)
    crowd = asyncio.gather(*(studio.login() for _ in range(30)))
    try:
        for _ in range(100):
            assert await studio.status(bearer) == 200
        assert not crowd.done()
        assert held.compared == []
    finally:
        held.released.set()
    assert len(await crowd) == 30
    assert len(held.compared) == 30


async def test_a_deactivated_user_cannot_sign_in_and_learns_why_only_with_the_right_password(studio: Studio) -> None:
    await studio.register()
    bob = await studio.register("bob@example.org")
    await studio.call("PUT", f"/users/{bob['id']}/active", {"is_active": False}, bearer=await studio.bearer())
    right = await studio.call("POST", "/auth/login", {"email": "bob@example.org", "password": PASSWORD})
    wrong = await studio.call("POST", "/auth/login", {"email": "bob@example.org", "password": "wrong password"})
    assert (right.status_code, error_code(right)) == (403, "FORBIDDEN")
    assert (wrong.status_code, error_code(wrong)) == (401, "AUTHENTICATION_ERROR")


@asynccontextmanager
async def paused_sign_in(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Bob's sign-in, paused after his password was verified. Yields a function that resumes it and returns the status."""
    verify = studio.passwords.verify
    checked, resumed = asyncio.Event(), asyncio.Event()

    async def paused(password_hash: str | None, password: str) -> bool:
        matches = await verify(password_hash, password)
        checked.set()
        await resumed.wait()
        return matches

    async def resume() -> int:
        resumed.set()
        return (await sign_in).status_code

    monkeypatch.setattr(studio.passwords, "verify", paused)
    sign_in = asyncio.create_task(
        studio.call("POST", "/auth/login", {"email": "bob@example.org", "password": PASSWORD})
    )
    await checked.wait()
    monkeypatch.setattr(studio.passwords, "verify", verify)
    yield resume


async def test_a_sign_in_whose_password_changes_after_the_check_is_refused(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    await studio.register("ada@example.org")
    await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    async with paused_sign_in(studio, monkeypatch) as resume:
        body = {"password": "another password", "current_password": PASSWORD}
        assert (await studio.call("PUT", "/users/me", body, bearer=bearer)).status_code == 200
        assert await resume() == 401
    assert (await studio.call("GET", "/users/me/sessions", bearer=bearer)).json()["total"] == 1


async def test_a_sign_in_whose_user_is_deactivated_after_the_check_is_refused(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    await studio.register("ada@example.org")
    bob = await studio.register("bob@example.org")
    async with paused_sign_in(studio, monkeypatch) as resume:
        await studio.accounts.users.set_active(bob["id"], False)
        assert await resume() == 401
    assert (await studio.accounts.sessions.newest(bob["id"])).total == 0


async def test_a_password_can_be_tried_ten_times_a_minute_for_each_account(start: Start) -> None:
    studio = await start(ATELIER_RATE_LIMITS="on")
    await studio.register()
    body = {"email": "Ada@example.org", "password": "wrong password"}
    assert {(await studio.call("POST", "/auth/login", body)).status_code for _ in range(10)} == {401}
    answer = await studio.call("POST", "/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    assert (answer.status_code, error_code(answer)) == (429, "RATE_LIMITED")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    other = await studio.call("POST", "/auth/login", {"email": "bob@example.org", "password": PASSWORD})
    assert other.status_code == 401


# The access token


async def test_an_access_token_is_valid_for_15_minutes(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    studio.clock.advance(minutes=14, seconds=59)
    assert await studio.status(bearer) == 200
    studio.clock.advance(seconds=1)
    answer = await studio.call("GET", "/users/me", bearer=bearer)
    assert answer.status_code == 401
    assert answer.json()["error"] == {
        "code": "AUTHENTICATION_ERROR",
        "message": "The access token has expired.",
        "details": {},
    }
    assert answer.headers["WWW-Authenticate"] == "Bearer"


KEY = OctKey.import_key(SECRET)


async def test_an_access_token_names_the_user_and_never_a_role(studio: Studio) -> None:
    user = await studio.register()
    claims = jwt.decode(await studio.bearer(), KEY).claims
    assert claims["sub"] == user["id"]
    assert set(claims) == {"sub", "sid", "iat", "exp", "typ"}
    assert claims["exp"] - claims["iat"] == 900


async def test_an_access_token_that_was_not_signed_by_the_application_is_refused(studio: Studio) -> None:
    await studio.register()
    bob = await studio.register("bob@example.org")
    genuine = jwt.decode(await studio.bearer(), KEY).claims
    other, longer = OctKey.import_key("another secret for signing that is long enough"), OctKey.import_key(SECRET * 2)

    def signed(algorithm: str = "HS256", key: OctKey = KEY, **changes: Any) -> str:
        return jwt.encode({"alg": algorithm}, {**genuine, **changes}, key, [algorithm])

    assert await studio.status(signed()) == 200
    forgeries = {
        "with another key": signed(key=other),
        "with HS384": signed("HS384", longer),
        "with HS512": signed("HS512", longer),
        "another type": signed(typ="refresh"),
        "an expiry that is no number": signed(exp="never"),
        "no session": signed(sid=None),
        "a user that is no text": signed(sub=1),
        "another user than the session's": signed(sub=bob["id"]),
    }
    with Cases() as cases:
        for name, token in forgeries.items():
            with cases.case(name):
                assert await studio.status(token) == 401


async def test_an_invalid_bearer_is_refused_with_a_reason(studio: Studio) -> None:
    bearers = [
        "x",
        "a.b.c",
        "eyJhbGciOiJub25lIn0.e30.",
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiIxIn0.",
        "x" * 8000,
        "atl_",
        "atl_unknown",
        "\u00e9.\u00e9.\u00e9",
    ]
    with Cases() as cases:
        for bearer in bearers:
            with cases.case(bearer):
                headers = [(b"authorization", b"Bearer " + bearer.encode())]
                answer = await studio.client.get("/api/v1/users/me", headers=headers)
                assert (answer.status_code, error_code(answer)) == (401, "AUTHENTICATION_ERROR")
                assert answer.json()["error"]["message"].endswith("is not valid.")


async def test_other_kinds_of_authorization_are_refused(studio: Studio) -> None:
    for header in ("Basic YWRhOnB3", "Bearer", "Bearer  ", "", "Token x"):
        answer = await studio.client.get("/api/v1/users/me", headers={"Authorization": header})
        assert answer.status_code == 401, header


async def test_an_invalid_bearer_is_ignored_where_none_is_needed(studio: Studio) -> None:
    await studio.register()
    answer = await studio.client.post(
        "/api/v1/auth/login",
        json={"email": "ada@example.org", "password": PASSWORD},
        headers={"Authorization": "Bearer atl_gone"},
    )
    assert answer.status_code == 200


# Where each credential is accepted


async def test_the_api_never_accepts_a_cookie(studio: Studio) -> None:
    await studio.register()
    browser = await studio.sign_in_browser()
    assert (await browser.get("/api/v1/users/me")).status_code == 401
    assert (await browser.get("/v1/models")).status_code == 401
    assert (await browser.get("/metrics")).status_code == 401
    assert (await browser.get("//api/v1/users/me")).status_code in (401, 404)


async def test_pages_never_accept_a_bearer(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    answer = await studio.client.get("/who", headers={"Authorization": f"Bearer {bearer}"})
    assert answer.json() == {"email": None, "method": None}


async def test_media_accept_a_cookie_or_a_bearer(studio: Studio) -> None:
    await studio.register()
    browser = await studio.sign_in_browser()
    bearer = {"Authorization": f"Bearer {await studio.bearer()}"}
    assert (await browser.get("/media/image")).status_code == 200
    assert (await studio.client.get("/media/image", headers=bearer)).status_code == 200
    assert (await studio.client.get("/media/image")).status_code == 303


async def test_openai_paths_and_metrics_accept_a_bearer(studio: Studio) -> None:
    await studio.register()
    key = await studio.key(await studio.bearer())
    headers = {"Authorization": f"bearer {key}"}
    assert (await studio.client.get("/v1/models", headers=headers)).status_code == 200
    assert (await studio.client.get("/metrics", headers=headers)).status_code == 200


async def test_a_request_knows_its_user_and_the_kind_of_credential(studio: Studio) -> None:
    await studio.register()
    browser = await studio.sign_in_browser()
    assert (await browser.get("/who")).json() == {"email": "ada@example.org", "method": "session"}
