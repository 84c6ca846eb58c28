"""What is remembered of who is asking is never older than the last change."""

import asyncio
from typing import Any

from app.accounts.memory import Memory
from app.accounts.schemas import Credential, How, Known, Role, User
from app.base.clock import now

from .studio import PASSWORD, Studio


def known(user_id: str, credential_id: str = "c") -> Known:
    user = User(id=user_id, email=f"{user_id}@example.org", name="", role=Role.USER, is_active=True, created_at=now())
    return Known(user, Credential(id=credential_id, how=How.KEY, expires_at=None, seen_at=None))


def test_what_was_kept_is_found_until_the_person_is_forgotten() -> None:
    memory = Memory()
    memory.keep("one", known("ada", "1"), memory.epoch)
    memory.keep("two", known("ada", "2"), memory.epoch)
    memory.keep("three", known("bob", "3"), memory.epoch)
    memory.forget("ada")
    assert memory.find("one") is None
    assert memory.find("two") is None
    found = memory.find("three")
    assert found is not None
    assert (found.user.id, found.credential.id) == ("bob", "3")


def test_what_was_read_before_a_change_and_comes_after_it_is_not_kept() -> None:
    memory = Memory()
    epoch = memory.epoch
    memory.forget("ada")
    memory.keep("one", known("ada"), epoch)
    assert memory.find("one") is None


def test_it_is_bounded_and_forgets_who_was_seen_longest_ago() -> None:
    memory = Memory(size=3)
    for name in ("ada", "bob", "eve"):
        memory.keep(name, known(name), memory.epoch)
    assert memory.find("ada")
    memory.keep("joe", known("joe"), memory.epoch)
    assert memory.find("bob") is None
    assert all(memory.find(name) for name in ("ada", "eve", "joe"))
    for number in range(10):
        memory.keep(str(number), known("ada"), memory.epoch)
    assert len(memory) <= 3


async def test_a_request_costs_no_reading_of_the_database_once_its_proof_is_known(
    studio: Studio, monkeypatch: Any
) -> None:
    await studio.register()
    bearer = await studio.bearer()
    key = await studio.key(bearer)
    cookie = await studio.accounts.sign_in_page("ada@example.org", PASSWORD)

    async def ask() -> None:
        await studio.accounts.by_bearer(bearer)
        await studio.accounts.by_bearer(key)
        assert await studio.accounts.by_session(cookie)

    async def never(*_: object) -> None:
        raise AssertionError("the database was asked")

    await ask()
    monkeypatch.setattr(studio.database, "read", never)
    monkeypatch.setattr(studio.database, "write", never)
    await ask()


async def test_a_deactivation_while_a_proof_is_being_read_holds_for_the_next_request(
    studio: Studio, monkeypatch: Any
) -> None:
    await studio.register()
    bob = await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    read = studio.database.read
    has_read, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Any:
        found = await read(*args)
        has_read.set()
        await may_go_on.wait()
        return found

    monkeypatch.setattr(studio.database, "read", slow)
    early = asyncio.create_task(studio.accounts.by_bearer(bearer))
    await has_read.wait()
    monkeypatch.setattr(studio.database, "read", read)
    await studio.accounts.set_active(bob["id"], False)
    may_go_on.set()
    await early
    assert await studio.status(bearer) == 401


async def test_a_change_whose_request_was_given_up_holds_all_the_same(studio: Studio) -> None:
    await studio.register()
    bob = await studio.register("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    assert await studio.status(bearer) == 200
    change = asyncio.create_task(studio.accounts.set_active(bob["id"], False))
    await asyncio.sleep(0)
    change.cancel()
    await asyncio.gather(change, return_exceptions=True)
    await studio.database.write(lambda tx: None)
    assert await studio.status(bearer) == 401


async def test_a_sign_in_survives_a_restart(studio: Studio) -> None:
    """What is remembered is only a copy: with nothing in memory the database answers the same."""
    await studio.register()
    bearer = await studio.bearer()
    key = await studio.key(bearer)
    cookie = await studio.accounts.sign_in_page("ada@example.org", PASSWORD)
    studio.accounts._memory = Memory()
    assert await studio.status(bearer) == await studio.status(key) == 200
    assert await studio.accounts.by_session(cookie)
