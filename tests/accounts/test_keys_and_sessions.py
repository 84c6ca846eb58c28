"""Personal API keys, and the sessions of a user."""

from typing import Any

import pytest

from tests.kit import Cases

from .studio import PASSWORD, Response, Studio, error_code, field_errors


@pytest.fixture
async def bearer(studio: Studio) -> str:
    await studio.register()
    return await studio.bearer()


async def items(studio: Studio, bearer: str, what: str = "keys") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await studio.call("GET", f"/users/me/{what}", bearer=bearer)).json()["items"]
    return found


async def add_key(studio: Studio, bearer: str, **body: Any) -> Response:
    return await studio.call("POST", "/users/me/keys", body, bearer=bearer)


# Keys


async def test_a_new_key_is_returned_as_the_contract_says_and_works(studio: Studio, bearer: str) -> None:
    answer = await add_key(studio, bearer, name="laptop", expires_at="2026-12-24T18:00:00+01:00")
    created = answer.json()
    assert answer.status_code == 201
    assert created == {
        "id": created["id"],
        "name": "laptop",
        "key": created["key"],
        "prefix": created["key"][:12],
        "created_at": "2026-11-20T09:30:00.000Z",
        "expires_at": "2026-12-24T17:00:00.000Z",
        "monthly_cap_usd": None,
        "allowed_models": None,
        "spent_usd": "0",
    }
    assert created["key"].startswith("atl_")
    assert await studio.status(created["key"]) == 200


async def test_a_key_is_shown_only_once(studio: Studio, bearer: str) -> None:
    created = (await add_key(studio, bearer, name="laptop")).json()
    answer = await studio.call("GET", "/users/me/keys", bearer=bearer)
    assert created["key"] not in answer.text
    assert answer.json() == {
        "items": [
            {
                "id": created["id"],
                "name": "laptop",
                "prefix": created["prefix"],
                "created_at": created["created_at"],
                "expires_at": None,
                "last_used_at": None,
                "monthly_cap_usd": None,
                "allowed_models": None,
                "spent_usd": "0",
            }
        ],
        "total": 1,
        "next": None,
    }


async def test_the_last_use_of_a_key_is_shown_to_the_minute(studio: Studio, bearer: str) -> None:
    key = await studio.key(bearer)
    await studio.status(key)
    studio.clock.advance(seconds=59)
    await studio.status(key)
    assert (await items(studio, bearer))[0]["last_used_at"] == "2026-11-20T09:30:00.000Z"
    studio.clock.advance(seconds=1)
    await studio.status(key)
    assert (await items(studio, bearer))[0]["last_used_at"] == "2026-11-20T09:31:00.000Z"


async def test_a_key_in_use_causes_at_most_one_write_a_minute(
    studio: Studio, bearer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await studio.key(bearer)
    writes = 0
    write = studio.database.write

    async def counted(*args: Any) -> Any:
        nonlocal writes
        writes += 1
        return await write(*args)

    monkeypatch.setattr(studio.database, "write", counted)
    for _ in range(20):
        assert await studio.status(key) == 200
    assert writes == 1


async def test_an_expired_key_is_rejected_with_the_reason_and_is_still_listed(studio: Studio, bearer: str) -> None:
    key = await studio.key(bearer, expires_at="2026-11-20T09:40:00.000Z")
    studio.clock.advance(minutes=9, seconds=59)
    assert await studio.status(key) == 200
    studio.clock.advance(seconds=1)
    answer = await studio.call("GET", "/users/me", bearer=key)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "The API key has expired.")
    assert len(await items(studio, bearer)) == 1


async def test_a_removed_key_is_rejected_at_once(studio: Studio, bearer: str) -> None:
    created = (await add_key(studio, bearer, name="laptop")).json()
    assert await studio.status(created["key"]) == 200
    assert (await studio.call("DELETE", f"/users/me/keys/{created['id']}", bearer=bearer)).status_code == 204
    assert await studio.status(created["key"]) == 401
    assert await items(studio, bearer) == []
    again = await studio.call("DELETE", f"/users/me/keys/{created['id']}", bearer=bearer)
    assert (again.status_code, error_code(again)) == (404, "RESOURCE_NOT_FOUND")


async def test_the_keys_of_a_deactivated_user_do_not_work_until_the_user_is_active_again(
    studio: Studio, bearer: str
) -> None:
    bob = await studio.register("bob@example.org")
    key = await studio.key(await studio.bearer("bob@example.org"))
    assert await studio.status(key) == 200
    await studio.call("PUT", f"/users/{bob['id']}/active", {"is_active": False}, bearer=bearer)
    assert await studio.status(key) == 401
    await studio.call("PUT", f"/users/{bob['id']}/active", {"is_active": True}, bearer=bearer)
    assert await studio.status(key) == 200


INVALID_AMOUNTS: list[object] = [
    *("", "0", "0.000", "-1", "+1", "1e3", "NaN", "Infinity", "1,000", "5,00", "$5", "1.", ".5", "\u0661", "1 0"),
    *("1000000000", "999999999999", "1.1234567891", "123456.1234567", "0x10", "1_0", "5\x00"),
    *(5, 7.5, True, ["5"]),
]
INVALID_MODELS: list[object] = [[], [""], ["  "], ["a/b", "\x00"], ["x" * 201], ["a/b"] * 201, "a/b", {"a/b": 1}]
INVALID_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "   "}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"name": "x", "expires_at": "2026-11-20T09:30:00.000Z"}, "expires_at"),
    ({"name": "x", "expires_at": "2026-11-20T09:31:00"}, "expires_at"),
    ({"name": "x", "expires_at": "tomorrow"}, "expires_at"),
    ({"name": "x", "expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),  # outside the range of a datetime
    ({"name": "x", "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
    *(({"name": "x", "monthly_cap_usd": amount}, "monthly_cap_usd") for amount in INVALID_AMOUNTS),
    *(({"name": "x", "allowed_models": models}, "allowed_models") for models in INVALID_MODELS),
]


async def test_an_invalid_key_is_rejected_by_field(studio: Studio, bearer: str) -> None:
    with Cases() as cases:
        for body, field in INVALID_KEYS:
            with cases.case(body):
                answer = await add_key(studio, bearer, **body)
                assert (answer.status_code, list(field_errors(answer))) == (400, [field])
    assert await items(studio, bearer) == []


async def test_a_key_of_another_user_is_missing_exactly_like_an_unknown_one(studio: Studio, bearer: str) -> None:
    created = (await add_key(studio, bearer, name="laptop")).json()
    await studio.register("bob@example.org")
    bob = await studio.bearer("bob@example.org")
    foreign = await studio.call("DELETE", f"/users/me/keys/{created['id']}", bearer=bob)
    unknown = await studio.call("DELETE", "/users/me/keys/unknown", bearer=bob)
    assert (foreign.status_code, foreign.json()) == (unknown.status_code, unknown.json())
    assert foreign.status_code == 404
    assert await items(studio, bob) == []
    assert await studio.status(created["key"]) == 200


async def test_a_monthly_limit_is_stored_to_the_last_digit(studio: Studio, bearer: str) -> None:
    amounts = {
        "25": "25",
        "7.50": "7.5",
        " 0.000000001 ": "0.000000001",
        "999999999.999": "999999999.999",
        "007": "7",
        None: None,
    }
    with Cases() as cases:
        for given, shown in amounts.items():
            with cases.case(given):
                created = (await add_key(studio, bearer, name="x", monthly_cap_usd=given)).json()
                newest = (await items(studio, bearer))[0]
                assert created["monthly_cap_usd"] == newest["monthly_cap_usd"] == shown
                assert created["spent_usd"] == newest["spent_usd"] == "0"


async def test_the_models_of_a_key_are_stored_in_their_order_without_duplicates(studio: Studio, bearer: str) -> None:
    """Including unknown models, because the catalog changes."""
    wanted = ["google/veo-3.1", " not/known-yet", "google/veo-3.1", "fal:flux"]
    created = (await add_key(studio, bearer, name="x", allowed_models=wanted)).json()
    (key,) = await items(studio, bearer)
    assert created["allowed_models"] == key["allowed_models"] == ["google/veo-3.1", "not/known-yet", "fal:flux"]
    many = [f"acme/model-{number}" for number in range(200)]
    assert (await add_key(studio, bearer, name="y", allowed_models=many)).json()["allowed_models"] == many


async def test_a_key_with_limits_authenticates_like_any_other_but_cannot_create_keys(
    studio: Studio, bearer: str
) -> None:
    for limits in ({"monthly_cap_usd": "5"}, {"allowed_models": ["google/veo-3.1"]}):
        key = await studio.key(bearer, **limits)
        assert await studio.status(key) == 200
        answer = await add_key(studio, key, name="free")
        assert (answer.status_code, error_code(answer)) == (403, "FORBIDDEN")
    assert (await add_key(studio, await studio.key(bearer), name="free")).status_code == 201


# Sessions


async def test_every_active_session_is_listed(studio: Studio, bearer: str) -> None:
    await studio.accounts.sign_in.start_page_session("ada@example.org", PASSWORD, "Firefox")
    seen = await items(studio, bearer, "sessions")
    assert [(session["kind"], session["agent"], session["current"]) for session in seen] == [
        ("page", "Firefox", False),
        ("token", studio.client.headers["User-Agent"], True),
    ]
    assert seen[0] == {
        "id": seen[0]["id"],
        "kind": "page",
        "agent": "Firefox",
        "created_at": "2026-11-20T09:30:00.000Z",
        "last_used_at": "2026-11-20T09:30:00.000Z",
        "expires_at": "2026-12-20T09:30:00.000Z",
        "current": False,
    }


async def test_a_refreshed_token_stays_in_its_session(studio: Studio) -> None:
    await studio.register()
    tokens = await studio.login()
    studio.clock.advance(hours=1)
    answer = (await studio.call("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})).json()
    (session,) = await items(studio, answer["access_token"], "sessions")
    assert (session["created_at"], session["last_used_at"]) == ("2026-11-20T09:30:00.000Z", "2026-11-20T10:30:00.000Z")
    assert session["expires_at"] == "2026-12-20T10:30:00.000Z"


async def test_a_page_session_lives_30_days(studio: Studio) -> None:
    await studio.register()
    browser = await studio.sign_in_browser()
    studio.clock.advance(days=30, seconds=-1)
    assert (await browser.get("/private")).status_code == 200
    studio.clock.advance(seconds=1)
    assert (await browser.get("/private")).status_code == 303


async def test_an_expired_session_is_not_listed(studio: Studio, bearer: str) -> None:
    studio.clock.advance(days=31)
    assert len(await items(studio, await studio.bearer(), "sessions")) == 1


async def test_one_session_is_revoked(studio: Studio, bearer: str) -> None:
    browser = await studio.sign_in_browser()
    assert (await browser.get("/private")).status_code == 200
    (page,) = [item for item in await items(studio, bearer, "sessions") if item["kind"] == "page"]
    assert (await studio.call("DELETE", f"/users/me/sessions/{page['id']}", bearer=bearer)).status_code == 204
    assert (await browser.get("/private")).status_code == 303
    assert await studio.status(bearer) == 200
    assert (await studio.call("DELETE", f"/users/me/sessions/{page['id']}", bearer=bearer)).status_code == 404


async def test_a_revoked_token_session_revokes_its_tokens(studio: Studio, bearer: str) -> None:
    other = await studio.login()
    (mine, theirs) = sorted(await items(studio, bearer, "sessions"), key=lambda session: not session["current"])
    assert mine["current"]
    assert (await studio.call("DELETE", f"/users/me/sessions/{theirs['id']}", bearer=bearer)).status_code == 204
    assert await studio.status(other["access_token"]) == 401
    answer = await studio.call("POST", "/auth/refresh", {"refresh_token": other["refresh_token"]})
    assert answer.status_code == 401


async def test_all_other_sessions_are_revoked(studio: Studio, bearer: str) -> None:
    other = await studio.bearer()
    browser = await studio.sign_in_browser()
    key = await studio.key(bearer)
    assert (await studio.call("DELETE", "/users/me/sessions", bearer=bearer)).status_code == 204
    assert await studio.status(bearer) == 200
    assert await studio.status(other) == 401
    assert (await browser.get("/private")).status_code == 303
    assert await studio.status(key) == 200


async def test_an_api_key_belongs_to_no_session_and_revokes_them_all(studio: Studio, bearer: str) -> None:
    key = await studio.key(bearer)
    assert [session["current"] for session in await items(studio, key, "sessions")] == [False]
    assert (await studio.call("DELETE", "/users/me/sessions", bearer=key)).status_code == 204
    assert await studio.status(bearer) == 401
    assert await studio.status(key) == 200


async def test_a_session_of_another_user_is_missing_and_stays_active(studio: Studio, bearer: str) -> None:
    (session,) = await items(studio, bearer, "sessions")
    await studio.register("bob@example.org")
    bob = await studio.bearer("bob@example.org")
    assert (await studio.call("DELETE", f"/users/me/sessions/{session['id']}", bearer=bob)).status_code == 404
    await studio.call("DELETE", "/users/me/sessions", bearer=bob)
    assert await studio.status(bearer) == 200


async def test_purging_deletes_expired_sessions(studio: Studio, bearer: str) -> None:
    studio.clock.advance(days=31)
    await studio.accounts.sessions.purge_tokens()
    assert await studio.database.read(lambda tx: tx.value("sessions", "select count(*) from sessions")) == 0
