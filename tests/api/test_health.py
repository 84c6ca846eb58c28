"""`/health`: public, 200 while everything works, 503 when the database or a loop is dead, and no details."""

from pathlib import Path

import pytest

from app.base import clock
from tests.studio import Studio, running


async def test_health_is_public_and_tells_no_details(studio: Studio) -> None:
    answer = await studio.client().get("/health")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert len(answer.content) < 100
    for detail in ("version", "duckdb", "path", "/", "loop", "user"):
        assert detail not in answer.text.lower()


async def test_health_is_503_when_the_database_is_dead(tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        client = studio.client()
        assert (await client.get("/health")).status_code == 200
        await studio.program.database.close()
        answer = await client.get("/health")
        assert answer.status_code == 503
        assert "Traceback" not in answer.text
        assert "duckdb" not in answer.text.lower()


async def test_health_is_503_when_a_loop_is_dead(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    client = studio.client()
    assert (await client.get("/health")).status_code == 200
    steady = clock.steady
    with monkeypatch.context() as patch:
        # Two hours in which no loop has given a sign.
        patch.setattr(clock, "steady", lambda: steady() + 7200)
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert "worker" not in answer.text


async def test_health_asks_for_nothing_and_takes_any_client(studio: Studio) -> None:
    for headers in ({"Authorization": "Bearer garbled"}, {"Cookie": "session=garbled"}, {"Accept": "text/html"}):
        assert (await studio.client().get("/health", headers=headers)).status_code == 200
