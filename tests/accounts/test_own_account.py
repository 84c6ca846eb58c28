"""The account of the signed-in user, and which sessions a change of email or password ends."""

import asyncio
import itertools
from typing import Any

from tests.kit import Cases

from .studio import PASSWORD, Response, Start, Studio, error_code, field_errors


async def change(studio: Studio, bearer: str, **body: Any) -> Response:
    return await studio.call("PUT", "/users/me", body, bearer=bearer)


async def test_users_see_their_own_account(studio: Studio) -> None:
    user = await studio.register(name="Ada")
    seen = (await studio.call("GET", "/users/me", bearer=await studio.bearer())).json()
    assert seen == {**user, "last_login_at": "2026-11-20T09:30:00.000Z"}


async def test_the_last_sign_in_is_shown_in_every_session(studio: Studio) -> None:
    await studio.register()
    key = await studio.key(await studio.bearer())
    assert await studio.status(key) == 200
    studio.clock.advance(hours=1)
    await studio.login()
    assert (await studio.call("GET", "/users/me", bearer=key)).json()["last_login_at"] == "2026-11-20T10:30:00.000Z"


async def test_the_name_is_changed_without_the_password(studio: Studio) -> None:
    await studio.register(name="Ada")
    bearer = await studio.bearer()
    answer = await change(studio, bearer, name="Countess")
    assert (answer.status_code, answer.json()["name"]) == (200, "Countess")
    assert (await studio.call("GET", "/users/me", bearer=bearer)).json()["name"] == "Countess"
    assert (await change(studio, bearer, name="")).json()["name"] == ""


async def test_a_field_that_is_left_out_keeps_its_value(studio: Studio) -> None:
    await studio.register(name="Ada")
    bearer = await studio.bearer()
    before = (await studio.call("GET", "/users/me", bearer=bearer)).json()
    assert (await change(studio, bearer)).json() == before


async def test_a_changed_email_signs_in_and_the_old_one_does_not(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    answer = await change(studio, bearer, email="Ada@Lovelace.org", current_password=PASSWORD)
    assert (answer.status_code, answer.json()["email"]) == (200, "ada@lovelace.org")
    assert await studio.login("ada@lovelace.org")
    old = await studio.call("POST", "/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    assert old.status_code == 401


async def test_a_changed_password_signs_in_and_the_old_one_does_not(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    assert (await change(studio, bearer, password="battery staple", current_password=PASSWORD)).status_code == 200
    assert await studio.login(password="battery staple")
    old = await studio.call("POST", "/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    assert old.status_code == 401


async def test_email_and_password_are_not_changed_without_the_current_password(studio: Studio) -> None:
    await studio.register(name="Ada")
    bearer = await studio.bearer()
    changes = ({"email": "new@example.org"}, {"password": "battery staple"})
    attempts: tuple[dict[str, str], ...] = ({}, {"current_password": "wrong password"}, {"current_password": ""})
    with Cases() as cases:
        for fields, attempt in itertools.product(changes, attempts):
            with cases.case(fields, attempt):
                answer = await change(studio, bearer, name="Eve", **fields, **attempt)
                assert (answer.status_code, list(field_errors(answer))) == (400, ["current_password"])
                assert (await studio.call("GET", "/users/me", bearer=bearer)).json()["name"] == "Ada"
                assert await studio.login()


async def test_the_same_email_in_another_case_is_no_change(studio: Studio) -> None:
    await studio.register()
    assert (await change(studio, await studio.bearer(), email=" ADA@example.org")).status_code == 200


async def test_a_taken_email_is_refused(studio: Studio) -> None:
    await studio.register()
    await studio.register("bob@example.org")
    bearer = await studio.bearer()
    answer = await change(studio, bearer, email="BOB@example.org", current_password=PASSWORD)
    assert (answer.status_code, error_code(answer)) == (409, "CONFLICT")
    assert await studio.status(bearer) == 200


async def test_of_two_users_who_change_to_one_email_at_once_only_one_succeeds(studio: Studio) -> None:
    for email in ("ada@example.org", "bob@example.org"):
        await studio.register(email)
    bearers = [await studio.bearer(email) for email in ("ada@example.org", "bob@example.org")]
    wanted = {"email": "new@example.org", "current_password": PASSWORD}
    answers = await asyncio.gather(*(change(studio, bearer, **wanted) for bearer in bearers))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_of_two_password_changes_at_once_only_one_succeeds(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    passwords = ("battery staple", "another password")
    answers = await asyncio.gather(
        *(change(studio, bearer, password=password, current_password=PASSWORD) for password in passwords)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    chosen = passwords[[answer.status_code for answer in answers].index(200)]
    assert await studio.login(password=chosen)


async def test_an_invalid_field_is_named(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    with Cases() as cases:
        for field, value in {"email": "x", "password": "short", "name": "x" * 101}.items():
            with cases.case(field):
                answer = await change(studio, bearer, **{field: value}, current_password=PASSWORD)
                assert (answer.status_code, list(field_errors(answer))) == (400, [field])


async def test_users_cannot_change_their_own_role_state_or_id(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    bodies: tuple[dict[str, Any], ...] = ({"role": "admin"}, {"is_active": True}, {"name": None}, {"id": "x"})
    with Cases() as cases:
        for body in bodies:
            with cases.case(body):
                assert (await change(studio, bearer, **body)).status_code == 400


async def test_a_change_by_access_token_ends_all_other_sessions_and_keeps_its_own_and_the_keys(studio: Studio) -> None:
    await studio.register()
    email, password = "ada@example.org", PASSWORD
    for wanted in ({"email": "new@example.org"}, {"password": "battery staple"}):
        mine, other = await studio.login(email, password), await studio.login(email, password)
        key = await studio.key(mine["access_token"])
        browser = await studio.sign_in_browser(email, password)
        assert (await browser.get("/private")).status_code == 200
        assert (await change(studio, mine["access_token"], **wanted, current_password=password)).status_code == 200
        email, password = wanted.get("email", email), wanted.get("password", password)
        assert await studio.status(mine["access_token"]) == 200
        kept = await studio.call("POST", "/auth/refresh", {"refresh_token": mine["refresh_token"]})
        assert kept.status_code == 200
        assert await studio.status(other["access_token"]) == 401
        ended = await studio.call("POST", "/auth/refresh", {"refresh_token": other["refresh_token"]})
        assert ended.status_code == 401
        assert (await browser.get("/private")).status_code == 303
        assert await studio.status(key) == 200


async def test_a_change_by_api_key_ends_every_session(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    key = await studio.key(bearer)
    browser = await studio.sign_in_browser()
    answer = await change(studio, key, password="battery staple", current_password=PASSWORD)
    assert answer.status_code == 200
    assert await studio.status(bearer) == 401
    assert (await browser.get("/private")).status_code == 303


async def test_a_change_on_a_page_keeps_that_page_session(studio: Studio) -> None:
    user = await studio.register()
    mine, other = await studio.sign_in_browser(), await studio.sign_in_browser()
    token = mine.cookies[f"{studio.cookie_prefix}session"]
    known = await studio.accounts.authentication.by_session(token)
    assert known is not None
    await studio.accounts.profile.update(user["id"], known.auth, password="battery staple", current_password=PASSWORD)
    assert (await mine.get("/private")).status_code == 200
    assert (await other.get("/private")).status_code == 303


async def test_the_current_password_can_be_tried_ten_times_a_minute(start: Start) -> None:
    studio = await start(ATELIER_RATE_LIMITS="on")
    await studio.register()
    bearer = await studio.bearer()
    for _ in range(9):  # signing in was the first attempt
        assert (await change(studio, bearer, email="x@y.org", current_password="wrong password")).status_code == 400
    assert (await change(studio, bearer, email="x@y.org", current_password="wrong password")).status_code == 429
    studio.clock.advance(seconds=60)
    assert (await change(studio, bearer, email="x@y.org", current_password="wrong password")).status_code == 400


async def test_every_route_for_users_refuses_requests_without_authentication(studio: Studio) -> None:
    for method, path in (
        ("GET", "/users/me"),
        ("PUT", "/users/me"),
        ("GET", "/users/me/keys"),
        ("POST", "/users/me/keys"),
        ("DELETE", "/users/me/keys/x"),
        ("GET", "/users/me/sessions"),
        ("DELETE", "/users/me/sessions"),
        ("DELETE", "/users/me/sessions/x"),
        ("GET", "/users"),
        ("PUT", "/users/x/role"),
        ("PUT", "/users/x/active"),
    ):
        answer = await studio.call(method, path, {} if method in ("PUT", "POST") else None)
        assert (answer.status_code, error_code(answer)) == (401, "AUTHENTICATION_ERROR"), (method, path)
