"""Accounts through the API of the whole application: registration, sign-in and tokens. Other files test the details."""

import httpx

from tests.kit import USER_FIELDS, Cases, error_of, is_timestamp, new_email, validation_error
from tests.studio import PASSWORD, Studio

Account = dict[str, str]


async def registered(anonymous: httpx.AsyncClient, name: str = "user") -> Account:
    """Email and password of a new account."""
    account = {"email": new_email(name), "password": PASSWORD}
    answer = await anonymous.post("/api/v1/auth/register", json=account)
    assert answer.status_code == 201, answer.text
    return account


async def test_registering_answers_201_with_the_user_and_without_the_password(atelier: Studio) -> None:
    address = new_email()
    answer = await atelier.direct().post(
        "/api/v1/auth/register", json={"email": address, "password": PASSWORD, "name": "Åsa 李"}
    )
    assert answer.status_code == 201
    user = answer.json()
    assert set(user) == USER_FIELDS
    assert (user["email"], user["name"], user["role"], user["is_active"]) == (address, "Åsa 李", "user", True)
    assert is_timestamp(user["created_at"])
    assert user["last_login_at"] is None or is_timestamp(user["last_login_at"])


async def test_the_first_user_is_an_admin_and_others_are_not(atelier: Studio) -> None:
    for address, role in (("admin@studio.example", "admin"), (new_email(), "user")):
        client = await atelier.user(address, direct=True)
        assert (await client.get("/api/v1/users/me")).json()["role"] == role


INVALID_REGISTRATIONS: list[tuple[dict[str, object], str]] = [
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
]


async def test_an_invalid_registration_is_400_and_names_the_field(atelier: Studio) -> None:
    anonymous = atelier.direct()
    with Cases() as cases:
        for body, field in INVALID_REGISTRATIONS:
            with cases.case(field, body):
                validation_error(await anonymous.post("/api/v1/auth/register", json=body), field)


async def test_passwords_of_8_and_of_128_characters_are_accepted(atelier: Studio) -> None:
    anonymous = atelier.direct()
    for password in ("x" * 8, "x" * 128):
        account = {"email": new_email(), "password": password}
        assert (await anonymous.post("/api/v1/auth/register", json=account)).status_code == 201
        assert (await anonymous.post("/api/v1/auth/login", json=account)).status_code == 200


async def test_an_address_can_be_registered_once_ignoring_case(atelier: Studio) -> None:
    anonymous = atelier.direct()
    address = (await registered(anonymous, "Mixed"))["email"]
    for variant in (address, address.upper(), address.lower()):
        answer = await anonymous.post("/api/v1/auth/register", json={"email": variant, "password": PASSWORD})
        error_of(answer, 409, "CONFLICT")


async def test_signing_in_gives_a_pair_of_valid_tokens(atelier: Studio) -> None:
    anonymous = atelier.direct()
    address = (await registered(anonymous))["email"]
    answer = await anonymous.post("/api/v1/auth/login", json={"email": address.upper(), "password": PASSWORD})
    assert answer.status_code == 200
    tokens = answer.json()
    assert set(tokens) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 900)
    me = await atelier.direct(tokens["access_token"]).get("/api/v1/users/me")
    assert me.status_code == 200
    assert me.json()["email"].lower() == address.lower()
    assert is_timestamp(me.json()["last_login_at"])


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(atelier: Studio) -> None:
    anonymous = atelier.direct()
    address = (await registered(anonymous))["email"]
    wrong = await anonymous.post("/api/v1/auth/login", json={"email": address, "password": "something else"})
    unknown = await anonymous.post("/api/v1/auth/login", json={"email": new_email(), "password": "something else"})
    assert error_of(wrong, 401, "AUTHENTICATION_ERROR") == error_of(unknown, 401, "AUTHENTICATION_ERROR")


async def test_a_refresh_token_gives_a_new_pair(atelier: Studio) -> None:
    anonymous = atelier.direct()
    first = (await anonymous.post("/api/v1/auth/login", json=await registered(anonymous))).json()
    answer = await anonymous.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    assert answer.status_code == 200
    second = answer.json()
    assert set(second) == set(first)
    assert second["refresh_token"] != first["refresh_token"]
    assert (await atelier.direct(second["access_token"]).get("/api/v1/users/me")).status_code == 200


async def test_after_signing_out_the_refresh_token_is_invalid(atelier: Studio) -> None:
    anonymous = atelier.direct()
    tokens = (await anonymous.post("/api/v1/auth/login", json=await registered(anonymous))).json()
    body = {"refresh_token": tokens["refresh_token"]}
    answer = await anonymous.post("/api/v1/auth/logout", json=body)
    assert (answer.status_code, answer.content) == (204, b"")
    error_of(await anonymous.post("/api/v1/auth/refresh", json=body), 401, "AUTHENTICATION_ERROR")


async def test_a_garbled_refresh_token_is_401(atelier: Studio) -> None:
    anonymous = atelier.direct()
    for token in ("", "x", "a.b.c", "\x00", "é" * 50):
        answer = await anonymous.post("/api/v1/auth/refresh", json={"refresh_token": token})
        error_of(answer, 401, "AUTHENTICATION_ERROR")


async def test_a_change_of_address_or_password_needs_the_password_and_a_name_does_not(ann: httpx.AsyncClient) -> None:
    renamed = await ann.put("/api/v1/users/me", json={"name": "Ann Kern"})
    assert (renamed.status_code, renamed.json()["name"]) == (200, "Ann Kern")
    for change in (
        {"email": new_email()},
        {"password": "another password"},
        {"password": "another password", "current_password": "wrong"},
    ):
        validation_error(await ann.put("/api/v1/users/me", json=change), "current_password")
