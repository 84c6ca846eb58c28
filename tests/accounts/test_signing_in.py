"""Signing in and out, and what a bearer is good for."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from app.accounts.passwords import Passwords

from .studio import PASSWORD, Start, Studio, why


async def test_signing_in_answers_as_the_contract_says(studio: Studio) -> None:
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
    studio.clock.pass_by(hours=1)
    user = (await studio.call("GET", "/users/me", bearer=await studio.bearer())).json()
    assert user["last_login_at"] == "2026-11-20T10:30:00.000Z"


async def test_a_wrong_password_and_an_unknown_email_have_one_answer(studio: Studio) -> None:
    await studio.register()
    wrong = await studio.call("POST", "/auth/login", {"email": "ada@example.org", "password": "wrong password"})
    unknown = await studio.call("POST", "/auth/login", {"email": "eve@example.org", "password": PASSWORD})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ada@example.org", "wrong password"),
        ("eve@example.org", PASSWORD),
        ("ada@example.org", "x" * 129),
        ("eve@example.org", "x" * 60_000),
        ("", ""),
        ("x" * 60_000, PASSWORD),
    ],
)
async def test_every_wrong_sign_in_costs_one_check_of_a_password(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, email: str, password: str
) -> None:
    await studio.register()
    checked: list[int] = []
    passwords = studio.accounts._passwords
    matches = passwords._matches

    def counted(known: str, given: str) -> bool:
        checked.append(len(given))
        return matches(known, given)

    monkeypatch.setattr(passwords, "_matches", counted)
    answer = await studio.call("POST", "/auth/login", {"email": email, "password": password})
    assert answer.status_code == 401
    assert len(checked) == 1
    assert checked[0] <= 128


async def test_the_check_of_nobodys_password_costs_what_somebodys_does() -> None:
    passwords = Passwords(memory_kib=19456, passes=2)
    assert passwords._nobodys.rpartition("$")[0].rpartition("$")[0] == "$argon2id$v=19$m=19456,t=2,p=1"
    assert not passwords.outdated(passwords._nobodys)
    passwords.close()


async def test_nobody_signs_in_with_the_password_of_nobody(studio: Studio) -> None:
    """The hash that stands in for an unknown email can never let anybody in."""
    assert not await studio.accounts._passwords.verify(None, "")


async def test_a_password_is_the_same_however_its_letters_are_composed(studio: Studio) -> None:
    await studio.register(password="caf\u00e9 au lait")
    assert await studio.login(password="cafe\u0301 au lait")


async def test_a_hash_made_with_older_parameters_is_renewed_at_the_next_sign_in(start: Start) -> None:
    studio = await start(passwords=Passwords(memory_kib=64, passes=2))
    await studio.register()
    studio.accounts._passwords.close()
    studio.accounts._passwords = Passwords(memory_kib=128, passes=1)
    await studio.login()
    known = await studio.database.read(lambda tx: tx.value("select password_hash from users"))
    assert "m=128,t=1" in known
    assert await studio.login()


async def test_parallel_sign_ins_that_renew_the_hash_all_succeed(start: Start) -> None:
    studio = await start(passwords=Passwords(memory_kib=64, passes=2))
    await studio.register()
    studio.accounts._passwords.close()
    studio.accounts._passwords = Passwords(memory_kib=128, passes=1)
    assert len(await asyncio.gather(*(studio.login() for _ in range(8)))) == 8


async def test_hashing_happens_in_two_threads_and_never_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(memory_kib=1024, passes=2)
    threads: set[str] = set()
    matches = passwords._matches

    def seen(known: str, given: str) -> bool:
        threads.add(threading.current_thread().name)
        return matches(known, given)

    monkeypatch.setattr(passwords, "_matches", seen)
    await asyncio.gather(*(passwords.verify(None, "x") for _ in range(50)))
    assert {name.partition("_")[0] for name in threads} == {"password"}
    assert len(threads) <= 2
    passwords.close()


async def test_requests_go_on_while_a_crowd_signs_in(start: Start) -> None:
    studio = await start(passwords=Passwords(memory_kib=19456, passes=2))
    await studio.register()
    bearer = await studio.bearer()
    crowd = asyncio.gather(*(studio.login() for _ in range(30)))
    answered = 0
    while not crowd.done():
        assert await studio.status(bearer) == 200
        answered += 1
        await asyncio.sleep(0)
    await crowd
    assert answered > 30


async def test_a_deactivated_person_cannot_sign_in_and_is_told_so_only_with_the_right_password(studio: Studio) -> None:
    await studio.register()
    bob = await studio.register("bob@example.org")
    await studio.call("PUT", f"/users/{bob['id']}/active", {"is_active": False}, bearer=await studio.bearer())
    right = await studio.call("POST", "/auth/login", {"email": "bob@example.org", "password": PASSWORD})
    wrong = await studio.call("POST", "/auth/login", {"email": "bob@example.org", "password": "wrong password"})
    assert (right.status_code, why(right)) == (403, "FORBIDDEN")
    assert (wrong.status_code, why(wrong)) == (401, "AUTHENTICATION_ERROR")


@asynccontextmanager
async def late_sign_in(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Bob's sign-in, held up after his password was found right; the status it ends with when it is let go on."""
    passwords = studio.accounts._passwords
    verify = passwords.verify
    checked, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow(known: str | None, given: str) -> bool:
        right = await verify(known, given)
        checked.set()
        await may_go_on.wait()
        return right

    async def let_go_on() -> int:
        may_go_on.set()
        return (await late).status_code

    monkeypatch.setattr(passwords, "verify", slow)
    late = asyncio.create_task(studio.call("POST", "/auth/login", {"email": "bob@example.org", "password": PASSWORD}))
    await checked.wait()
    monkeypatch.setattr(passwords, "verify", verify)
    yield let_go_on


async def test_a_sign_in_that_was_checked_before_the_password_changed_is_void(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    await studio.register("ada@example.org")
    await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    async with late_sign_in(studio, monkeypatch) as let_go_on:
        body = {"password": "another password", "current_password": PASSWORD}
        assert (await studio.call("PUT", "/users/me", body, bearer=bearer)).status_code == 200
        assert await let_go_on() == 401
    assert (await studio.call("GET", "/users/me/sessions", bearer=bearer)).json()["total"] == 1


async def test_a_sign_in_that_was_checked_before_the_person_was_deactivated_is_void(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    await studio.register("ada@example.org")
    bob = await studio.register("bob@example.org")
    async with late_sign_in(studio, monkeypatch) as let_go_on:
        await studio.accounts.set_active(bob["id"], False)
        assert await let_go_on() == 401
    assert (await studio.accounts.sessions(bob["id"])).total == 0


async def test_an_account_is_tried_ten_times_a_minute_and_no_more(start: Start) -> None:
    studio = await start(ATELIER_RATE_LIMITS="on")
    await studio.register()
    body = {"email": "Ada@example.org", "password": "wrong password"}
    assert {(await studio.call("POST", "/auth/login", body)).status_code for _ in range(10)} == {401}
    answer = await studio.call("POST", "/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    assert (answer.status_code, why(answer)) == (429, "RATE_LIMITED")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    other = await studio.call("POST", "/auth/login", {"email": "bob@example.org", "password": PASSWORD})
    assert other.status_code == 401


# The access token


async def test_an_access_token_holds_for_15_minutes(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    studio.clock.pass_by(minutes=14, seconds=59)
    assert await studio.status(bearer) == 200
    studio.clock.pass_by(seconds=1)
    answer = await studio.call("GET", "/users/me", bearer=bearer)
    assert answer.status_code == 401
    assert answer.json()["error"] == {
        "code": "AUTHENTICATION_ERROR",
        "message": "The access token has expired.",
        "details": {},
    }
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_an_access_token_says_who_and_never_in_which_role(studio: Studio) -> None:
    user = await studio.register()
    claims = jwt.decode(await studio.bearer(), studio.accounts._tokens._key).claims
    assert claims["sub"] == user["id"]
    assert set(claims) == {"sub", "sid", "iat", "exp", "typ"}
    assert claims["exp"] - claims["iat"] == 900


async def forged(studio: Studio, header: dict[str, Any], key: OctKey, **changes: Any) -> str:
    genuine = jwt.decode(await studio.bearer(), studio.accounts._tokens._key).claims
    return jwt.encode(header, {**genuine, **changes}, key, [str(header["alg"])])


async def test_a_token_signed_with_another_key_is_refused(studio: Studio) -> None:
    await studio.register()
    other = OctKey.import_key("another secret that is long enough for anybody")
    assert await studio.status(await forged(studio, {"alg": "HS256"}, other)) == 401


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_a_token_of_another_algorithm_is_refused(studio: Studio, algorithm: str) -> None:
    await studio.register()
    key = OctKey.import_key(studio.accounts._tokens._key.raw_value * 2)
    assert await studio.status(await forged(studio, {"alg": algorithm}, key)) == 401


@pytest.mark.parametrize("changes", [{"typ": "refresh"}, {"exp": "never"}, {"sid": None}, {"sub": 1}])
async def test_a_token_of_ours_with_other_claims_is_refused(studio: Studio, changes: dict[str, Any]) -> None:
    await studio.register()
    assert await studio.status(await forged(studio, {"alg": "HS256"}, studio.accounts._tokens._key, **changes)) == 401


async def test_a_token_with_somebody_elses_sign_in_is_refused(studio: Studio) -> None:
    await studio.register()
    bob = await studio.register("bob@example.org")
    key = studio.accounts._tokens._key
    assert await studio.status(await forged(studio, {"alg": "HS256"}, key, sub=bob["id"])) == 401


@pytest.mark.parametrize(
    "bearer",
    [
        "x",
        "a.b.c",
        "eyJhbGciOiJub25lIn0.e30.",
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiIxIn0.",
        "x" * 8000,
        "atl_",
        "atl_unknown",
        "\u00e9.\u00e9.\u00e9",
    ],
)
async def test_a_bearer_that_is_nonsense_is_refused_with_a_reason(studio: Studio, bearer: str) -> None:
    answer = await studio.client.get("/api/v1/users/me", headers=[(b"authorization", b"Bearer " + bearer.encode())])
    assert (answer.status_code, why(answer)) == (401, "AUTHENTICATION_ERROR")
    assert answer.json()["error"]["message"].endswith("is not valid.")


@pytest.mark.parametrize("header", ["Basic YWRhOnB3", "Bearer", "Bearer  ", "", "Token x"])
async def test_another_kind_of_authorization_is_refused(studio: Studio, header: str) -> None:
    assert (await studio.client.get("/api/v1/users/me", headers={"Authorization": header})).status_code == 401


async def test_a_wrong_bearer_is_no_obstacle_where_none_is_needed(studio: Studio) -> None:
    await studio.register()
    answer = await studio.client.post(
        "/api/v1/auth/login",
        json={"email": "ada@example.org", "password": PASSWORD},
        headers={"Authorization": "Bearer atl_gone"},
    )
    assert answer.status_code == 200


async def test_somebody_who_is_known_is_known_again_without_the_database(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> object:
        raise AssertionError("the database was asked")

    await studio.register()
    bearer = await studio.bearer()
    key = await studio.key(bearer)
    first = [await studio.accounts.by_bearer(proof) for proof in (bearer, key)]
    monkeypatch.setattr(studio.accounts._database, "read", never)
    assert [await studio.accounts.by_bearer(proof) for proof in (bearer, key)] == first


# Where each proof counts


async def test_the_api_never_takes_a_cookie(studio: Studio) -> None:
    await studio.register()
    browser = await studio.sign_in_browser()
    assert (await browser.get("/api/v1/users/me")).status_code == 401
    assert (await browser.get("/v1/models")).status_code == 401
    assert (await browser.get("/metrics")).status_code == 401
    assert (await browser.get("//api/v1/users/me")).status_code in (401, 404)


async def test_pages_never_take_a_bearer(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    answer = await studio.client.get("/who", headers={"Authorization": f"Bearer {bearer}"})
    assert answer.json() == {"email": None, "how": None}


async def test_media_takes_cookie_or_bearer(studio: Studio) -> None:
    await studio.register()
    browser = await studio.sign_in_browser()
    bearer = {"Authorization": f"Bearer {await studio.bearer()}"}
    assert (await browser.get("/media/picture")).status_code == 200
    assert (await studio.client.get("/media/picture", headers=bearer)).status_code == 200
    assert (await studio.client.get("/media/picture")).status_code == 303


async def test_openai_paths_and_metrics_take_a_bearer(studio: Studio) -> None:
    await studio.register()
    key = await studio.key(await studio.bearer())
    headers = {"Authorization": f"bearer {key}"}
    assert (await studio.client.get("/v1/models", headers=headers)).status_code == 200
    assert (await studio.client.get("/metrics", headers=headers)).status_code == 200


async def test_whoever_asks_is_known_with_how_they_proved_it(studio: Studio) -> None:
    await studio.register()
    browser = await studio.sign_in_browser()
    assert (await browser.get("/who")).json() == {"email": "ada@example.org", "how": "session"}
