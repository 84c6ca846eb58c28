"""User administration, and that only admins can use it."""

import asyncio
from typing import Any

import pytest

from app.accounts.schemas import Role
from app.base.errors import Conflict, Missing
from app.db.transaction import Transaction
from tests.kit import Cases

from .studio import Response, Studio, error_code, field_errors


@pytest.fixture
async def admin(studio: Studio) -> str:
    """The access token of Ada, the first account."""
    await studio.register()
    return await studio.bearer()


async def my_id(studio: Studio, bearer: str) -> str:
    return str((await studio.call("GET", "/users/me", bearer=bearer)).json()["id"])


async def set_role(studio: Studio, bearer: str, user_id: str, role: str) -> Response:
    return await studio.call("PUT", f"/users/{user_id}/role", {"role": role}, bearer=bearer)


async def set_active(studio: Studio, bearer: str, user_id: str, is_active: bool) -> Response:
    return await studio.call("PUT", f"/users/{user_id}/active", {"is_active": is_active}, bearer=bearer)


async def listed(studio: Studio, bearer: str, query: str = "") -> dict[str, Any]:
    answer = await studio.call("GET", f"/users{query}", bearer=bearer)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# The list


async def test_users_are_listed_newest_first(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org", name="Bob")
    found = await listed(studio, admin)
    assert (found["total"], found["next"]) == (2, None)
    assert found["items"][0] == bob
    assert [user["email"] for user in found["items"]] == ["bob@example.org", "ada@example.org"]


async def test_paging_through_users_shows_each_once(studio: Studio, admin: str) -> None:
    for number in range(6):
        await studio.register(f"user{number}@example.org")
    seen: list[str] = []
    query = "?limit=3"
    while True:
        page = await listed(studio, admin, query)
        assert page["total"] == 7
        seen += [user["email"] for user in page["items"]]
        if page["next"] is None:
            break
        query = f"?limit=3&cursor={page['next']}"
    assert len(seen) == len(set(seen)) == 7


async def test_a_page_that_ends_with_the_last_item_has_no_next(studio: Studio, admin: str) -> None:
    await studio.register("bob@example.org")
    assert (await listed(studio, admin, "?limit=2"))["next"] is None


async def test_users_are_found_by_a_part_of_email_or_name(studio: Studio, admin: str) -> None:
    await studio.register("bob@example.org")
    await studio.register("ada2@example.org", name="Ada Lovelace")
    await studio.register("with_under@example.org")
    found = {
        "BOB": ["bob@example.org"],
        "love": ["ada2@example.org"],
        "%": [],
        "_": ["with_under@example.org"],
        "example.org": ["with_under@example.org", "ada2@example.org", "bob@example.org", "ada@example.org"],
        "'; drop table users; --": [],
    }
    with Cases() as cases:
        for q, emails in found.items():
            with cases.case(q):
                headers = {"Authorization": f"Bearer {admin}"}
                answer = await studio.client.get("/api/v1/users", params={"q": q}, headers=headers)
                assert [user["email"] for user in answer.json()["items"]] == emails
                assert answer.json()["total"] == len(emails)


async def test_an_invalid_limit_or_cursor_is_refused(studio: Studio, admin: str) -> None:
    queries = ("limit=0", "limit=101", "limit=x", "cursor=", "cursor=*", "cursor=%00", "cursor=_____w")
    with Cases() as cases:
        for query in queries:
            with cases.case(query):
                answer = await studio.call("GET", f"/users?{query}", bearer=admin)
                assert (answer.status_code, list(field_errors(answer))) == (400, [query.partition("=")[0]])


async def test_only_admins_list_and_change_users(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    for answer in (
        await studio.call("GET", "/users", bearer=bearer),
        await set_role(studio, bearer, bob["id"], "admin"),
        await set_active(studio, bearer, bob["id"], True),
        await set_role(studio, bearer, "unknown", "admin"),
    ):
        assert (answer.status_code, error_code(answer)) == (403, "FORBIDDEN")


async def test_users_are_looked_up_by_their_ids(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org")
    found = await studio.accounts.users.by_id([bob["id"], "unknown"])
    assert {user_id: user.email for user_id, user in found.items()} == {bob["id"]: "bob@example.org"}
    assert await studio.accounts.users.by_id([]) == {}


# Roles


async def test_a_role_applies_from_the_next_request_on_for_every_credential(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    key = await studio.key(bearer)
    for role, status in (("admin", 200), ("user", 403), ("admin", 200)):
        answer = await set_role(studio, admin, bob["id"], role)
        assert (answer.status_code, answer.json()["role"]) == (200, role)
        for credential in (bearer, key):
            assert (await studio.call("GET", "/users", bearer=credential)).status_code == status
            answer = await studio.client.get("/metrics", headers={"Authorization": f"Bearer {credential}"})
            assert answer.status_code == status


async def test_the_last_admin_is_not_demoted_or_deactivated(studio: Studio, admin: str) -> None:
    ada = await my_id(studio, admin)
    for answer in (await set_role(studio, admin, ada, "user"), await set_active(studio, admin, ada, False)):
        assert (answer.status_code, error_code(answer)) == (409, "CONFLICT")
    assert (await studio.call("GET", "/users", bearer=admin)).status_code == 200


async def test_a_deactivated_admin_does_not_count_as_one(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org")
    await set_role(studio, admin, bob["id"], "admin")
    await set_active(studio, admin, bob["id"], False)
    assert (await set_role(studio, admin, await my_id(studio, admin), "user")).status_code == 409
    assert (await set_role(studio, admin, bob["id"], "user")).status_code == 200


async def test_two_admins_who_demote_each_other_at_once_leave_one(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org")
    await set_role(studio, admin, bob["id"], "admin")
    bearer = await studio.bearer("bob@example.org")
    ada = await my_id(studio, admin)
    await asyncio.gather(set_role(studio, admin, bob["id"], "user"), set_role(studio, bearer, ada, "user"))
    assert (await studio.accounts.stats()).users == {"admin": 1, "user": 1}


async def test_an_admin_steps_down_when_there_is_another(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org")
    await set_role(studio, admin, bob["id"], "admin")
    assert (await set_role(studio, admin, await my_id(studio, admin), "user")).status_code == 200
    assert (await studio.call("GET", "/users", bearer=admin)).status_code == 403


async def test_there_are_two_roles_and_no_other(studio: Studio, admin: str) -> None:
    ada = await my_id(studio, admin)
    bodies: tuple[dict[str, Any], ...] = ({"role": "owner"}, {"role": None}, {}, {"role": "user", "x": 1})
    with Cases() as cases:
        for body in bodies:
            with cases.case(body):
                assert (await studio.call("PUT", f"/users/{ada}/role", body, bearer=admin)).status_code == 400


async def test_an_unknown_user_is_missing(studio: Studio, admin: str) -> None:
    for answer in (
        await set_role(studio, admin, "unknown", "user"),
        await set_active(studio, admin, "unknown", False),
    ):
        assert (answer.status_code, error_code(answer)) == (404, "RESOURCE_NOT_FOUND")


async def test_the_command_line_makes_an_admin_by_email(studio: Studio, admin: str) -> None:
    await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    assert (await studio.accounts.users.promote(" Bob@Example.org ")).role is Role.ADMIN
    assert (await studio.call("GET", "/users", bearer=bearer)).status_code == 200
    with pytest.raises(Missing, match=r"eve@example\.org"):
        await studio.accounts.users.promote("eve@example.org")


# Deactivation


async def test_a_deactivated_user_is_signed_out_everywhere_at_once(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    key = await studio.key(bearer)
    browser = await studio.sign_in_browser("bob@example.org")
    assert (await browser.get("/private")).status_code == 200
    assert await studio.status(bearer) == await studio.status(key) == 200
    answer = await set_active(studio, admin, bob["id"], False)
    assert (answer.status_code, answer.json()["is_active"]) == (200, False)
    assert await studio.status(bearer) == await studio.status(key) == 401
    assert (await browser.get("/private")).status_code == 303


async def test_a_reactivated_user_has_to_sign_in_again(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    await set_active(studio, admin, bob["id"], False)
    assert (await set_active(studio, admin, bob["id"], True)).json()["is_active"] is True
    assert await studio.status(bearer) == 401
    assert await studio.status(await studio.bearer("bob@example.org")) == 200


# Deletion, as part of the transaction of the admin feature


async def test_a_deleted_user_is_gone_at_once_with_sessions_tokens_and_keys(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org")
    tokens = await studio.login("bob@example.org")
    key = await studio.key(tokens["access_token"])
    browser = await studio.sign_in_browser("bob@example.org")
    assert await studio.status(key) == 200
    ada = await my_id(studio, admin)
    deleted = await studio.database.write(studio.accounts.users.remove, ada, bob["id"])
    assert deleted.email == "bob@example.org"
    assert await studio.status(tokens["access_token"]) == await studio.status(key) == 401
    assert (await browser.get("/private")).status_code == 303
    answer = await studio.call("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert answer.status_code == 401

    def remaining(tx: Transaction) -> list[Any]:
        return [
            tx.value("sessions", "select count(*) from sessions where user_id = $1", bob["id"]),
            tx.value("refresh_tokens", "select count(*) from refresh_tokens where user_id = $1", bob["id"]),
            tx.value("api_keys", "select count(*) from api_keys where user_id = $1", bob["id"]),
        ]

    assert await studio.database.read(remaining) == [0, 0, 0]
    assert (await studio.register("bob@example.org"))["id"] != bob["id"]


async def test_an_admin_cannot_delete_themselves_the_last_admin_or_an_unknown_user(studio: Studio, admin: str) -> None:
    ada = await my_id(studio, admin)
    bob = await studio.register("bob@example.org")
    with pytest.raises(Conflict, match="your own"):
        await studio.database.write(studio.accounts.users.remove, ada, ada)
    with pytest.raises(Conflict, match="last admin"):
        await studio.database.write(studio.accounts.users.remove, bob["id"], ada)
    with pytest.raises(Missing):
        await studio.database.write(studio.accounts.users.remove, ada, "unknown")


async def test_a_deletion_whose_transaction_fails_deletes_nothing(studio: Studio, admin: str) -> None:
    bob = await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    ada = await my_id(studio, admin)

    def fails(tx: Any) -> None:
        studio.accounts.users.remove(tx, ada, bob["id"])
        raise Conflict("something else did not work")

    with pytest.raises(Conflict):
        await studio.database.write(fails)
    assert await studio.status(bearer) == 200


async def test_users_are_counted_by_role(studio: Studio, admin: str) -> None:
    await studio.register("bob@example.org")
    assert (await studio.accounts.stats()).users == {"admin": 1, "user": 1}
