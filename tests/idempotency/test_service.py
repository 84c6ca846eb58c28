"""The rules of idempotency keys, without HTTP: how long a key is valid, and who waits for whom."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from app.base import clock
from app.base.errors import Conflict, Invalid
from app.db.database import Database
from app.db.duckdb.database import EmbeddedDatabase
from app.idempotency.schemas import IdempotencyKey
from app.idempotency.service import KEY_TTL, Idempotency
from tests.studio import migrated_database

KEY = IdempotencyKey("ann", "k", "this request")
OTHER_REQUEST = IdempotencyKey("ann", "k", "another request")
OTHER_USER = IdempotencyKey("bob", "k", "another request")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = EmbeddedDatabase(migrated_database(tmp_path / "test.duckdb"))
    yield database
    await database.close()


@pytest.fixture
def idempotency(database: Database) -> Idempotency:
    return Idempotency(database)


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The only item is the time now, which a test may replace."""
    moment = [clock.now()]
    monkeypatch.setattr(clock, "now", lambda: moment[0])
    return moment


async def recorded(database: Database, idempotency: Idempotency, key: IdempotencyKey, result: str) -> str | None:
    return await database.write(idempotency.record, key, result, clock.now())


async def first_result(idempotency: Idempotency, key: IdempotencyKey | None) -> str | None:
    async with idempotency.first_result(key) as found:
        return found


async def test_a_result_is_found_by_the_same_request_only(database: Database, idempotency: Idempotency) -> None:
    assert await first_result(idempotency, KEY) is None
    assert await recorded(database, idempotency, KEY, "job-1") is None
    assert await first_result(idempotency, KEY) == "job-1"
    assert await recorded(database, idempotency, KEY, "job-2") == "job-1", "the first result stays"
    for ask in (first_result(idempotency, OTHER_REQUEST), recorded(database, idempotency, OTHER_REQUEST, "job-2")):
        with pytest.raises(Conflict):
            await ask
    assert await first_result(idempotency, OTHER_USER) is None
    assert await first_result(idempotency, None) is None


async def test_a_key_is_valid_for_a_day(database: Database, idempotency: Idempotency, moment: list[datetime]) -> None:
    await recorded(database, idempotency, KEY, "job-1")
    moment[0] += KEY_TTL
    assert await first_result(idempotency, KEY) == "job-1"
    moment[0] += timedelta(seconds=1)
    assert await first_result(idempotency, OTHER_REQUEST) is None
    assert await recorded(database, idempotency, OTHER_REQUEST, "job-2") is None
    assert await first_result(idempotency, OTHER_REQUEST) == "job-2"


async def test_expired_keys_are_deleted(database: Database, idempotency: Idempotency, moment: list[datetime]) -> None:
    await recorded(database, idempotency, KEY, "job-1")
    moment[0] += KEY_TTL + timedelta(minutes=1)
    await recorded(database, idempotency, OTHER_USER, "job-2")
    await idempotency.sweep()
    rows = await database.read(lambda tx: tx.rows("idempotency_keys", "select owner_id from idempotency_keys"))
    assert [row["owner_id"] for row in rows] == ["bob"]


async def test_requests_with_one_key_wait_for_the_first_and_others_do_not(
    database: Database, idempotency: Idempotency
) -> None:
    async with idempotency.first_result(KEY) as found:
        assert found is None
        waiting = [asyncio.create_task(first_result(idempotency, KEY)) for _ in range(9)]
        assert await first_result(idempotency, OTHER_USER) is None
        assert not any(task.done() for task in waiting)
        await recorded(database, idempotency, KEY, "job-1")
    assert await asyncio.gather(*waiting) == ["job-1"] * 9


async def test_after_a_request_that_failed_or_was_cancelled_the_next_one_is_the_first(
    idempotency: Idempotency,
) -> None:
    async def fail() -> None:
        async with idempotency.first_result(KEY):
            await asyncio.sleep(0)
            raise Invalid("The image could not be downloaded.")

    async def hang() -> None:
        async with idempotency.first_result(KEY):
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hang())
    tasks = [asyncio.create_task(fail()), asyncio.create_task(fail())]
    await asyncio.sleep(0.05)
    hanging.cancel()
    assert [type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)] == [Invalid, Invalid]
    assert await first_result(idempotency, KEY) is None


def test_a_key_is_made_of_the_header_or_of_the_form() -> None:
    body = {"prompt": "a boat", "model": "m"}
    first = IdempotencyKey.of("ann", "k", "/path", body)
    assert first == IdempotencyKey.of("ann", "k", "/path", dict(reversed(body.items())))
    assert first != IdempotencyKey.of("ann", "k", "/another", body)
    assert IdempotencyKey.of("ann", None, "/path", body) is None
    for wrong in ("", "x" * 256, "a\tb"):
        with pytest.raises(Invalid):
            IdempotencyKey.of("ann", wrong, "/path", body)
    form = {"idempotency_key": "k", "_csrf_token": "one", "text": "hello"}
    click = IdempotencyKey.of_form("ann", "/chat", form)
    assert click is not None
    assert click == IdempotencyKey.of_form("ann", "/chat", {**form, "_csrf_token": "two"})
    changed = IdempotencyKey.of_form("ann", "/chat", {**form, "text": "bye"})
    assert changed is not None
    assert changed.key != click.key, "changed content is another request, not a conflict"
    assert IdempotencyKey.of_form("ann", "/chat", {"text": "hello"}) is None
