"""Making a backup: a folder laid out like the data folder, with a manifest that is written last.

    atelier.duckdb   as it was at one moment; `atelier.duckdb.part` while the backup is not complete
    media/…          every file that this database names, its hash checked while it is copied
    secret.key       unless the secret stands in the environment
    manifest.json    the size and hash of all of these

Files are copied, not linked: a backup that shares its blocks with the original is lost with it. They are copied one at a
time in a thread, so that the studio goes on meanwhile.
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
from app.base.data_dir import DataDir
from app.base.disk_full import NO_SPACE
from app.base.errors import Conflict, Invalid, Unready
from app.db.database import Database, NoRoom, Transaction
from app.maintenance import repository
from app.maintenance.schemas import FORMAT, Content, Manifest, ManifestEntry, ReferencedFile
from app.storage.files import Files

CHUNK: Final = 1024 * 1024  # bytes
ROOM: Final = 16 * 1024 * 1024  # bytes that stay free beside a backup


async def make(target: Path, source: DataDir, database: Database, files: Files, *, program: str) -> Manifest:
    """A backup of what is there at this moment, in the new or empty folder `target`. Raises Invalid or Conflict for a
    folder that cannot be used, Unready when it cannot be written, and then it has no manifest. The caller sees to it that
    no stored file is removed meanwhile."""
    place = DataDir(target)
    await asyncio.to_thread(_prepare, place, source)
    partial = place.database.with_suffix(".duckdb.part")
    with writing(target):
        made_at = clock.iso(clock.now())
        content = await database.snapshot(partial, _content)
        filed, left_out = [await asyncio.to_thread(_filed, partial, place.database.name)], list[str]()
        await asyncio.to_thread(_check_room, target, content.named)
        for one in content.named:
            copied = await asyncio.to_thread(_take, files, one, place)
            if isinstance(copied, ManifestEntry):
                filed.append(copied)
            else:
                left_out.append(copied)
        secret = await asyncio.to_thread(source.secret.is_file)
        if secret:
            filed.append(await asyncio.to_thread(copy, source.secret, place.secret, place.secret.name))
        manifest = Manifest(
            format=FORMAT,
            program=program,
            made_at=made_at,
            migrations=content.migrations,
            rows=content.rows,
            secret=secret,
            files=filed,
            left_out=left_out,
        ).sealed()
        await asyncio.to_thread(_finish, place, partial, manifest)
    return manifest


class Unreadable(Exception):
    """Why a file that is to be copied cannot be read."""


def copy(source: Path, target: Path, name: str) -> ManifestEntry:
    """Copy a file to the new file `target`, on disk when this returns. Raises Unreadable for the source, and OSError for the
    target, which is gone again then. Blocks."""
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
        raise Unreadable(exc.strerror) from None

    def read() -> bytes:
        try:
            return file.read(CHUNK)
        except OSError as exc:
            raise Unreadable(exc.strerror) from None

    with file:
        yield read


def digest(path: Path) -> str:
    """The SHA-256 of a file in hex. Blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Have the system bring a file, or the names in a folder, to the disk. Blocks."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Say in one sentence why a folder could not be filled."""
    incomplete = f"{target} is incomplete now and has no manifest.json: remove it"
    no_room = Unready(
        f"There is no room for the backup on the disk of {target}. {incomplete}, make room, then try again."
    )
    try:
        yield
    except OSError as exc:
        if exc.errno in NO_SPACE:
            raise no_room from None
        raise Unready(f"{target} could not be written ({exc.strerror}). {incomplete}, then try again.") from None
    except NoRoom:
        raise no_room from None
    except Unready as exc:
        raise Unready(f"{exc.message} {incomplete}, then try again.") from None


def _prepare(place: DataDir, source: DataDir) -> None:
    root = place.root
    if root.resolve().is_relative_to(source.root.resolve()):
        raise Invalid(f"{root} lies in the data folder, and would be lost with it: choose a folder elsewhere.")
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = next(root.iterdir(), None)
        if there is None:
            place.media.mkdir(mode=0o700)
            return
    except OSError as exc:
        raise Invalid(f"{root} cannot be used as a folder for the backup ({exc.strerror}).") from None
    what = "holds a backup" if place.manifest.exists() else "is not empty"
    if place.database.with_suffix(".duckdb.part").exists():
        what = "holds an incomplete backup"
    raise Conflict(f"{root} {what}: choose a new folder.")


def _content(tx: Transaction) -> Content:
    return Content(tx.verify_tables(), repository.migrations_any(tx), repository.named_any(tx))


def _check_room(target: Path, named: Sequence[ReferencedFile]) -> None:
    needed = sum(one.bytes or 0 for one in named)
    if shutil.disk_usage(target).free < needed + ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _take(files: Files, one: ReferencedFile, place: DataDir) -> ManifestEntry | str:
    """Copy a stored file; or the sentence why it cannot be in the backup."""
    try:
        stored = files.path(one.key)  # ValueError for what is no key of ours: it must not lead out of the backup
        target = place.media / one.key
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copied = copy(stored, target, f"media/{one.key}")
    except (Unreadable, ValueError) as exc:
        return f"stored file {one.key} of file {one.asset} cannot be read ({exc})"
    if copied.sha256 == target.stem:
        return copied
    target.unlink()
    return f"stored file {one.key} of file {one.asset} is damaged"


def _filed(path: Path, name: str) -> ManifestEntry:
    sync(path)
    return ManifestEntry(name, path.stat().st_size, digest(path))


def _finish(place: DataDir, partial: Path, manifest: Manifest) -> None:
    partial.chmod(0o600)
    partial.rename(place.database)
    for folder in (*place.media.glob("*/*"), *place.media.glob("*"), place.media, place.root):
        sync(folder)
    draft = place.root / f"{place.manifest.name}.part"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(place.manifest)
    sync(place.root)
