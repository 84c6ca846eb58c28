"""Refresh tokens: single use, families (the tokens of one session), and what revokes them."""

import asyncio
from pathlib import Path

import pytest

from app.db.duckdb.database import EmbeddedDatabase
from tests.studio import migrated_database

from .studio import PASSWORD, Studio, error_code, studio_over


async def refresh(studio: Studio, token: str) -> str | None:
    """The next refresh token, or None if this one is rejected."""
    answer = await studio.call("POST", "/auth/refresh", {"refresh_token": token})
    if answer.status_code == 401:
        assert error_code(answer) == "AUTHENTICATION_ERROR"
        return None
    assert answer.status_code == 200
    return str(answer.json()["refresh_token"])


async def successor(studio: Studio, token: str) -> str:
    following = await refresh(studio, token)
    assert following is not None
    return following


@pytest.fixture
async def first(studio: Studio) -> str:
    await studio.register()
    return str((await studio.login())["refresh_token"])


async def test_refreshing_returns_a_new_pair_of_valid_tokens(studio: Studio, first: str) -> None:
    answer = (await studio.call("POST", "/auth/refresh", {"refresh_token": first})).json()
    assert set(answer) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert answer["refresh_token"] != first
    assert await studio.status(answer["access_token"]) == 200
    assert await refresh(studio, answer["refresh_token"])


async def test_reuse_of_a_token_revokes_its_whole_family(studio: Studio, first: str) -> None:
    second = await successor(studio, first)
    third = await successor(studio, second)
    assert await refresh(studio, first) is None
    assert await refresh(studio, third) is None


async def test_the_access_tokens_of_a_revoked_family_are_refused_at_once(studio: Studio, first: str) -> None:
    answer = (await studio.call("POST", "/auth/refresh", {"refresh_token": first})).json()
    assert await studio.status(answer["access_token"]) == 200
    await successor(studio, answer["refresh_token"])
    assert await refresh(studio, first) is None
    assert await studio.status(answer["access_token"]) == 401


async def test_other_families_of_the_same_user_stay_valid(studio: Studio, first: str) -> None:
    other = await studio.login()
    await successor(studio, await successor(studio, first))
    assert await refresh(studio, first) is None
    assert await studio.status(other["access_token"]) == 200
    assert await refresh(studio, other["refresh_token"])


async def test_a_token_used_twice_within_10_seconds_gets_a_new_pair_that_replaces_its_successor(
    studio: Studio, first: str
) -> None:
    lost = await successor(studio, first)
    studio.clock.advance(seconds=10)
    again = await successor(studio, first)
    assert again != lost
    assert await refresh(studio, lost) is None
    assert await refresh(studio, again)


async def test_after_10_seconds_a_second_use_revokes_the_family(studio: Studio, first: str) -> None:
    second = await successor(studio, first)
    studio.clock.advance(seconds=10, microseconds=1)
    assert await refresh(studio, first) is None
    assert await refresh(studio, second) is None


async def test_the_10_seconds_begin_with_the_first_use_and_are_not_extended(studio: Studio, first: str) -> None:
    await successor(studio, first)
    studio.clock.advance(seconds=6)
    last = await successor(studio, first)
    studio.clock.advance(seconds=6)
    assert await refresh(studio, first) is None
    assert await refresh(studio, last) is None


async def test_within_10_seconds_a_second_use_revokes_the_family_once_the_successor_was_used(
    studio: Studio, first: str
) -> None:
    third = await successor(studio, await successor(studio, first))
    assert await refresh(studio, first) is None
    assert await refresh(studio, third) is None


async def test_twenty_uses_at_once_leave_exactly_one_valid_token(studio: Studio, first: str) -> None:
    answers = await asyncio.gather(*(refresh(studio, first) for _ in range(20)))
    assert len({token for token in answers if token}) == 20
    assert (await studio.accounts.stats()).tokens == {"active": 1, "expired": 0, "revoked": 19}
    valid = [token for token in answers if token and await refresh(studio, token)]
    assert len(valid) == 1


async def test_a_token_is_valid_for_30_days_and_its_successor_for_30_more(studio: Studio, first: str) -> None:
    studio.clock.advance(days=29, hours=23)
    second = await successor(studio, first)
    studio.clock.advance(days=29, hours=23)
    third = await successor(studio, second)
    studio.clock.advance(days=30)
    assert await refresh(studio, third) is None


async def test_a_session_that_is_refreshed_in_time_continues_beyond_30_days(studio: Studio) -> None:
    await studio.register()
    tokens = await studio.login()
    for _ in range(3):
        assert await studio.status(tokens["access_token"]) == 200
        studio.clock.advance(days=29)
        tokens = (await studio.call("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})).json()
    assert await studio.status(tokens["access_token"]) == 200


async def test_an_unknown_token_is_refused(studio: Studio) -> None:
    for token in ("", "x", "atl_x", "\u00e9", "x" * 10_000):
        assert await refresh(studio, token) is None, token


async def test_an_access_token_cannot_be_used_to_refresh(studio: Studio) -> None:
    await studio.register()
    assert await refresh(studio, await studio.bearer()) is None


async def test_a_refresh_token_is_not_accepted_as_a_bearer(studio: Studio, first: str) -> None:
    assert await studio.status(first) == 401


async def test_signing_out_revokes_the_family_and_its_access_tokens_at_once(studio: Studio) -> None:
    await studio.register()
    tokens = await studio.login()
    assert await studio.status(tokens["access_token"]) == 200
    answer = await studio.call("POST", "/auth/logout", {"refresh_token": tokens["refresh_token"]})
    assert (answer.status_code, answer.content) == (204, b"")
    assert await studio.status(tokens["access_token"]) == 401
    assert await refresh(studio, tokens["refresh_token"]) is None


async def test_signing_out_with_an_unknown_token_changes_nothing(studio: Studio) -> None:
    await studio.register()
    tokens = await studio.login()
    assert (await studio.call("POST", "/auth/logout", {"refresh_token": "unknown"})).status_code == 204
    assert await studio.status(tokens["access_token"]) == 200


async def test_the_tokens_of_a_deactivated_user_stay_revoked_after_reactivation(studio: Studio) -> None:
    await studio.register()
    bob = await studio.register("bob@example.org")
    token = str((await studio.login("bob@example.org"))["refresh_token"])
    admin = await studio.bearer()
    for state in (False, True):
        await studio.call("PUT", f"/users/{bob['id']}/active", {"is_active": state}, bearer=admin)
        assert await refresh(studio, token) is None


def files(folder: Path) -> bytes:
    """The content of all files in the folder."""
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


# Purging and counting


async def test_purging_deletes_expired_and_revoked_tokens_and_returns_their_number(studio: Studio) -> None:
    await studio.register()
    await studio.login()
    studio.clock.advance(days=31)
    revoked = await studio.login()
    await studio.call("POST", "/auth/logout", {"refresh_token": revoked["refresh_token"]})
    kept = await studio.login()
    assert (await studio.accounts.stats()).tokens == {"active": 1, "expired": 1, "revoked": 1}
    assert await studio.accounts.sessions.purge_tokens() == 2
    assert (await studio.accounts.stats()).tokens == {"active": 1, "expired": 0, "revoked": 0}
    assert await studio.accounts.sessions.purge_tokens() == 0
    assert await refresh(studio, kept["refresh_token"])


async def test_purging_keeps_the_used_tokens_of_a_valid_family(studio: Studio, first: str) -> None:
    last = await successor(studio, await successor(studio, first))
    await studio.accounts.sessions.purge_tokens()
    assert await refresh(studio, first) is None
    assert await refresh(studio, last) is None


async def test_reuse_of_a_token_after_its_expiry_still_revokes_its_family(studio: Studio, first: str) -> None:
    studio.clock.advance(days=29)
    second = await successor(studio, first)
    studio.clock.advance(days=2)
    assert await refresh(studio, first) is None
    assert await refresh(studio, second) is None


async def test_tokens_and_passwords_are_stored_only_as_hashes(tmp_path: Path) -> None:
    database = EmbeddedDatabase(migrated_database(tmp_path / "atelier.duckdb"))
    async with studio_over(database) as studio:
        await studio.register()
        tokens = await studio.login()
        cookie = await studio.accounts.sign_in.start_page_session("ada@example.org", PASSWORD)
        key = await studio.key(tokens["access_token"])
        await database.close()
    stored = files(tmp_path)
    assert b"ada@example.org" in stored
    for secret in (tokens["refresh_token"], tokens["access_token"], cookie, key, PASSWORD):
        assert secret.encode() not in stored
