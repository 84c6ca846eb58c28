"""Jobs on a real database, without a provider and without a worker: the tests supply the provider's outcomes."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.base import clock
from app.base.ids import uuid7
from app.catalog.service import Catalog
from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Transaction
from app.idempotency.service import Idempotency
from app.jobs.schemas import GenerationType, Job
from app.jobs.service import Jobs
from app.ledger.service import Ledger
from app.library.service import Library
from app.providers.client import Client
from app.providers.contract import Kind, ModelOffer
from app.storage.files import Files
from app.storage.media import Media
from tests.studio import migrated_database

MODEL = "google/veo-3.1"
OpenJobs = Callable[..., Jobs]  # with the providers, and other options of Jobs


class ModelProvider:
    """A provider that only lists models: the one of `new_job` until `models` is changed."""

    def __init__(self) -> None:
        self.models = [ModelOffer(id=MODEL, name="Veo 3.1", output_modalities=("text", "image", "video"))]

    async def offers(self) -> Sequence[ModelOffer]:
        return self.models


class StoppableProvider:
    """A provider that accepts a cancellation; the tests supply what follows."""

    name = "stoppable"
    can_cancel = True


class FakeClock:
    """Replaces the process clock; time passes only when a test advances it."""

    def __init__(self) -> None:
        self.time = clock.now()

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def delete_rows(tx: Transaction) -> None:
    """Empty every table that job tests write to."""
    for table in ("jobs", "job_inputs", "job_events", "ledger", "idempotency_keys", "assets", "models"):
        tx.execute(table, f"delete from {table}")  # noqa: S608


def new_job(owner: str = "ann", kind: Kind = Kind.VIDEO, **changes: Any) -> Job:
    """A job as `generation` would enqueue it."""
    values = {
        "id": uuid7(),
        "owner_id": owner,
        "kind": kind,
        "generation_type": GenerationType.TEXT_TO_VIDEO,
        "provider": "openrouter",
        "model": MODEL,
        "model_name": "Veo 3.1",
        "upstream_model": MODEL,
        "prompt": "a paper boat",
        "created_at": clock.now(),
        **changes,
    }
    return Job(**values)


@pytest_asyncio.fixture(scope="session")
async def open_database(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedDatabase]:
    """The database that the job tests of this xdist worker share."""
    database = EmbeddedDatabase(migrated_database(tmp_path_factory.mktemp("jobs") / "test.duckdb"))
    yield database
    await database.close()


@pytest.fixture
async def database(open_database: EmbeddedDatabase) -> EmbeddedDatabase:
    """A database without rows."""
    await open_database.write(delete_rows)
    return open_database


@pytest.fixture
def model_provider() -> ModelProvider:
    return ModelProvider()


@pytest.fixture
async def catalog(database: EmbeddedDatabase, model_provider: ModelProvider) -> Catalog:
    """A catalog with the model of `new_job`."""
    providers: dict[str, Any] = {"openrouter": model_provider}
    catalog = Catalog(database, providers)
    await catalog.refresh()
    return catalog


@pytest.fixture
async def library(database: EmbeddedDatabase, tmp_path: Path) -> AsyncIterator[Library]:
    for name in ("media", "tmp"):
        (tmp_path / name).mkdir()
    files, media, client = Files(tmp_path / "media", tmp_path / "tmp"), Media(), Client()
    yield Library(database, files, media, client, max_image_bytes=10**7, max_video_bytes=10**8)
    files.close()
    media.close()
    await client.aclose()


@pytest.fixture
def open_jobs(database: EmbeddedDatabase, catalog: Catalog, library: Library) -> OpenJobs:
    """Makes a new Jobs service, as after a restart: it knows only the rows."""

    def open_jobs(providers: Any = None, **options: Any) -> Jobs:
        return Jobs(
            database,
            Ledger(database),
            Idempotency(database),
            catalog,
            library,
            providers or {},
            **{"timeout": 1800, "poll_interval": 15, **options},
        )

    return open_jobs


@pytest.fixture
def jobs(open_jobs: OpenJobs) -> Jobs:
    return open_jobs()


@pytest.fixture
def fake_clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of the process during a test."""
    fake = FakeClock()
    monkeypatch.setattr(clock, "now", fake.now)
    return fake
