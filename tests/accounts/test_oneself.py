"""One's own profile, and what a change of email or password ends."""

import asyncio
from typing import Any

import pytest

from .studio import PASSWORD, Answer, Start, Studio, fields, why


async def change(studio: Studio, bearer: str, **body: Any) -> Answer:
    return await studio.call("PUT", "/users/me", body, bearer=bearer)


async def test_a_person_sees_themselves(studio: Studio) -> None:
    user = await studio.register(name="Ada")
    seen = (await studio.call("GET", "/users/me", bearer=await studio.bearer())).json()
    assert seen == {**user, "last_login_at": "2026-11-20T09:30:00.000Z"}


async def test_a_person_sees_their_last_sign_in_from_every_place_where_they_are_signed_in(studio: Studio) -> None:
    await studio.register()
    key = await studio.key(await studio.bearer())
    assert await studio.status(key) == 200
    studio.clock.pass_by(hours=1)
    await studio.login()
    assert (await studio.call("GET", "/users/me", bearer=key)).json()["last_login_at"] == "2026-11-20T10:30:00.000Z"


async def test_a_name_is_changed_without_the_password(studio: Studio) -> None:
    await studio.register(name="Ada")
    bearer = await studio.bearer()
    answer = await change(studio, bearer, name="Countess")
    assert (answer.status_code, answer.json()["name"]) == (200, "Countess")
    assert (await studio.call("GET", "/users/me", bearer=bearer)).json()["name"] == "Countess"
    assert (await change(studio, bearer, name="")).json()["name"] == ""


async def test_what_is_left_out_stays(studio: Studio) -> None:
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


@pytest.mark.parametrize("given", [{}, {"current_password": "wrong password"}, {"current_password": ""}])
@pytest.mark.parametrize("wish", [{"email": "new@example.org"}, {"password": "battery staple"}])
async def test_email_and_password_are_not_changed_without_the_current_password(
    studio: Studio, wish: dict[str, str], given: dict[str, str]
) -> None:
    await studio.register(name="Ada")
    bearer = await studio.bearer()
    answer = await change(studio, bearer, name="Eve", **wish, **given)
    assert (answer.status_code, list(fields(answer))) == (400, ["current_password"])
    assert (await studio.call("GET", "/users/me", bearer=bearer)).json()["name"] == "Ada"
    assert await studio.login()


async def test_the_same_email_in_other_letters_is_no_change(studio: Studio) -> None:
    await studio.register()
    assert (await change(studio, await studio.bearer(), email=" ADA@example.org")).status_code == 200


async def test_an_email_that_is_taken_is_refused(studio: Studio) -> None:
    await studio.register()
    await studio.register("bob@example.org")
    bearer = await studio.bearer()
    answer = await change(studio, bearer, email="BOB@example.org", current_password=PASSWORD)
    assert (answer.status_code, why(answer)) == (409, "CONFLICT")
    assert await studio.status(bearer) == 200


async def test_two_people_who_want_one_email_at_once_do_not_both_get_it(studio: Studio) -> None:
    for email in ("ada@example.org", "bob@example.org"):
        await studio.register(email)
    bearers = [await studio.bearer(email) for email in ("ada@example.org", "bob@example.org")]
    wish = {"email": "new@example.org", "current_password": PASSWORD}
    answers = await asyncio.gather(*(change(studio, bearer, **wish) for bearer in bearers))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_two_changes_at_once_with_the_same_current_password_do_not_both_hold(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    passwords = ("battery staple", "another password")
    answers = await asyncio.gather(
        *(change(studio, bearer, password=password, current_password=PASSWORD) for password in passwords)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    chosen = passwords[[answer.status_code for answer in answers].index(200)]
    assert await studio.login(password=chosen)


@pytest.mark.parametrize(
    ("body", "field"), [({"email": "x"}, "email"), ({"password": "short"}, "password"), ({"name": "x" * 101}, "name")]
)
async def test_a_wrong_field_is_named(studio: Studio, body: dict[str, str], field: str) -> None:
    await studio.register()
    answer = await change(studio, await studio.bearer(), **body, current_password=PASSWORD)
    assert (answer.status_code, list(fields(answer))) == (400, [field])


@pytest.mark.parametrize("body", [{"role": "admin"}, {"is_active": True}, {"name": None}, {"id": "x"}])
async def test_nobody_changes_their_own_role_or_state_here(studio: Studio, body: dict[str, Any]) -> None:
    await studio.register()
    assert (await change(studio, await studio.bearer(), **body)).status_code == 400


@pytest.mark.parametrize("wish", [{"email": "new@example.org"}, {"password": "battery staple"}])
async def test_a_change_by_access_token_ends_all_other_sign_ins_and_keeps_its_own_and_the_keys(
    studio: Studio, wish: dict[str, str]
) -> None:
    await studio.register()
    mine, other = await studio.login(), await studio.login()
    key = await studio.key(mine["access_token"])
    browser = await studio.sign_in_browser()
    assert (await browser.get("/desk")).status_code == 200
    assert (await change(studio, mine["access_token"], **wish, current_password=PASSWORD)).status_code == 200
    assert await studio.status(mine["access_token"]) == 200
    assert (await studio.call("POST", "/auth/refresh", {"refresh_token": mine["refresh_token"]})).status_code == 200
    assert await studio.status(other["access_token"]) == 401
    assert (await studio.call("POST", "/auth/refresh", {"refresh_token": other["refresh_token"]})).status_code == 401
    assert (await browser.get("/desk")).status_code == 303
    assert await studio.status(key) == 200


async def test_a_change_by_api_key_ends_every_sign_in(studio: Studio) -> None:
    await studio.register()
    bearer = await studio.bearer()
    key = await studio.key(bearer)
    browser = await studio.sign_in_browser()
    answer = await change(studio, key, password="battery staple", current_password=PASSWORD)
    assert answer.status_code == 200
    assert await studio.status(bearer) == 401
    assert (await browser.get("/desk")).status_code == 303


async def test_a_change_on_a_page_keeps_that_page_session(studio: Studio) -> None:
    user = await studio.register()
    mine, other = await studio.sign_in_browser(), await studio.sign_in_browser()
    token = mine.cookies["session"]
    known = await studio.accounts.by_session(token)
    assert known is not None
    await studio.accounts.update(user["id"], known.auth, password="battery staple", current_password=PASSWORD)
    assert (await mine.get("/desk")).status_code == 200
    assert (await other.get("/desk")).status_code == 303


async def test_the_current_password_is_tried_ten_times_a_minute_and_no_more(start: Start) -> None:
    studio = await start(ATELIER_RATE_LIMITS="on")
    await studio.register()
    bearer = await studio.bearer()
    for _ in range(9):
        assert (await change(studio, bearer, email="x@y.org", current_password="wrong password")).status_code == 400
    assert (await change(studio, bearer, email="x@y.org", current_password="wrong password")).status_code == 429


async def test_nobody_signed_out_sees_or_changes_anything(studio: Studio) -> None:
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
        assert (answer.status_code, why(answer)) == (401, "AUTHENTICATION_ERROR"), (method, path)
