"""Creates a backup: a folder with the layout of the data folder and a manifest that is written last.

    atelier.duckdb   a consistent copy; `atelier.duckdb.part` while the backup is incomplete
    media/…          every file that this database references, its hash verified while it is copied
    secret.key       unless the secret is set in the environment
    manifest.json    the size and hash of all of these

Files are copied, not linked: a backup that shares blocks with the original is lost with it. They are copied one at a time
in a thread, so that the event loop is not blocked.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.base import clock
from app.base.data_dir import DataDir, fsync_path
from app.base.disk_full import NO_SPACE, DiskFull
from app.base.errors import Conflict, Invalid, Unready
from app.db.database import Database
from app.db.transaction import Transaction
from app.maintenance import repository
from app.maintenance.schemas import FORMAT, DatabaseContent, Manifest, ManifestEntry, ReferencedFile
from app.storage.files import Files

CHUNK_SIZE: Final = 1024 * 1024  # bytes
MIN_FREE: Final = 16 * 1024 * 1024  # bytes that a backup leaves free


async def create(target: Path, source: DataDir, database: Database, files: Files, *, program: str) -> Manifest:
    """Create a backup of the current state in the new or empty folder `target`. Raises Invalid or Conflict for an unusable
    folder, and Unready when it cannot be written; then it has no manifest. The caller must pause the deletion of files."""
    backup = DataDir(target)
    await asyncio.to_thread(_prepare, backup, source)
    partial = backup.database.with_suffix(".duckdb.part")
    with translate_write_errors(target):
        made_at = clock.iso(clock.now())
        content = await database.snapshot(partial, _content)
        entries, left_out = [await asyncio.to_thread(_database_entry, partial, backup.database.name)], list[str]()
        await asyncio.to_thread(_check_free_space, target, content.referenced)
        for file in content.referenced:
            copied = await asyncio.to_thread(_copy_stored, files, file, backup)
            if isinstance(copied, ManifestEntry):
                entries.append(copied)
            else:
                left_out.append(copied)
        secret = await asyncio.to_thread(source.secret.is_file)
        if secret:
            entries.append(await asyncio.to_thread(copy, source.secret, backup.secret, backup.secret.name))
        manifest = Manifest(
            format=FORMAT,
            program=program,
            made_at=made_at,
            migrations=content.migrations,
            rows=content.rows,
            secret=secret,
            files=entries,
            left_out=left_out,
        ).sealed()
        await asyncio.to_thread(_finish, backup, partial, manifest)
    return manifest


class SourceUnreadable(Exception):
    """A file to copy cannot be read; the message says why."""


def copy(source: Path, target: Path, name: str) -> ManifestEntry:
    """Copy a file to the new file `target` and sync it. Raises SourceUnreadable for the source and OSError for the target,
    which is then removed. Blocks."""
    hashed, size = hashlib.sha256(), 0
    with (
        _readable(source) as read,
        open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as write,
    ):
        try:
            while chunk := read():
                hashed.update(chunk)
                size += len(chunk)
                write.write(chunk)
            write.flush()
            os.fsync(write.fileno())
        except BaseException:
            target.unlink()
            raise
    return ManifestEntry(name, size, hashed.hexdigest())


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Callable[[], bytes]]:
    try:
        file = path.open("rb")
    except OSError as exc:
        raise SourceUnreadable(exc.strerror) from None

    def read() -> bytes:
        try:
            return file.read(CHUNK_SIZE)
        except OSError as exc:
            raise SourceUnreadable(exc.strerror) from None

    with file:
        yield read


def digest(path: Path) -> str:
    """The SHA-256 of a file in hex. Blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def translate_write_errors(target: Path) -> Iterator[None]:
    """Raise errors of writing the backup as Unready."""
    incomplete = f"The backup in {target} is incomplete: remove it"
    disk_full = Unready(f"The disk of {target} is full. {incomplete}, free some space and try again.")
    try:
        yield
    except OSError as exc:
        if exc.errno in NO_SPACE:
            raise disk_full from None
        raise Unready(f"{target} could not be written ({exc.strerror}). {incomplete} and try again.") from None
    except DiskFull:
        raise disk_full from None
    except Unready as exc:
        raise Unready(f"{exc.message} {incomplete} and try again.") from None


def _prepare(backup: DataDir, source: DataDir) -> None:
    root = backup.root
    if root.resolve().is_relative_to(source.root.resolve()):
        raise Invalid(f"{root} is inside the data folder. Choose a folder outside of it.")
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if next(root.iterdir(), None) is None:
            backup.media.mkdir(mode=0o700)
            return
    except OSError as exc:
        raise Invalid(f"{root} cannot be used as the backup folder ({exc.strerror}).") from None
    reason = "already contains a backup" if backup.manifest.exists() else "is not empty"
    if backup.database.with_suffix(".duckdb.part").exists():
        reason = "contains an incomplete backup"
    raise Conflict(f"{root} {reason}. Choose a new folder.")


def _content(tx: Transaction) -> DatabaseContent:
    return DatabaseContent(tx.verify_tables(), repository.migrations_any(tx), repository.referenced_files_any(tx))


def _check_free_space(target: Path, referenced: Sequence[ReferencedFile]) -> None:
    needed = sum(file.bytes or 0 for file in referenced)
    if shutil.disk_usage(target).free < needed + MIN_FREE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _copy_stored(files: Files, file: ReferencedFile, backup: DataDir) -> ManifestEntry | str:
    """Copy a stored file, or return why it cannot be copied."""
    try:
        stored = files.path(file.key)  # raises ValueError for an invalid key, which could lead out of the backup
        target = backup.media / file.key
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copied = copy(stored, target, f"media/{file.key}")
    except (SourceUnreadable, ValueError) as exc:
        return f"stored file {file.key} of asset {file.asset} cannot be read ({exc})"
    if copied.sha256 == target.stem:
        return copied
    target.unlink()
    return f"stored file {file.key} of asset {file.asset} is damaged"


def _database_entry(path: Path, name: str) -> ManifestEntry:
    fsync_path(path)
    return ManifestEntry(name, path.stat().st_size, digest(path))


def _finish(backup: DataDir, partial: Path, manifest: Manifest) -> None:
    partial.chmod(0o600)
    partial.rename(backup.database)
    for folder in (*backup.media.glob("*/*"), *backup.media.glob("*"), backup.media, backup.root):
        fsync_path(folder)
    draft = backup.root / f"{backup.manifest.name}.part"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(backup.manifest)
    fsync_path(backup.root)
