"""`/health`: public, 200 while everything works, 503 when the database or a background task is dead, and no details."""

from pathlib import Path

from tests.studio import Studio, running


async def test_health_is_public_and_shows_no_details(atelier: Studio) -> None:
    answer = await atelier.direct().get("/health")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert len(answer.content) < 100
    for detail in ("version", "duckdb", "path", "/", "loop", "user"):
        assert detail not in answer.text.lower()


async def test_health_needs_no_credentials_and_ignores_invalid_ones(atelier: Studio) -> None:
    for headers in (
        {"Authorization": "Bearer garbled"},
        {"Cookie": f"{atelier.cookie_prefix}session=garbled"},
        {"Accept": "text/html"},
    ):
        assert (await atelier.direct().get("/health", headers=headers)).status_code == 200


async def test_health_is_503_when_a_background_task_or_the_database_is_dead(tmp_path: Path) -> None:
    seconds = 0.0
    async with running(tmp_path, timer=lambda: seconds) as studio:
        client = studio.direct()
        assert (await client.get("/health")).status_code == 200
        seconds = 7200.0  # two hours in which no background task has run
        answer = await client.get("/health")
        assert answer.status_code == 503
        assert "worker" not in answer.text

        seconds = 0.0
        assert (await client.get("/health")).status_code == 200
        await studio.program.database.close()
        answer = await client.get("/health")
        assert answer.status_code == 503
        assert "Traceback" not in answer.text
        assert "duckdb" not in answer.text.lower()
