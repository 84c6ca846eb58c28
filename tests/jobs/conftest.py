"""Jobs on a real database, without a provider or a worker: the tests say what the provider answered."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.base import clock
from app.base.database import Database
from app.base.migrate import migrate
from app.base.secret import new_id
from app.jobs.schemas import GenerationType, Job
from app.jobs.service import Jobs
from app.library.service import Library
from app.main import MIGRATIONS
from app.providers.client import Client
from app.providers.contract import Kind
from app.quota.service import Quota
from app.storage.files import Files
from app.storage.media import Media

Reopen = Callable[[], Jobs]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "test.duckdb")
    await migrate(database, MIGRATIONS)
    yield database
    await database.close()


@pytest.fixture
async def reopen(database: Database, tmp_path: Path) -> AsyncIterator[Reopen]:
    """Jobs as after a restart: with the rows and nothing else."""
    for name in ("media", "tmp"):
        (tmp_path / name).mkdir()
    files, media, client = Files(tmp_path / "media", tmp_path / "tmp"), Media(), Client()
    library = Library(database, files, media, client, max_image_bytes=10**7, max_video_bytes=10**8)
    yield lambda: Jobs(database, Quota(database), library, {}, timeout=1800, pause=15)
    files.close()
    media.close()
    await client.aclose()


@pytest.fixture
def jobs(reopen: Reopen) -> Jobs:
    return reopen()


def a_job(owner: str = "ann", kind: Kind = Kind.VIDEO, **changes: object) -> Job:
    """A job as `generation` would ask for it."""
    values: dict[str, object] = {
        "id": new_id(),
        "owner_id": owner,
        "kind": kind,
        "generation_type": GenerationType.TEXT_TO_VIDEO,
        "provider": "openrouter",
        "model": "google/veo-3.1",
        "model_name": "Veo 3.1",
        "upstream_model": "google/veo-3.1",
        "prompt": "a paper boat",
        "created_at": clock.now(),
        **changes,
    }
    return Job(**values)  # type: ignore[arg-type]
