"""Refresh tokens: one use each, families, and what ends them."""

import asyncio

import pytest

from .studio import PASSWORD, Studio, why


async def refresh(studio: Studio, token: str) -> str | None:
    """The next refresh token, or None when this one is refused."""
    answer = await studio.call("POST", "/auth/refresh", {"refresh_token": token})
    if answer.status_code == 401:
        assert why(answer) == "AUTHENTICATION_ERROR"
        return None
    assert answer.status_code == 200
    return str(answer.json()["refresh_token"])


async def successor(studio: Studio, token: str) -> str:
    fresh = await refresh(studio, token)
    assert fresh is not None
    return fresh


@pytest.fixture
async def first(studio: Studio) -> str:
    await studio.register()
    return str((await studio.login())["refresh_token"])


async def test_renewing_answers_a_new_pair_that_both_work(studio: Studio, first: str) -> None:
    answer = (await studio.call("POST", "/auth/refresh", {"refresh_token": first})).json()
    assert set(answer) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert answer["refresh_token"] != first
    assert await studio.status(answer["access_token"]) == 200
    assert await refresh(studio, answer["refresh_token"])


async def test_a_used_token_ends_its_whole_family(studio: Studio, first: str) -> None:
    second = await successor(studio, first)
    third = await successor(studio, second)
    assert await refresh(studio, first) is None
    assert await refresh(studio, third) is None


async def test_the_access_tokens_of_an_ended_family_are_refused_at_once(studio: Studio, first: str) -> None:
    answer = (await studio.call("POST", "/auth/refresh", {"refresh_token": first})).json()
    assert await studio.status(answer["access_token"]) == 200
    await successor(studio, answer["refresh_token"])
    assert await refresh(studio, first) is None
    assert await studio.status(answer["access_token"]) == 401


async def test_other_families_of_the_same_person_are_not_touched(studio: Studio, first: str) -> None:
    other = await studio.login()
    await successor(studio, await successor(studio, first))
    assert await refresh(studio, first) is None
    assert await studio.status(other["access_token"]) == 200
    assert await refresh(studio, other["refresh_token"])


async def test_a_token_used_twice_within_10_seconds_is_given_a_new_pair_and_the_successor_dies(
    studio: Studio, first: str
) -> None:
    lost = await successor(studio, first)
    studio.clock.pass_by(seconds=10)
    again = await successor(studio, first)
    assert again != lost
    assert await refresh(studio, lost) is None
    assert await refresh(studio, again)


async def test_after_10_seconds_a_second_use_ends_the_family(studio: Studio, first: str) -> None:
    second = await successor(studio, first)
    studio.clock.pass_by(seconds=10, microseconds=1)
    assert await refresh(studio, first) is None
    assert await refresh(studio, second) is None


async def test_the_10_seconds_begin_with_the_first_use_and_are_not_prolonged(studio: Studio, first: str) -> None:
    await successor(studio, first)
    studio.clock.pass_by(seconds=6)
    last = await successor(studio, first)
    studio.clock.pass_by(seconds=6)
    assert await refresh(studio, first) is None
    assert await refresh(studio, last) is None


async def test_within_10_seconds_a_second_use_ends_the_family_once_the_successor_was_used(
    studio: Studio, first: str
) -> None:
    third = await successor(studio, await successor(studio, first))
    assert await refresh(studio, first) is None
    assert await refresh(studio, third) is None


async def test_twenty_uses_at_once_leave_exactly_one_living_token(studio: Studio, first: str) -> None:
    answers = await asyncio.gather(*(refresh(studio, first) for _ in range(20)))
    assert len({token for token in answers if token}) == 20
    assert (await studio.accounts.stats()).tokens == {"active": 1, "expired": 0, "revoked": 19}
    alive = [token for token in answers if token and await refresh(studio, token)]
    assert len(alive) == 1


async def test_a_token_lives_30_days_and_its_successor_30_more(studio: Studio, first: str) -> None:
    studio.clock.pass_by(days=29, hours=23)
    second = await successor(studio, first)
    studio.clock.pass_by(days=29, hours=23)
    third = await successor(studio, second)
    studio.clock.pass_by(days=30)
    assert await refresh(studio, third) is None


async def test_a_sign_in_that_is_renewed_in_time_goes_on_beyond_its_30_days(studio: Studio) -> None:
    await studio.register()
    tokens = await studio.login()
    for _ in range(3):
        assert await studio.status(tokens["access_token"]) == 200
        studio.clock.pass_by(days=29)
        tokens = (await studio.call("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})).json()
    assert await studio.status(tokens["access_token"]) == 200


@pytest.mark.parametrize("token", ["", "x", "atl_x", "\u00e9", "x" * 10_000])
async def test_an_unknown_token_is_refused(studio: Studio, token: str) -> None:
    assert await refresh(studio, token) is None


async def test_an_access_token_does_not_renew(studio: Studio) -> None:
    await studio.register()
    assert await refresh(studio, await studio.bearer()) is None


async def test_a_refresh_token_is_no_bearer(studio: Studio, first: str) -> None:
    assert await studio.status(first) == 401


async def test_signing_out_ends_the_family_and_its_access_tokens_at_once(studio: Studio) -> None:
    await studio.register()
    tokens = await studio.login()
    assert await studio.status(tokens["access_token"]) == 200
    answer = await studio.call("POST", "/auth/logout", {"refresh_token": tokens["refresh_token"]})
    assert (answer.status_code, answer.content) == (204, b"")
    assert await studio.status(tokens["access_token"]) == 401
    assert await refresh(studio, tokens["refresh_token"]) is None


async def test_signing_out_with_a_token_that_is_gone_changes_nothing(studio: Studio) -> None:
    await studio.register()
    tokens = await studio.login()
    assert (await studio.call("POST", "/auth/logout", {"refresh_token": "gone"})).status_code == 204
    assert await studio.status(tokens["access_token"]) == 200


async def test_a_deactivated_person_renews_nothing_even_when_active_again(studio: Studio) -> None:
    await studio.register()
    bob = await studio.register("bob@example.org")
    token = str((await studio.login("bob@example.org"))["refresh_token"])
    admin = await studio.bearer()
    for state in (False, True):
        await studio.call("PUT", f"/users/{bob['id']}/active", {"is_active": state}, bearer=admin)
        assert await refresh(studio, token) is None


# Purging and counting


async def test_purging_deletes_expired_and_revoked_tokens_and_says_how_many(studio: Studio) -> None:
    await studio.register()
    await studio.login()
    studio.clock.pass_by(days=31)
    ended = await studio.login()
    await studio.call("POST", "/auth/logout", {"refresh_token": ended["refresh_token"]})
    kept = await studio.login()
    assert (await studio.accounts.stats()).tokens == {"active": 1, "expired": 1, "revoked": 1}
    assert await studio.accounts.purge_tokens() == 2
    assert (await studio.accounts.stats()).tokens == {"active": 1, "expired": 0, "revoked": 0}
    assert await studio.accounts.purge_tokens() == 0
    assert await refresh(studio, kept["refresh_token"])


async def test_purging_does_not_forget_the_used_tokens_of_a_living_family(studio: Studio, first: str) -> None:
    last = await successor(studio, await successor(studio, first))
    await studio.accounts.purge_tokens()
    assert await refresh(studio, first) is None
    assert await refresh(studio, last) is None


async def test_a_used_token_that_comes_back_when_it_would_have_expired_still_ends_its_family(
    studio: Studio, first: str
) -> None:
    studio.clock.pass_by(days=29)
    second = await successor(studio, first)
    studio.clock.pass_by(days=2)
    assert await refresh(studio, first) is None
    assert await refresh(studio, second) is None


async def test_tokens_are_kept_as_hashes_only(studio: Studio) -> None:
    await studio.register()
    tokens = await studio.login()
    cookie = await studio.accounts.sign_in_page("ada@example.org", PASSWORD)
    key = await studio.key(tokens["access_token"])
    await studio.database.close()
    kept = b"".join(path.read_bytes() for path in studio.database.path.parent.glob("atelier.duckdb*"))
    assert b"ada@example.org" in kept
    for secret in (tokens["refresh_token"], tokens["access_token"], cookie, key, PASSWORD):
        assert secret.encode() not in kept
