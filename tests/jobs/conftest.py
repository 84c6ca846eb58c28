"""Jobs on a real database, without a provider or a worker: the tests say what the provider answered."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.base import clock
from app.base.database import Database
from app.base.migrate import migrate
from app.base.secret import new_id
from app.catalog.service import Catalog
from app.jobs.schemas import GenerationType, Job
from app.jobs.service import Jobs
from app.library.service import Library
from app.main import MIGRATIONS
from app.providers.client import Client
from app.providers.contract import Kind, Offer
from app.quota.service import Quota
from app.storage.files import Files
from app.storage.media import Media

Reopen = Callable[[], Jobs]


class Shelf:
    """A provider that offers the model of `a_job`."""

    async def offers(self) -> Sequence[Offer]:
        return [Offer(id="google/veo-3.1", name="Veo 3.1", output_modalities=("text", "image", "video"))]


async def a_catalog(database: Database) -> Catalog:
    """With the model of `a_job` on offer."""
    providers: dict[str, Any] = {"openrouter": Shelf()}
    catalog = Catalog(database, providers)
    await catalog.refresh()
    return catalog


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "test.duckdb")
    await migrate(database, MIGRATIONS)
    yield database
    await database.close()


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    return await a_catalog(database)


@pytest.fixture
async def reopen(database: Database, catalog: Catalog, tmp_path: Path) -> AsyncIterator[Reopen]:
    """Jobs as after a restart: with the rows and nothing else."""
    for name in ("media", "tmp"):
        (tmp_path / name).mkdir()
    files, media, client = Files(tmp_path / "media", tmp_path / "tmp"), Media(), Client()
    library = Library(database, files, media, client, max_image_bytes=10**7, max_video_bytes=10**8)
    yield lambda: Jobs(database, Quota(database), catalog, library, {}, timeout=1800, pause=15)
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
