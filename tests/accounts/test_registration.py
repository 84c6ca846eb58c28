"""Creating an account."""

import asyncio
import re

import pytest

from tests.kit import Cases

from .studio import PASSWORD, Start, Studio, error_code, field_errors


async def register(studio: Studio, email: str, password: str = PASSWORD) -> int:
    return (await studio.call("POST", "/auth/register", {"email": email, "password": password})).status_code


async def test_a_new_account_is_returned_as_the_contract_says(studio: Studio) -> None:
    user = await studio.register("ada@example.org", name="  Ada   Lovelace ")
    assert user == {
        "id": user["id"],
        "email": "ada@example.org",
        "name": "Ada Lovelace",
        "role": "admin",
        "is_active": True,
        "created_at": "2026-11-20T09:30:00.000Z",
        "last_login_at": None,
    }


async def test_the_first_account_is_an_admin_and_the_next_is_not(studio: Studio) -> None:
    assert (await studio.register("ada@example.org"))["role"] == "admin"
    assert (await studio.register("bob@example.org"))["role"] == "user"


async def test_twenty_first_registrations_at_once_make_one_admin(studio: Studio) -> None:
    users = await asyncio.gather(*(studio.register(f"user{n}@example.org") for n in range(20)))
    assert sorted(user["role"] for user in users) == ["admin"] + ["user"] * 19


async def test_twenty_first_registrations_at_once_make_one_account_where_registration_is_closed(start: Start) -> None:
    studio = await start(ATELIER_REGISTRATION="closed")
    statuses = await asyncio.gather(*(register(studio, f"user{n}@example.org") for n in range(20)))
    assert sorted(statuses) == [201] + [403] * 19
    assert (await studio.accounts.stats()).users == {"admin": 1, "user": 0}


async def test_twenty_registrations_of_one_email_at_once_make_one_account(studio: Studio) -> None:
    statuses = await asyncio.gather(*(register(studio, "ada@example.org") for _ in range(20)))
    assert sorted(statuses) == [201] + [409] * 19


async def test_emails_are_compared_without_case_and_surrounding_spaces(studio: Studio) -> None:
    assert (await studio.register(" Ada@Example.ORG "))["email"] == "ada@example.org"
    answer = await studio.call("POST", "/auth/register", {"email": "ADA@example.org", "password": PASSWORD})
    assert (answer.status_code, error_code(answer), field_errors(answer)) == (
        409,
        "CONFLICT",
        {"email": "is already in use"},
    )


async def test_closed_registration_allows_only_the_first_account(start: Start) -> None:
    studio = await start(ATELIER_REGISTRATION="closed")
    assert (await studio.register())["role"] == "admin"
    answer = await studio.call("POST", "/auth/register", {"email": "bob@example.org", "password": PASSWORD})
    assert (answer.status_code, error_code(answer)) == (403, "FORBIDDEN")


async def test_registration_can_be_open_to_one_domain(start: Start) -> None:
    studio = await start(ATELIER_REGISTRATION="domain:example.org")
    assert await register(studio, "eve@elsewhere.org") == 403
    assert await register(studio, "eve@sub.example.org") == 403
    assert await register(studio, "eve@notexample.org") == 403
    assert await register(studio, "Ada@EXAMPLE.org") == 201


INVALID_EMAILS = [
    "",
    "ada",
    "ada@",
    "@example.org",
    "ada@example",
    "ada@@example.org",
    "ada@example..org",
    "ada@-example.org",
    ".ada@example.org",
    "ada..l@example.org",
    "ada l@example.org",
    "ada@example.org\nbcc@example.org",
    "ada@exam\u212aple.org",
    "Ada <ada@example.org>",
    "a" * 65 + "@example.org",
    "ada@" + "a." * 126 + "org",
    "ada@example.org\x00",
]


async def test_an_invalid_email_address_is_refused_by_field(studio: Studio) -> None:
    with Cases() as cases:
        for email in INVALID_EMAILS:
            with cases.case(repr(email)):
                answer = await studio.call("POST", "/auth/register", {"email": email, "password": PASSWORD})
                assert (answer.status_code, list(field_errors(answer))) == (400, ["email"])


async def test_unusual_but_valid_email_addresses_are_accepted(studio: Studio) -> None:
    with Cases() as cases:
        for email in ("a@b.co", "ada+tag@example.org", "o'neil@my-host.example.org", "1@2.museum"):
            with cases.case(email):
                assert await register(studio, email) == 201


async def test_a_password_has_8_to_128_characters(studio: Studio) -> None:
    with Cases() as cases:
        for length, status in {0: 400, 7: 400, 8: 201, 128: 201, 129: 400, 5_000: 400}.items():
            with cases.case(length):
                body = {"email": f"user{length}@example.org", "password": "ü" * length}
                answer = await studio.call("POST", "/auth/register", body)
                assert answer.status_code == status
                if status == 400:
                    assert list(field_errors(answer)) == ["password"]
                    assert re.search(r"\b8 to 128\b", field_errors(answer)["password"])


async def test_a_password_that_is_too_long_is_refused_before_it_is_hashed(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> str:
        raise AssertionError("hashed")

    monkeypatch.setattr(studio.passwords, "hash", never)
    assert await register(studio, "ada@example.org", "x" * 129) == 400


async def test_a_taken_email_is_refused_before_the_password_is_hashed(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> str:
        raise AssertionError("hashed")

    await studio.register()
    monkeypatch.setattr(studio.passwords, "hash", never)
    assert await register(studio, "ada@example.org") == 409


async def test_a_name_that_is_too_long_is_refused_and_what_is_not_seen_in_it_is_removed(studio: Studio) -> None:
    body = {"email": "ada@example.org", "password": PASSWORD, "name": "x" * 101}
    answer = await studio.call("POST", "/auth/register", body)
    assert (answer.status_code, list(field_errors(answer))) == (400, ["name"])
    answer = await studio.call("POST", "/auth/register", {**body, "name": "A\x07da\u202e "})
    assert answer.json()["name"] == "Ada"


async def test_a_body_of_another_shape_is_refused_by_field(studio: Studio) -> None:
    bodies: list[tuple[object, str]] = [
        ({"password": PASSWORD}, "email"),
        ({"email": "ada@example.org"}, "password"),
        ({"email": 1, "password": PASSWORD}, "email"),
        ({"email": "ada@example.org", "password": PASSWORD, "role": "admin"}, "role"),
        ({"email": "ada@example.org", "password": PASSWORD, "is_active": True}, "is_active"),
        ([], "body"),
        (None, "body"),
    ]
    with Cases() as cases:
        for body, field in bodies:
            with cases.case(body):
                answer = await studio.call("POST", "/auth/register", body)
                assert (answer.status_code, error_code(answer)) == (400, "VALIDATION_ERROR")
                assert list(field_errors(answer)) == [field]


async def test_a_body_that_is_too_large_is_refused(studio: Studio) -> None:
    body = {"email": "ada@example.org", "password": PASSWORD, "name": "x" * 70_000}
    assert (await studio.call("POST", "/auth/register", body)).status_code == 413


async def test_every_invalid_field_is_named_at_once(studio: Studio) -> None:
    answer = await studio.call("POST", "/auth/register", {"email": "ada", "password": "tiny", "name": "x" * 101})
    assert answer.status_code == 400
    assert field_errors(answer).keys() == {"email", "password", "name"}
