"""What the front pages show: several features at a glance, and whether the program is well."""

from collections.abc import Sequence

import msgspec

from app.base.database import Database, Transaction
from app.base.paging import Part
from app.jobs.schemas import Counts, Job, Status
from app.jobs.service import Jobs
from app.library.schemas import Asset, AssetKind
from app.library.service import Library
from app.quota.schemas import Month
from app.quota.service import Quota


class Front(msgspec.Struct, frozen=True):
    """The dashboard: the latest jobs and the person's work in figures."""

    jobs: Sequence[Job]
    counts: Counts


class Shelf(msgspec.Struct, frozen=True):
    """The library's page: what is being made, then what there is."""

    jobs: Sequence[Job]
    assets: Part[Asset]


class Home:
    """Reads from the features below; changes nothing."""

    def __init__(self, database: Database, quota: Quota, jobs: Jobs, library: Library) -> None:
        self._database = database
        self._quota = quota
        self._jobs = jobs
        self._library = library

    async def front(self, owner: str) -> Front:
        return Front((await self._jobs.newest(owner, limit=8)).items, await self._jobs.counts(owner))

    async def shelf(self, owner: str, *, kind: str, q: str, before: str | None) -> Shelf:
        """A page of the library; unfinished jobs stand on the first one only, and not in what a search found."""
        wanted = AssetKind(kind) if kind in [*AssetKind] else None
        unfinished: Sequence[Job] = []
        if not before and not q:
            unfinished = (await self._jobs.newest(owner, statuses=[Status.QUEUED, Status.PROCESSING], limit=100)).items
        return Shelf(unfinished, await self._library.newest(owner, kind=wanted, q=q, before=before))

    async def months(self, owner: str) -> Sequence[Month]:
        """What the person spent, the newest month first."""
        return await self._quota.months(owner)

    async def asset(self, owner: str, id: str) -> tuple[Asset, Job | None]:
        """A file, and the job that made it while that is still there."""
        asset = await self._library.find(owner, id)
        return asset, await self._jobs.seek(owner, asset.job_id) if asset.job_id else None

    async def well(self) -> bool:
        """Whether the database answers."""
        if not self._database.healthy:
            return False
        return bool(await self._database.read(_answers))


def _answers(tx: Transaction) -> bool:
    return bool(tx.value("select 1") == 1)
