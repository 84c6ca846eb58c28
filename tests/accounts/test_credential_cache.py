"""The credential cache never returns stale data."""

import asyncio
from typing import Any

import pytest

from app.accounts.credential_cache import CredentialCache
from app.accounts.schemas import AuthMethod, Credential, Principal, Role, User
from app.base.clock import now

from .studio import PASSWORD, Studio


def principal(user_id: str, credential_id: str = "c") -> Principal:
    user = User(id=user_id, email=f"{user_id}@example.org", name="", role=Role.USER, is_active=True, created_at=now())
    return Principal(user, Credential(id=credential_id, method=AuthMethod.KEY, expires_at=None, last_used_at=None))


def test_a_credential_is_found_until_its_user_is_invalidated() -> None:
    cache = CredentialCache()
    cache.store("one", principal("ada", "1"), cache.generation)
    cache.store("two", principal("ada", "2"), cache.generation)
    cache.store("three", principal("bob", "3"), cache.generation)
    cache.invalidate("ada")
    assert cache.find("one") is None
    assert cache.find("two") is None
    found = cache.find("three")
    assert found is not None
    assert (found.user.id, found.credential.id) == ("bob", "3")


def test_what_was_read_before_a_change_is_not_cached_after_it() -> None:
    cache = CredentialCache()
    generation = cache.generation
    cache.invalidate("ada")
    cache.store("one", principal("ada"), generation)
    assert cache.find("one") is None


def test_the_cache_is_bounded_and_drops_the_least_recently_used_credential() -> None:
    cache = CredentialCache(size=3)
    for name in ("ada", "bob", "eve"):
        cache.store(name, principal(name), cache.generation)
    assert cache.find("ada")
    cache.store("joe", principal("joe"), cache.generation)
    assert cache.find("bob") is None
    assert all(cache.find(name) for name in ("ada", "eve", "joe"))
    for number in range(10):
        cache.store(str(number), principal("ada"), cache.generation)
    assert len(cache) == 3
    for name in ("bob", "ada"):  # of one, nothing is left; of the other, the newest
        cache.invalidate(name)
    assert len(cache) == 0


async def test_a_known_credential_is_checked_without_the_database(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    await studio.register()
    bearer = await studio.bearer()
    key = await studio.key(bearer)
    cookie = await studio.accounts.sign_in.start_page_session("ada@example.org", PASSWORD)

    async def identify() -> list[Principal | None]:
        accounts = studio.accounts
        return [
            await accounts.authentication.by_bearer(bearer),
            await accounts.authentication.by_bearer(key),
            await accounts.authentication.by_session(cookie),
        ]

    async def fail(*_: object) -> None:
        raise AssertionError("the database was used")

    first = await identify()
    assert None not in first
    monkeypatch.setattr(studio.database, "read", fail)
    monkeypatch.setattr(studio.database, "write", fail)
    assert await identify() == first


async def test_a_deactivation_while_a_credential_is_being_read_applies_to_the_next_request(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    await studio.register()
    bob = await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    read = studio.database.read
    has_read, resumed = asyncio.Event(), asyncio.Event()

    async def paused(*args: Any) -> Any:
        found = await read(*args)
        has_read.set()
        await resumed.wait()
        return found

    monkeypatch.setattr(studio.database, "read", paused)
    early = asyncio.create_task(studio.accounts.authentication.by_bearer(bearer))
    await has_read.wait()
    monkeypatch.setattr(studio.database, "read", read)
    await studio.accounts.users.set_active(bob["id"], False)
    resumed.set()
    await early
    assert await studio.status(bearer) == 401


async def test_a_change_whose_request_was_cancelled_is_applied(studio: Studio) -> None:
    await studio.register()
    bob = await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    assert await studio.status(bearer) == 200
    change = asyncio.create_task(studio.accounts.users.set_active(bob["id"], False))
    await asyncio.sleep(0)
    change.cancel()
    await asyncio.gather(change, return_exceptions=True)
    await studio.database.write(lambda tx: None)
    assert await studio.status(bearer) == 401


async def test_a_sign_in_survives_a_restart(studio: Studio) -> None:
    """With an empty cache, the database gives the same results."""
    await studio.register()
    bearer = await studio.bearer()
    key = await studio.key(bearer)
    cookie = await studio.accounts.sign_in.start_page_session("ada@example.org", PASSWORD)
    studio.restart()
    assert await studio.status(bearer) == await studio.status(key) == 200
    assert await studio.accounts.authentication.by_session(cookie)
