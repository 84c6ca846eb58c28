"""Personal API keys, and the places where a person is signed in."""

from datetime import timedelta
from typing import Any

import pytest

from .studio import PASSWORD, Answer, Studio, fields, why


@pytest.fixture
async def bearer(studio: Studio) -> str:
    await studio.register()
    return await studio.bearer()


async def listed(studio: Studio, bearer: str, what: str = "keys") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await studio.call("GET", f"/users/me/{what}", bearer=bearer)).json()["items"]
    return found


async def make(studio: Studio, bearer: str, **body: Any) -> Answer:
    return await studio.call("POST", "/users/me/keys", body, bearer=bearer)


# Keys


async def test_a_new_key_is_answered_as_the_contract_says_and_works(studio: Studio, bearer: str) -> None:
    answer = await make(studio, bearer, name="laptop", expires_at="2026-12-24T18:00:00+01:00")
    made = answer.json()
    assert answer.status_code == 201
    assert made == {
        "id": made["id"],
        "name": "laptop",
        "key": made["key"],
        "prefix": made["key"][:12],
        "created_at": "2026-11-20T09:30:00.000Z",
        "expires_at": "2026-12-24T17:00:00.000Z",
        "monthly_cap_usd": None,
        "allowed_models": None,
        "spent_usd": "0",
    }
    assert made["key"].startswith("atl_")
    assert await studio.status(made["key"]) == 200


async def test_a_key_is_shown_once_and_never_again(studio: Studio, bearer: str) -> None:
    made = (await make(studio, bearer, name="laptop")).json()
    answer = await studio.call("GET", "/users/me/keys", bearer=bearer)
    assert made["key"] not in answer.text
    assert answer.json() == {
        "items": [
            {
                "id": made["id"],
                "name": "laptop",
                "prefix": made["prefix"],
                "created_at": made["created_at"],
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
    studio.clock.pass_by(seconds=59)
    await studio.status(key)
    assert (await listed(studio, bearer))[0]["last_used_at"] == "2026-11-20T09:30:00.000Z"
    studio.clock.pass_by(seconds=1)
    await studio.status(key)
    assert (await listed(studio, bearer))[0]["last_used_at"] == "2026-11-20T09:31:00.000Z"


async def test_using_a_key_costs_no_more_than_one_write_a_minute(
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


async def test_an_expired_key_is_refused_with_the_reason_and_still_listed(studio: Studio, bearer: str) -> None:
    key = await studio.key(bearer, expires_at="2026-11-20T09:40:00.000Z")
    studio.clock.pass_by(minutes=9, seconds=59)
    assert await studio.status(key) == 200
    studio.clock.pass_by(seconds=1)
    answer = await studio.call("GET", "/users/me", bearer=key)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "The API key has expired.")
    assert len(await listed(studio, bearer)) == 1


async def test_a_removed_key_is_refused_at_once(studio: Studio, bearer: str) -> None:
    made = (await make(studio, bearer, name="laptop")).json()
    assert await studio.status(made["key"]) == 200
    assert (await studio.call("DELETE", f"/users/me/keys/{made['id']}", bearer=bearer)).status_code == 204
    assert await studio.status(made["key"]) == 401
    assert await listed(studio, bearer) == []
    again = await studio.call("DELETE", f"/users/me/keys/{made['id']}", bearer=bearer)
    assert (again.status_code, why(again)) == (404, "RESOURCE_NOT_FOUND")


async def test_the_keys_of_a_deactivated_person_rest_until_they_are_active_again(studio: Studio, bearer: str) -> None:
    bob = await studio.register("bob@example.org")
    key = await studio.key(await studio.bearer("bob@example.org"))
    assert await studio.status(key) == 200
    await studio.call("PUT", f"/users/{bob['id']}/active", {"is_active": False}, bearer=bearer)
    assert await studio.status(key) == 401
    await studio.call("PUT", f"/users/{bob['id']}/active", {"is_active": True}, bearer=bearer)
    assert await studio.status(key) == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "expires_at": "2026-11-20T09:30:00.000Z"}, "expires_at"),
        ({"name": "x", "expires_at": "2026-11-20T09:31:00"}, "expires_at"),
        ({"name": "x", "expires_at": "tomorrow"}, "expires_at"),
        *(
            ({"name": "x", "monthly_cap_usd": amount}, "monthly_cap_usd")
            for amount in [
                *(
                    "",
                    "0",
                    "0.000",
                    "-1",
                    "+1",
                    "1e3",
                    "NaN",
                    "Infinity",
                    "1,000",
                    "5,00",
                    "$5",
                    "1.",
                    ".5",
                    "١",
                    "1 0",
                ),
                *("1000000000", "999999999999", "1.1234567891", "123456.1234567", "0x10", "1_0", "5\x00"),
                *(5, 7.5, True, ["5"]),
            ]
        ),
        *(
            ({"name": "x", "allowed_models": models}, "allowed_models")
            for models in [[], [""], ["  "], ["a/b", "\x00"], ["x" * 201], ["a/b"] * 201, "a/b", {"a/b": 1}]
        ),
    ],
)
async def test_a_wrong_key_is_refused_by_field(studio: Studio, bearer: str, body: dict[str, Any], field: str) -> None:
    answer = await make(studio, bearer, **body)
    assert (answer.status_code, list(fields(answer))) == (400, [field])


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_time_outside_all_calendars_is_refused(studio: Studio, bearer: str, moment: str) -> None:
    assert (await make(studio, bearer, name="x", expires_at=moment)).status_code == 400


async def test_a_strangers_key_is_missing_exactly_like_an_invented_one(studio: Studio, bearer: str) -> None:
    made = (await make(studio, bearer, name="laptop")).json()
    await studio.register("bob@example.org")
    bob = await studio.bearer("bob@example.org")
    strangers = await studio.call("DELETE", f"/users/me/keys/{made['id']}", bearer=bob)
    invented = await studio.call("DELETE", "/users/me/keys/invented", bearer=bob)
    assert (strangers.status_code, strangers.json()) == (invented.status_code, invented.json())
    assert strangers.status_code == 404
    assert await listed(studio, bob) == []
    assert await studio.status(made["key"]) == 200


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("25", "25"),
        ("7.50", "7.5"),
        (" 0.000000001 ", "0.000000001"),
        ("999999999.999", "999999999.999"),
        ("007", "7"),
        (None, None),
    ],
)
async def test_a_monthly_limit_is_kept_to_the_last_digit(
    studio: Studio, bearer: str, given: str | None, shown: str | None
) -> None:
    made = (await make(studio, bearer, name="x", monthly_cap_usd=given)).json()
    (key,) = await listed(studio, bearer)
    assert made["monthly_cap_usd"] == key["monthly_cap_usd"] == shown
    assert made["spent_usd"] == key["spent_usd"] == "0"


async def test_the_models_of_a_key_are_kept_in_their_order_and_once_each(studio: Studio, bearer: str) -> None:
    """Also those that nobody knows: the catalogue changes by itself."""
    wanted = ["google/veo-3.1", " not/known-yet", "google/veo-3.1", "fal:flux"]
    made = (await make(studio, bearer, name="x", allowed_models=wanted)).json()
    (key,) = await listed(studio, bearer)
    assert made["allowed_models"] == key["allowed_models"] == ["google/veo-3.1", "not/known-yet", "fal:flux"]
    many = [f"maker/model-{number}" for number in range(200)]
    assert (await make(studio, bearer, name="y", allowed_models=many)).json()["allowed_models"] == many


async def test_a_key_with_limits_proves_who_one_is_like_any_other_and_makes_no_keys(
    studio: Studio, bearer: str
) -> None:
    for limits in ({"monthly_cap_usd": "5"}, {"allowed_models": ["google/veo-3.1"]}):
        key = await studio.key(bearer, **limits)
        assert await studio.status(key) == 200
        answer = await make(studio, key, name="free")
        assert (answer.status_code, why(answer)) == (403, "FORBIDDEN")
    assert (await make(studio, await studio.key(bearer), name="free")).status_code == 201


# Sessions


async def test_sessions_tell_where_a_person_is_signed_in(studio: Studio, bearer: str) -> None:
    await studio.accounts.sign_in_page("ada@example.org", PASSWORD, "Firefox")
    seen = await listed(studio, bearer, "sessions")
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


async def test_a_renewed_family_stays_one_session(studio: Studio) -> None:
    await studio.register()
    tokens = await studio.login()
    studio.clock.pass_by(hours=1)
    answer = (await studio.call("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})).json()
    (session,) = await listed(studio, answer["access_token"], "sessions")
    assert (session["created_at"], session["last_used_at"]) == ("2026-11-20T09:30:00.000Z", "2026-11-20T10:30:00.000Z")
    assert session["expires_at"] == "2026-12-20T10:30:00.000Z"


async def test_a_page_session_lives_30_days(studio: Studio) -> None:
    await studio.register()
    browser = await studio.sign_in_browser()
    studio.clock.pass_by(days=30, seconds=-1)
    assert (await browser.get("/desk")).status_code == 200
    studio.clock.pass_by(seconds=1)
    assert (await browser.get("/desk")).status_code == 303


async def test_an_expired_session_is_not_listed(studio: Studio, bearer: str) -> None:
    studio.clock.pass_by(days=31)
    assert len(await listed(studio, await studio.bearer(), "sessions")) == 1


async def test_one_session_can_be_ended(studio: Studio, bearer: str) -> None:
    browser = await studio.sign_in_browser()
    assert (await browser.get("/desk")).status_code == 200
    (page,) = [item for item in await listed(studio, bearer, "sessions") if item["kind"] == "page"]
    assert (await studio.call("DELETE", f"/users/me/sessions/{page['id']}", bearer=bearer)).status_code == 204
    assert (await browser.get("/desk")).status_code == 303
    assert await studio.status(bearer) == 200
    assert (await studio.call("DELETE", f"/users/me/sessions/{page['id']}", bearer=bearer)).status_code == 404


async def test_ending_a_family_ends_its_tokens(studio: Studio, bearer: str) -> None:
    other = await studio.login()
    (mine, theirs) = sorted(await listed(studio, bearer, "sessions"), key=lambda session: not session["current"])
    assert mine["current"]
    assert (await studio.call("DELETE", f"/users/me/sessions/{theirs['id']}", bearer=bearer)).status_code == 204
    assert await studio.status(other["access_token"]) == 401
    answer = await studio.call("POST", "/auth/refresh", {"refresh_token": other["refresh_token"]})
    assert answer.status_code == 401


async def test_all_other_sessions_can_be_ended(studio: Studio, bearer: str) -> None:
    other = await studio.bearer()
    browser = await studio.sign_in_browser()
    key = await studio.key(bearer)
    assert (await studio.call("DELETE", "/users/me/sessions", bearer=bearer)).status_code == 204
    assert await studio.status(bearer) == 200
    assert await studio.status(other) == 401
    assert (await browser.get("/desk")).status_code == 303
    assert await studio.status(key) == 200


async def test_an_api_key_is_no_session_and_ends_them_all(studio: Studio, bearer: str) -> None:
    key = await studio.key(bearer)
    assert [session["current"] for session in await listed(studio, key, "sessions")] == [False]
    assert (await studio.call("DELETE", "/users/me/sessions", bearer=key)).status_code == 204
    assert await studio.status(bearer) == 401
    assert await studio.status(key) == 200


async def test_a_strangers_session_is_missing_and_goes_on(studio: Studio, bearer: str) -> None:
    (session,) = await listed(studio, bearer, "sessions")
    await studio.register("bob@example.org")
    bob = await studio.bearer("bob@example.org")
    assert (await studio.call("DELETE", f"/users/me/sessions/{session['id']}", bearer=bob)).status_code == 404
    await studio.call("DELETE", "/users/me/sessions", bearer=bob)
    assert await studio.status(bearer) == 200


async def test_purging_takes_expired_sessions_away(studio: Studio, bearer: str) -> None:
    studio.clock.now += timedelta(days=31)
    await studio.accounts.purge_tokens()
    assert await studio.database.read(lambda tx: tx.value("select count(*) from sessions")) == 0
