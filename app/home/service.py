"""What the front pages show: several features at a glance, and whether the program is well."""

from collections.abc import Sequence
from typing import Final

import msgspec

from app.accounts.service import Accounts
from app.base import clock
from app.base.paging import Page
from app.catalog.service import Catalog
from app.db.database import Database, Transaction
from app.home.examples import Examples, written
from app.jobs.schemas import Counts, Job, Status
from app.jobs.service import Jobs
from app.ledger.schemas import Month
from app.ledger.service import Ledger
from app.library.schemas import Asset, AssetKind
from app.library.service import Library
from app.providers.contract import Kind

KEYS: Final = 100  # of a person, the newest, that are looked through for one that works


class Dashboard(msgspec.Struct, frozen=True):
    """The dashboard: the latest jobs, the person's work in figures, and what it cost as far as that is known."""

    jobs: Sequence[Job]
    counts: Counts
    spent_nano: int | None


class LibraryView(msgspec.Struct, frozen=True):
    """The library's page: what is being made, then what there is."""

    jobs: Sequence[Job]
    assets: Page[Asset]


class Home:
    """Reads from the features below; changes nothing."""

    def __init__(
        self, database: Database, accounts: Accounts, catalog: Catalog, quota: Ledger, jobs: Jobs, library: Library
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._catalog = catalog
        self._ledger = quota
        self._jobs = jobs
        self._library = library

    async def dashboard(self, owner: str) -> Dashboard:
        jobs = (await self._jobs.newest(owner, limit=8)).items
        return Dashboard(jobs, await self._jobs.counts(owner), await self._ledger.spent(owner))

    async def library_view(self, owner: str, *, kind: str, q: str, before: str | None) -> LibraryView:
        """A page of the library; unfinished jobs stand on the first one only, and not in what a search found."""
        wanted = AssetKind(kind) if kind in [*AssetKind] else None
        unfinished: Sequence[Job] = []
        if not before and not q:
            unfinished = (await self._jobs.newest(owner, statuses=[Status.QUEUED, Status.PROCESSING], limit=100)).items
        return LibraryView(unfinished, await self._library.newest(owner, kind=wanted, q=q, before=before))

    async def months(self, owner: str) -> Sequence[Month]:
        """What the person spent, the newest month first."""
        return await self._ledger.months(owner)

    async def asset(self, owner: str, id: str) -> tuple[Asset, Job | None]:
        """A file, and the job that made it while that is still there."""
        asset = await self._library.find(owner, id)
        return asset, await self._jobs.seek(owner, asset.job_id) if asset.job_id else None

    async def examples(self, owner: str, origin: str) -> Examples:
        """Programs that work when they are copied: with the person's newest key that has not expired, by its name, and
        the first model that only writes. `origin` is the address people use."""
        now = clock.now()
        keys = (await self._accounts.keys(owner, limit=KEYS)).items
        key = next((key for key in keys if key.expires_at is None or key.expires_at > now), None)
        writers = self._catalog.search(output=Kind.TEXT)
        model = next((model for model in writers if model.output_modalities == (Kind.TEXT,)), None)
        return written(origin, key.name if key else None, key.prefix if key else None, model.id if model else None)

    async def well(self) -> bool:
        """Whether the database answers."""
        if not self._database.healthy:
            return False
        return bool(await self._database.read(_answers))


def _answers(tx: Transaction) -> bool:
    return bool(tx.value("select 1") == 1)
