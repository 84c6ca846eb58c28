"""Data of the pages that combine several features, and the health check."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from app.accounts.service import Accounts
from app.base import clock
from app.base.paging import Page
from app.catalog.service import Catalog
from app.db.database import Database
from app.db.transaction import Transaction
from app.home.examples import Examples, build_examples
from app.jobs.schemas import Job, JobCounts, JobStatus
from app.jobs.service import Jobs
from app.ledger.schemas import Month
from app.ledger.service import Ledger
from app.library.schemas import Asset, AssetKind
from app.library.service import Library
from app.providers.contract import Kind

MAX_KEYS: Final = 100  # newest keys that are searched for a valid one


class Dashboard(msgspec.Struct, frozen=True):
    """The latest jobs, the counts of the user's results, and the known cost."""

    jobs: Sequence[Job]
    counts: JobCounts
    spent_nano: int | None


class LibraryView(msgspec.Struct, frozen=True):
    """The library page: unfinished jobs, then assets."""

    jobs: Sequence[Job]
    assets: Page[Asset]


class Home:
    """Combines other features; has no data of its own."""

    def __init__(
        self, database: Database, accounts: Accounts, catalog: Catalog, ledger: Ledger, jobs: Jobs, library: Library
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._catalog = catalog
        self._ledger = ledger
        self._jobs = jobs
        self._library = library

    async def dashboard(self, owner: str) -> Dashboard:
        jobs = (await self._jobs.newest(owner, limit=8, enhancements=False)).items
        return Dashboard(jobs, await self._jobs.counts(owner), await self._ledger.spent(owner))

    async def library_view(self, owner: str, *, kind: str, q: str, before: str | None) -> LibraryView:
        """A page of the library. Unfinished jobs are on the first page only, and not in search results."""
        asset_kind = AssetKind(kind) if kind in [*AssetKind] else None
        unfinished: Sequence[Job] = []
        if not before and not q:
            unfinished = (
                await self._jobs.newest(owner, statuses=[JobStatus.QUEUED, JobStatus.PROCESSING], limit=100)
            ).items
        return LibraryView(unfinished, await self._library.newest(owner, kind=asset_kind, q=q, before=before))

    async def upload(self, owner: str, chunks: AsyncIterator[bytes], name: str | None) -> Asset:
        """Add an image or video to the user's library; `name` is a label. Raises Invalid, TooLarge or WrongType."""
        return await self._library.upload(owner, chunks, name)

    async def months(self, owner: str) -> Sequence[Month]:
        """The user's spending by month, newest first."""
        return await self._ledger.months(owner)

    async def asset(self, owner: str, id: str) -> tuple[Asset, Job | None, Sequence[Asset]]:
        """An asset, the job that generated it, if that still exists, and all versions of an image, oldest first."""
        asset = await self._library.find(owner, id)
        job = await self._jobs.find_or_none(owner, asset.job_id) if asset.job_id else None
        is_image = asset.kind is AssetKind.IMAGE
        return asset, job, await self._library.versions(owner, asset) if is_image else [asset]

    async def examples(self, owner: str, origin: str) -> Examples:
        """Client examples with the name of the user's newest valid key and the first text-only model. `origin` is the
        public URL."""
        now = clock.now()
        keys = (await self._accounts.api_keys.newest(owner, limit=MAX_KEYS)).items
        key = next((key for key in keys if key.expires_at is None or key.expires_at > now), None)
        models = self._catalog.search(output=Kind.TEXT)
        model = next((model for model in models if model.output_modalities == (Kind.TEXT,)), None)
        return build_examples(
            origin, key.name if key else None, key.prefix if key else None, model.id if model else None
        )

    async def healthy(self) -> bool:
        """Whether the database responds."""
        if not self._database.healthy:
            return False
        return bool(await self._database.read(_ping))


def _ping(tx: Transaction) -> bool:
    return bool(tx.value((), "select 1") == 1)
