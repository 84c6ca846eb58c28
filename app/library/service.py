"""The asset library: uploads, results of jobs, access by owner, and deletion.

Files are content-addressed, so several rows may reference one file. It is removed when its last row is purged. A lock and
pins keep a file from being removed between being stored and being referenced.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from app.base import clock, logging
from app.base.crash_points import crash_point
from app.base.disk_full import map_disk_full
from app.base.errors import Invalid, Missing, TooLarge
from app.base.ids import uuid7
from app.base.paging import Page
from app.base.sizes import format_size
from app.db.database import Database
from app.db.query_cache import QueryCache
from app.db.transaction import Transaction
from app.library import repository
from app.library.schemas import FRAMES_DROPPED, Asset, AssetKind, Origin, StagedResults
from app.providers.client import Client
from app.providers.errors import AddressNotAllowed, ClientError, TooBig
from app.storage.contact_sheet import Sheet
from app.storage.files import Files
from app.storage.media import Facts, Media
from app.storage.media_type import sniff
from app.storage.metadata.embedding import settings_of
from app.storage.metadata.xmp import GenerationSettings

UNDO: Final = timedelta(minutes=10)
UNUSED: Final = timedelta(days=1)  # how long something prepared is kept for a job that is not requested
MAX_VERSIONS: Final = 100  # shown of one image
MAX_URL: Final = 4_000  # characters
ORPHAN_BATCH: Final = 2_000  # keys per lookup

logger = logging.get("library")


class Library:
    """Uploaded and generated images and videos."""

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
        self._query_cache = QueryCache(database)
        self._files = files
        self._media = media
        self._client = client
        self._max_bytes = {AssetKind.IMAGE: max_image_bytes, AssetKind.VIDEO: max_video_bytes}
        self._store_lock = asyncio.Lock()
        self._pinned: Counter[str] = Counter()
        self._delete_holds = 0  # active `pause_deletion` blocks
        self._swept = False  # whether orphans of an earlier run have been removed
        self._deferred: set[str] = set()  # keys to remove when deletion resumes

    @property
    def max_upload_bytes(self) -> int:
        """The size limit of any upload in bytes."""
        return max(self._max_bytes.values())

    async def upload(self, owner: str, chunks: AsyncIterator[bytes], name: str | None = None) -> Asset:
        """Store an uploaded file. Its media type is detected from the content, and images are re-encoded."""
        async with self._files.folder() as folder:
            path = folder / "upload"
            await self._files.write_upload(chunks, path, self.max_upload_bytes)
            return await self._import(owner, path, folder, name)

    async def fetch(self, owner: str, url: str) -> Asset:
        """Download and store an image from a public URL."""
        if len(url) > MAX_URL:
            raise _wrong_url(f"The URL must be at most {MAX_URL:,} characters.")
        async with self._files.folder() as folder:
            path = folder / "upload"
            await self._download(url, path)
            return await self._import(owner, path, folder, None)

    async def find(self, owner: str, id: str) -> Asset:
        """An asset of the user. Raises Missing."""
        asset = await self._database.read(repository.find, owner, id)
        if asset is None:
            raise Missing("This file is not in your library.")
        return asset

    async def has(self, owner: str, id: str) -> bool:
        """Whether the asset is in the user's library."""
        return await self._database.read(repository.find, owner, id) is not None

    async def read_settings(self, chunks: AsyncIterator[bytes]) -> GenerationSettings | None:
        """The settings that are written in a file, which is not kept. Raises WrongType and TooLarge."""
        async with self._files.folder() as folder:
            path = folder / "upload"
            await self._files.write_upload(chunks, path, self.max_upload_bytes)
            return await self._media.run(lambda: settings_of(path, sniff(path).mime))

    async def find_including_deleted(self, owner: str, id: str) -> Asset:
        """Like `find`, including deleted assets: a job can use its input until it is purged."""
        asset = await self._database.read(repository.find_including_deleted, owner, id)
        if asset is None:
            raise Missing("This file is not in your library.")
        return asset

    async def newest(
        self, owner: str, *, kind: AssetKind | None = None, q: str = "", before: str | None = None, limit: int = 24
    ) -> Page[Asset]:
        """A page of the library, newest first, with the total count."""
        return await self._query_cache.read(_newest, owner, kind, tuple(q.split()[:8]), before, limit)

    async def versions(self, owner: str, asset: Asset) -> list[Asset]:
        """The image that was edited first and all its edits, oldest first; only the asset itself if it has none."""
        return await self._database.read(repository.versions, owner, asset.root_asset_id or asset.id, MAX_VERSIONS) or [
            asset
        ]

    async def last_frame(self, owner: str, id: str) -> Asset:
        """The last frame of a video as an image, from which another video can start. Raises Missing and Invalid."""
        video = await self.find(owner, id)
        if video.kind is not AssetKind.VIDEO:
            raise Invalid("Only a video has a last frame.")
        async with self._files.folder() as folder:
            path = await self._media.last_frame(self.path(video), video.duration, folder)
            return await self.add_prepared(owner, path, folder, video)

    async def add_prepared(self, owner: str, path: Path, folder: Path, parent: Asset) -> Asset:
        """Store an image that was made for a job from `parent`. Both paths are in a working folder."""
        facts = await self._media.inspect(path)
        return await self._add(
            owner, path, facts, folder, origin=Origin.PREPARED, parent_asset_id=parent.id, root_asset_id=_root(parent)
        )

    async def delete(self, owner: str, id: str) -> Asset:
        """Mark an asset as deleted. `restore` undoes this within the undo period; afterwards it is purged."""
        asset = await self.find(owner, id)
        if not await self._database.write(repository.mark_deleted, owner, id, clock.now()):
            raise Missing("This file is not in your library.")
        return asset

    async def restore(self, owner: str, id: str) -> Asset:
        if not await self._database.write(repository.mark_restored, owner, id, clock.now() - UNDO):
            raise Missing("This file can no longer be restored.")
        return await self.find(owner, id)

    def path(self, asset: Asset, *, thumbnail: bool = False) -> Path:
        """The path of the file. Raises Missing when there is no thumbnail."""
        key = asset.thumbnail_key if thumbnail else asset.key
        if key is None:
            raise Missing("This file has no thumbnail.")
        return self._files.path(key)

    async def contact_sheet(self, sheet: Sheet) -> bytes:
        """A JPEG of many thumbnails in a grid."""
        return await self._media.contact_sheet(sheet)

    @asynccontextmanager
    async def stage_results(
        self,
        owner: str,
        job_id: str,
        prompt: str,
        outputs: Sequence[tuple[int, Path]],
        parent_asset_id: str | None = None,
    ) -> AsyncIterator[StagedResults]:
        """Store the results of a job, each with the number of the output, as versions of the parent if there is one. The body writes
        the rows with `add` and sets `committed`; otherwise the stored files are removed afterwards. If none of the results is usable:
        raises WrongType for anything but images and videos, TooLarge above the size limits. Raises `disk_full.DiskFull`."""
        keys: list[str] = []
        results = StagedResults()
        root = await self._root_of(owner, parent_asset_id) if parent_asset_id else None
        try:
            async with self._files.folder() if outputs else nullcontext(Path()) as folder:
                for position, path in outputs:
                    try:
                        facts = await self._media.inspect(path)
                        crash_point("media.inspected", job_id)
                        self._check_size(facts)
                        asset = await self._store(owner, path, facts, folder, keys)
                    except Invalid as exc:
                        results.unusable[position] = exc
                        continue
                    results.assets.append(
                        msgspec.structs.replace(
                            asset,
                            job_id=job_id,
                            position=position,
                            prompt=prompt[:2000],
                            parent_asset_id=parent_asset_id,
                            root_asset_id=root,
                        )
                    )
            if results.unusable and not results.assets:
                raise next(iter(results.unusable.values()))
            yield results
        except asyncio.CancelledError:
            results.committed = True  # unknown during shutdown; the next start removes orphaned files
            raise
        finally:
            await self._release(keys, committed=results.committed)

    async def _root_of(self, owner: str, id: str) -> str:
        """The first asset of the chain of edits; `id` itself if that asset no longer exists."""
        asset = await self._database.read(repository.find_including_deleted, owner, id)
        return _root(asset) if asset else id

    # Called within the caller's transaction

    def add(self, tx: Transaction, owner: str, assets: Sequence[Asset]) -> None:
        repository.add(tx, owner, list(assets))
        crash_point("assets.written", owner)

    def attach(self, tx: Transaction, owner: str, ids: Sequence[str], job_id: str) -> None:
        """Those of these assets that were prepared for this job are deleted and restored with it."""
        repository.attach(tx, owner, ids, job_id)

    def of_jobs(self, tx: Transaction, owner: str, job_ids: Sequence[str]) -> dict[str, list[Asset]]:
        """The assets of these jobs, by job id."""
        return repository.of_jobs(tx, owner, list(job_ids)) if job_ids else {}

    def delete_with_job(self, tx: Transaction, owner: str, job_id: str, now: datetime) -> None:
        repository.mark_deleted_with_job(tx, owner, job_id, now)

    def restore_with_job(self, tx: Transaction, owner: str, job_id: str, deleted_at: datetime) -> None:
        repository.mark_restored_with_job(tx, owner, job_id, deleted_at)

    def erase_of_jobs(self, tx: Transaction, job_ids: Sequence[str]) -> None:
        """Delete the assets of these jobs at the next sweep, without undo."""
        repository.erase_of_jobs_any(tx, list(job_ids), clock.now() - 2 * UNDO)

    def forget_user(self, tx: Transaction, owner: str) -> None:
        """Delete all assets of the user at the next sweep, without undo."""
        repository.erase_all(tx, owner, clock.now() - 2 * UNDO)

    # Cleanup

    async def sweep(self) -> None:
        """Purge assets deleted before the undo period, or prepared and not used, and remove their files. The first run also removes files orphaned
        by a crash."""
        if not self._swept:
            await self._sweep_orphans()
            self._swept = True
        now = clock.now()
        for key in await self._database.write(repository.purge_any, now - UNDO, now - UNUSED):
            await self._remove(key)

    async def _sweep_orphans(self) -> None:
        """Remove stored files that no row references, left by a crash. New files are pinned until their row is written."""
        crash_point("orphans.sweep_started")
        keys: list[str] = []
        async for key in self._files.keys():
            keys.append(key)
            if len(keys) == ORPHAN_BATCH:
                await self._remove_unreferenced(keys)
                keys = []
        await self._remove_unreferenced(keys)
        crash_point("orphans.swept")

    async def _remove_unreferenced(self, keys: list[str]) -> None:
        for key in await self._database.read(repository.unreferenced_any, keys) if keys else ():
            await self._remove(key)

    @asynccontextmanager
    async def pause_deletion(self) -> AsyncIterator[None]:
        """Defer the removal of stored files while the body runs, as a backup does."""
        self._delete_holds += 1
        try:
            yield
        finally:
            self._delete_holds -= 1
            if not self._delete_holds:
                deferred, self._deferred = self._deferred, set()
                for key in deferred:
                    await self._remove(key)

    def is_pinned(self, key: str) -> bool:
        """Whether an unreferenced file is about to be referenced or removed."""
        return self._pinned[key] > 0 or key in self._deferred

    async def _remove(self, key: str) -> None:
        async with self._store_lock:
            if self._delete_holds:
                self._deferred.add(key)
            elif not self._pinned[key] and not await self._database.read(repository.is_referenced_any, key):
                await self._files.remove(key)

    async def _download(self, url: str, path: Path) -> None:
        max_bytes = self._max_bytes[AssetKind.IMAGE]
        try:
            with map_disk_full():
                response = await self._client.fetch_public(url, path, max_bytes=max_bytes)
        except AddressNotAllowed:
            raise _wrong_url("The URL must be a public http or https address.") from None
        except TooBig:
            raise TooLarge(f"The image at this URL must be at most {format_size(max_bytes)}.") from None
        except ClientError:
            raise _wrong_url("The image could not be downloaded from this URL.") from None
        if response.status != 200:
            raise _wrong_url(f"The server at this URL responded with status {response.status}.")

    async def _import(self, owner: str, path: Path, folder: Path, name: str | None) -> Asset:
        facts = await self._media.inspect(path)
        crash_point("media.inspected", owner)
        self._check_size(facts)
        settings = await self._media.run(settings_of, path, facts.mime)
        clean, facts = await self._media.clean(path, folder)
        crash_point("media.cleaned", owner)
        asset = await self._add(owner, clean, facts, folder, origin=Origin.UPLOADED, name=_file_label(name))
        warnings = (FRAMES_DROPPED,) if facts.frames_dropped else ()
        return msgspec.structs.replace(asset, warnings=warnings, settings=settings)

    async def _add(self, owner: str, path: Path, facts: Facts, folder: Path, **fields: Any) -> Asset:
        """Store a file and write its row. `fields` are those of the asset that the file does not tell."""
        keys: list[str] = []
        committed = False
        try:
            asset = msgspec.structs.replace(await self._store(owner, path, facts, folder, keys), **fields)
            committed = True  # unknown during shutdown, so the files are kept
            await self._database.write(repository.add, owner, [asset])
            return asset
        except Exception:
            committed = False
            raise
        finally:
            await self._release(keys, committed=committed)

    async def _store(self, owner: str, path: Path, facts: Facts, folder: Path, keys: list[str]) -> Asset:
        """Move a file and its thumbnail into the store. Their keys are pinned and appended to `keys`."""
        thumbnail, _, _ = await self._media.thumbnail(path, facts, folder)
        crash_point("media.thumbnail_created", owner)
        key = await self._pin(path, facts.suffix, keys)
        thumbnail_key = await self._pin(thumbnail, ".webp", keys)
        return Asset(
            id=uuid7(),
            owner_id=owner,
            kind=AssetKind(facts.kind),
            origin=Origin.GENERATED,
            mime=facts.mime,
            bytes=facts.bytes,
            width=facts.width,
            height=facts.height,
            duration=facts.duration,
            key=key,
            thumbnail_key=thumbnail_key,
            created_at=clock.now(),
        )

    async def _pin(self, path: Path, suffix: str, keys: list[str]) -> str:
        async with self._store_lock:
            stored = await self._files.store(path, suffix)
            crash_point("file.stored", stored.key)
            self._pinned[stored.key] += 1
            keys.append(stored.key)
            return stored.key

    async def _release(self, keys: list[str], *, committed: bool) -> None:
        """Unpin stored files, and remove them unless their rows are committed."""
        for key in keys:
            self._pinned[key] -= 1
            if not self._pinned[key]:
                del self._pinned[key]
        for key in () if committed else keys:
            await self._remove(key)

    def _check_size(self, facts: Facts) -> None:
        max_bytes = self._max_bytes[AssetKind(facts.kind)]
        if facts.bytes > max_bytes:
            raise TooLarge(f"This {facts.kind} must be at most {format_size(max_bytes)}.")


def _newest(
    tx: Transaction, owner: str, kind: AssetKind | None, terms: Sequence[str], before: str | None, limit: int
) -> Page[Asset]:
    assets = repository.newest(tx, owner, kind=kind, terms=terms, before=before, limit=limit + 1)
    return Page.of(assets, repository.count(tx, owner, kind=kind, terms=terms), limit)


def _root(asset: Asset) -> str:
    """The first asset of the chain of edits that this one belongs to."""
    return asset.root_asset_id or asset.id


def _file_label(name: str | None) -> str | None:
    """A file name as a label, without path and control characters."""
    if not name:
        return None
    text = "".join(c for c in name.replace("\\", "/").rpartition("/")[2] if c.isprintable()).strip()
    return text[:120] or None


def _wrong_url(message: str) -> Invalid:
    return Invalid(message, fields={"image_url": message})
