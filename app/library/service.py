"""The rules of the library: what may come in, who may see it, and when a file may go.

Files are named by their content, so one file may serve several rows. It is removed when the last row that names it is
swept; the shelf lock keeps a file from being removed between its arrival and its row.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from app.base import clock, logging
from app.base.crash_points import crash_point
from app.base.disk_full import map_disk_full
from app.base.errors import Invalid, Missing, TooLarge
from app.base.paging import Page
from app.base.secret import uuid7
from app.db.database import Database, Transaction
from app.db.query_cache import QueryCache
from app.library import repository
from app.library.schemas import Asset, AssetKind, Origin, Shelf
from app.providers.client import Client, ClientError, Refused, TooBig
from app.storage.files import Files, readable
from app.storage.media import Facts, Media

UNDO: Final = timedelta(minutes=10)
MAX_URL: Final = 4_000  # characters
ORPHANS_AT_ONCE: Final = 2_000  # keys that are looked up together

logger = logging.get("library")


class Library:
    """Pictures and clips, uploaded or made."""

    def __init__(
        self,
        database: Database,
        files: Files,
        media: Media,
        client: Client,
        *,
        max_image_bytes: int,
        max_video_bytes: int,
    ) -> None:
        self._database = database
        self._recall = QueryCache(database)
        self._files = files
        self._media = media
        self._client = client
        self._caps = {AssetKind.IMAGE: max_image_bytes, AssetKind.VIDEO: max_video_bytes}
        self._shelf = asyncio.Lock()
        self._pinned: Counter[str] = Counter()
        self._delete_holds = 0  # who wants no stored file to be removed just now
        self._swept = False  # whether what an earlier run left behind is gone
        self._put_off: set[str] = set()  # what is removed once they are gone

    @property
    def largest(self) -> int:
        """Bytes of the largest file that is taken at all."""
        return max(self._caps.values())

    async def upload(self, owner: str, chunks: AsyncIterator[bytes], name: str | None = None) -> Asset:
        """Take a file from a person: it is what its bytes say, decoded and written anew, never what its name says."""
        async with self._files.folder() as folder:
            path = folder / "upload"
            await self._files.write_upload(chunks, path, self.largest)
            return await self._take(owner, path, folder, name)

    async def fetch(self, owner: str, url: str) -> Asset:
        """Take a picture from a public address."""
        if len(url) > MAX_URL:
            raise _wrong_url("This address is too long.")
        async with self._files.folder() as folder:
            path = folder / "upload"
            await self._download(url, path)
            return await self._take(owner, path, folder, None)

    async def find(self, owner: str, id: str) -> Asset:
        """The person's own asset, or Missing."""
        asset = await self._database.read(repository.find, owner, id)
        if asset is None:
            raise Missing("There is no such file in your library.")
        return asset

    async def find_kept(self, owner: str, id: str) -> Asset:
        """Also one that was deleted a moment ago: what a job was asked with stays usable until it is swept."""
        asset = await self._database.read(repository.find_kept, owner, id)
        if asset is None:
            raise Missing("There is no such file in your library.")
        return asset

    async def newest(
        self, owner: str, *, kind: AssetKind | None = None, q: str = "", before: str | None = None, limit: int = 24
    ) -> Page[Asset]:
        """A stretch of the library, newest first, and how many there are in all."""
        return await self._recall.read(_newest, owner, kind, tuple(q.split()[:8]), before, limit)

    async def delete(self, owner: str, id: str) -> Asset:
        """Hide an asset; `restore` brings it back for a while, then it is swept."""
        asset = await self.find(owner, id)
        if not await self._database.write(repository.mark_deleted, owner, id, clock.now()):
            raise Missing("There is no such file in your library.")
        return asset

    async def restore(self, owner: str, id: str) -> Asset:
        if not await self._database.write(repository.mark_restored, owner, id, clock.now() - UNDO):
            raise Missing("There is no such file to bring back.")
        return await self.find(owner, id)

    def path(self, asset: Asset, *, thumbnail: bool = False) -> Path:
        """Where the bytes lie; Missing when there is no thumbnail."""
        key = asset.thumbnail_key if thumbnail else asset.key
        if key is None:
            raise Missing("There is no such picture.")
        return self._files.path(key)

    @asynccontextmanager
    async def stage_results(self, owner: str, job_id: str, prompt: str, paths: Sequence[Path]) -> AsyncIterator[Shelf]:
        """Store what a job made. The files are in our store on entry; the body writes the rows with `add` and says that it
        has kept them, else they are removed again. Raises WrongType for what is not a picture or clip, TooLarge above the
        caps, `base.room.Full`."""
        keys: list[str] = []
        shelf = Shelf()
        try:
            async with self._files.folder() if paths else nullcontext(Path()) as folder:
                for position, path in enumerate(paths):
                    facts = await self._media.inspect(path)
                    crash_point("media.inspected", job_id)
                    self._check_size(facts)
                    asset = await self._shelve(owner, path, facts, folder, keys)
                    shelf.assets.append(
                        msgspec.structs.replace(asset, job_id=job_id, position=position, prompt=prompt[:2000])
                    )
            yield shelf
        except asyncio.CancelledError:
            shelf.committed = True  # or nobody knows, as the program stops: the next start sweeps what has no row
            raise
        finally:
            await self._release(keys, kept=shelf.committed)

    # Verbs that join the transaction of another

    def add(self, tx: Transaction, owner: str, assets: Sequence[Asset]) -> None:
        repository.add(tx, owner, list(assets))
        crash_point("assets.written", owner)

    def of_jobs(self, tx: Transaction, owner: str, job_ids: Sequence[str]) -> dict[str, list[Asset]]:
        """The assets that these jobs made, by job id."""
        return repository.of_jobs(tx, owner, list(job_ids)) if job_ids else {}

    def delete_with_job(self, tx: Transaction, owner: str, job_id: str, now: datetime) -> None:
        repository.mark_deleted_with_job(tx, owner, job_id, now)

    def restore_with_job(self, tx: Transaction, owner: str, job_id: str, deleted_at: datetime) -> None:
        repository.mark_restored_with_job(tx, owner, job_id, deleted_at)

    def erase_of_jobs(self, tx: Transaction, job_ids: Sequence[str]) -> None:
        """What these jobs made goes with the next sweep; there is no undo."""
        repository.erase_of_jobs_any(tx, list(job_ids), clock.now() - 2 * UNDO)

    def forget_person(self, tx: Transaction, owner: str) -> None:
        """Everything of the person goes with the next sweep; there is no undo."""
        repository.erase_all(tx, owner, clock.now() - 2 * UNDO)

    # Housekeeping

    async def sweep(self) -> None:
        """Forget what was deleted long enough ago, and remove files that no row names any more; the first time also what
        a kill has left behind."""
        if not self._swept:
            await self._sweep_orphans()
            self._swept = True
        for key in await self._database.write(repository.swept_any, clock.now() - UNDO):
            await self._drop(key)

    async def _sweep_orphans(self) -> None:
        """Remove stored files without a row, left by a kill between the two. New ones come meanwhile: they are pinned until
        their row is there."""
        crash_point("orphans.sweep_started")
        keys: list[str] = []
        async for key in self._files.keys():
            keys.append(key)
            if len(keys) == ORPHANS_AT_ONCE:
                await self._drop_unnamed(keys)
                keys = []
        await self._drop_unnamed(keys)
        crash_point("orphans.swept")

    async def _drop_unnamed(self, keys: list[str]) -> None:
        for key in await self._database.read(repository.unnamed_any, keys) if keys else ():
            await self._drop(key)

    @asynccontextmanager
    async def pause_deletion(self) -> AsyncIterator[None]:
        """No stored file is removed while the body runs (a backup); what was to be goes afterwards."""
        self._delete_holds += 1
        try:
            yield
        finally:
            self._delete_holds -= 1
            if not self._delete_holds:
                put_off, self._put_off = self._put_off, set()
                for key in put_off:
                    await self._drop(key)

    def is_pinned(self, key: str) -> bool:
        """Whether a stored file without a row is about to get one, or to be removed."""
        return self._pinned[key] > 0 or key in self._put_off

    async def _drop(self, key: str) -> None:
        async with self._shelf:
            if self._delete_holds:
                self._put_off.add(key)
            elif not self._pinned[key] and not await self._database.read(repository.names_any, key):
                await self._files.remove(key)

    async def _download(self, url: str, path: Path) -> None:
        cap = self._caps[AssetKind.IMAGE]
        try:
            with map_disk_full():
                answer = await self._client.fetch_public(url, path, max_bytes=cap)
        except Refused:
            raise _wrong_url("This address cannot be used: it must be a public http or https address.") from None
        except TooBig:
            raise TooLarge(f"The picture at this address is larger than the {readable(cap)} that are taken.") from None
        except ClientError:
            raise _wrong_url("The picture could not be fetched from this address.") from None
        if answer.status != 200:
            raise _wrong_url(f"The server at this address answered {answer.status} instead of a picture.")

    async def _take(self, owner: str, path: Path, folder: Path, name: str | None) -> Asset:
        facts = await self._media.inspect(path)
        crash_point("media.inspected", owner)
        self._check_size(facts)
        clean, facts = await self._media.clean(path, folder)
        crash_point("media.cleaned", owner)
        keys: list[str] = []
        kept = False
        try:
            asset = msgspec.structs.replace(
                await self._shelve(owner, clean, facts, folder, keys),
                origin=Origin.UPLOADED,
                name=_plain(name),
            )
            kept = True  # or nobody knows, when the program stops now
            await self._database.write(repository.add, owner, [asset])
            return asset
        except Exception:
            kept = False
            raise
        finally:
            await self._release(keys, kept=kept)

    async def _shelve(self, owner: str, path: Path, facts: Facts, folder: Path, keys: list[str]) -> Asset:
        """Move a file and its thumbnail into the store; their keys are pinned and noted in `keys`."""
        thumbnail, _, _ = await self._media.thumbnail(path, facts, folder)
        crash_point("media.thumbnail_created", owner)
        stored = await self._pin(path, facts.suffix, keys)
        small = await self._pin(thumbnail, ".webp", keys)
        return Asset(
            id=uuid7(),
            owner_id=owner,
            kind=AssetKind(facts.kind),
            origin=Origin.MADE,
            mime=facts.mime,
            bytes=facts.bytes,
            width=facts.width,
            height=facts.height,
            duration=facts.duration,
            key=stored,
            thumbnail_key=small,
            created_at=clock.now(),
        )

    async def _pin(self, path: Path, suffix: str, keys: list[str]) -> str:
        async with self._shelf:
            stored = await self._files.store(path, suffix)
            crash_point("file.stored", stored.key)
            self._pinned[stored.key] += 1
            keys.append(stored.key)
            return stored.key

    async def _release(self, keys: list[str], *, kept: bool) -> None:
        """Their rows are written, or will not be: then the files go."""
        for key in keys:
            self._pinned[key] -= 1
            if not self._pinned[key]:
                del self._pinned[key]
        for key in () if kept else keys:
            await self._drop(key)

    def _check_size(self, facts: Facts) -> None:
        cap = self._caps[AssetKind(facts.kind)]
        if facts.bytes > cap:
            what = "picture" if facts.kind == "image" else "clip"
            raise TooLarge(f"This {what} is larger than the {readable(cap)} that are taken.")


def _newest(
    tx: Transaction, owner: str, kind: AssetKind | None, words: Sequence[str], before: str | None, limit: int
) -> Page[Asset]:
    found = repository.newest(tx, owner, kind=kind, words=words, before=before, limit=limit + 1)
    items = found[:limit]
    total = repository.count(tx, owner, kind=kind, words=words)
    return Page(items, total, items[-1].id if len(found) > limit else None)


def _plain(name: str | None) -> str | None:
    """A file's name as a label: no path, no control characters."""
    if not name:
        return None
    text = "".join(c for c in name.replace("\\", "/").rpartition("/")[2] if c.isprintable()).strip()
    return text[:120] or None


def _wrong_url(message: str) -> Invalid:
    return Invalid(message, fields={"image_url": message})
