"""Accounts, the first half: enough to know that somebody can come in; `tests/accounts` goes deep."""

import httpx
import pytest

from tests.api.kit import USER_FIELDS, email, invalid, is_time, problem
from tests.studio import PASSWORD, Studio


async def test_registering_answers_201_with_the_user_and_never_the_password(atelier: Studio) -> None:
    address = email()
    answer = await atelier.client().post(
        "/api/v1/auth/register", json={"email": address, "password": PASSWORD, "name": "Åsa 李"}
    )
    assert answer.status_code == 201
    user = answer.json()
    assert set(user) == USER_FIELDS
    assert (user["email"], user["name"], user["role"], user["is_active"]) == (address, "Åsa 李", "user", True)
    assert is_time(user["created_at"])
    assert user["last_login_at"] is None or is_time(user["last_login_at"])


async def test_the_first_person_is_admin_and_the_second_is_not(atelier: Studio) -> None:
    anonymous = atelier.client()
    tokens = await anonymous.post("/api/v1/auth/login", json={"email": "admin@studio.example", "password": PASSWORD})
    admin = atelier.client(tokens.json()["access_token"])
    assert (await admin.get("/api/v1/users/me")).json()["role"] == "admin"
    other = await atelier.person(email())
    assert (await other.get("/api/v1/users/me")).json()["role"] == "user"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "x@studio.example", "password": "seven77"}, "password"),
        ({"email": "x@studio.example", "password": "x" * 129}, "password"),
        ({"email": "x@studio.example", "password": ""}, "password"),
        ({"email": "not an address", "password": PASSWORD}, "email"),
        ({"email": "", "password": PASSWORD}, "email"),
        ({"email": "two@at@studio.example", "password": PASSWORD}, "email"),
        ({"email": "line\nbreak@studio.example", "password": PASSWORD}, "email"),
        ({"email": "nul\x00@studio.example", "password": PASSWORD}, "email"),
        ({"email": 7, "password": PASSWORD}, "email"),
        ({"password": PASSWORD}, "email"),
        ({"email": "x@studio.example"}, "password"),
        ({"email": "x@studio.example", "password": None}, "password"),
        ({"email": "x@studio.example", "password": PASSWORD, "name": 7}, "name"),
        ({"email": "x@studio.example", "password": PASSWORD, "name": "x" * 10_000}, "name"),
    ],
)
async def test_a_registration_that_cannot_be_is_400_and_names_the_field(
    atelier: Studio, body: dict[str, object], field: str
) -> None:
    invalid(await atelier.client().post("/api/v1/auth/register", json=body), field)


@pytest.mark.parametrize("password", ["x" * 8, "x" * 128])
async def test_passwords_of_8_and_of_128_characters_are_taken(atelier: Studio, password: str) -> None:
    address = email()
    anonymous = atelier.client()
    registered = await anonymous.post("/api/v1/auth/register", json={"email": address, "password": password})
    assert registered.status_code == 201
    answer = await anonymous.post("/api/v1/auth/login", json={"email": address, "password": password})
    assert answer.status_code == 200


async def test_an_address_is_taken_without_regard_to_case(atelier: Studio) -> None:
    address = email("Mixed")
    anonymous = atelier.client()
    await anonymous.post("/api/v1/auth/register", json={"email": address, "password": PASSWORD})
    for spelling in (address, address.upper(), address.lower()):
        again = await anonymous.post("/api/v1/auth/register", json={"email": spelling, "password": PASSWORD})
        problem(again, 409, "CONFLICT")


async def test_signing_in_gives_a_pair_of_tokens_that_work(atelier: Studio) -> None:
    address = email()
    anonymous = atelier.client()
    await anonymous.post("/api/v1/auth/register", json={"email": address, "password": PASSWORD})
    answer = await anonymous.post("/api/v1/auth/login", json={"email": address.upper(), "password": PASSWORD})
    assert answer.status_code == 200
    tokens = answer.json()
    assert set(tokens) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 900)
    me = await atelier.client(tokens["access_token"]).get("/api/v1/users/me")
    assert me.status_code == 200
    assert me.json()["email"].lower() == address.lower()
    assert is_time(me.json()["last_login_at"])


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(atelier: Studio) -> None:
    address = email()
    anonymous = atelier.client()
    await anonymous.post("/api/v1/auth/register", json={"email": address, "password": PASSWORD})
    wrong = await anonymous.post("/api/v1/auth/login", json={"email": address, "password": "something else"})
    unknown = await anonymous.post("/api/v1/auth/login", json={"email": email(), "password": "something else"})
    assert problem(wrong, 401, "AUTHENTICATION_ERROR") == problem(unknown, 401, "AUTHENTICATION_ERROR")


async def test_a_refresh_token_gives_a_new_pair(atelier: Studio) -> None:
    address = email()
    anonymous = atelier.client()
    await anonymous.post("/api/v1/auth/register", json={"email": address, "password": PASSWORD})
    first = (await anonymous.post("/api/v1/auth/login", json={"email": address, "password": PASSWORD})).json()
    answer = await anonymous.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    assert answer.status_code == 200
    second = answer.json()
    assert set(second) == set(first)
    assert second["refresh_token"] != first["refresh_token"]
    assert (await atelier.client(second["access_token"]).get("/api/v1/users/me")).status_code == 200


async def test_after_signing_out_the_refresh_token_is_dead(atelier: Studio) -> None:
    address = email()
    anonymous = atelier.client()
    await anonymous.post("/api/v1/auth/register", json={"email": address, "password": PASSWORD})
    tokens = (await anonymous.post("/api/v1/auth/login", json={"email": address, "password": PASSWORD})).json()
    answer = await anonymous.post("/api/v1/auth/logout", json={"refresh_token": tokens["refresh_token"]})
    assert (answer.status_code, answer.content) == (204, b"")
    again = await anonymous.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    problem(again, 401, "AUTHENTICATION_ERROR")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "\x00", "é" * 50])
async def test_a_garbled_refresh_token_is_401(atelier: Studio, token: str) -> None:
    problem(
        await atelier.client().post("/api/v1/auth/refresh", json={"refresh_token": token}), 401, "AUTHENTICATION_ERROR"
    )


async def test_a_name_changes_without_and_an_address_only_with_the_password(ann: httpx.AsyncClient) -> None:
    renamed = await ann.put("/api/v1/users/me", json={"name": "Ann Kern"})
    assert (renamed.status_code, renamed.json()["name"]) == (200, "Ann Kern")
    invalid(await ann.put("/api/v1/users/me", json={"email": email()}), "current_password")
    invalid(await ann.put("/api/v1/users/me", json={"password": "another password"}), "current_password")
    invalid(
        await ann.put("/api/v1/users/me", json={"password": "another password", "current_password": "wrong"}),
        "current_password",
    )
