"""Restoring a backup into an empty data folder, after all of it has been checked.

The manifest comes along, and tells the next start that this is a restored studio: what was queued when the backup was made
may have been sent since, so the start fails it with `OUTCOME_UNKNOWN` instead of sending it, then removes the manifest.
That holds as well where somebody put a backup in place by hand.
"""

import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.base.data_dir import DataDir
from app.base.disk_full import NO_SPACE
from app.base.errors import Conflict, Invalid
from app.db.migrate import Migration
from app.maintenance.backup import Unreadable, copy, digest, sync
from app.maintenance.schemas import FORMAT, Manifest, ManifestEntry

SHOWN: Final = 20  # findings that are told one by one
_MEDIA: Final = re.compile(r"media/([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})\.[a-z0-9]{1,8}")


class _Head(msgspec.Struct):
    """What every format of a manifest says."""

    format: int
    program: str


def restore(source: Path, folder: DataDir, known: Sequence[Migration]) -> Manifest:
    """Put the backup into the data folder. Raises Invalid or Conflict, with nothing touched, when the backup is not whole
    or not for this program, or when the folder is not empty. Blocks."""
    manifest = opened(source, known)
    _check_empty(folder)
    if found := list(faults(source, manifest)):
        raise Conflict(f"The backup {source} is damaged, so nothing was restored: {_few(found)}")
    folder.make()
    folder.lock()
    try:
        _fill(source, folder, manifest)
    finally:
        folder.release()
    return manifest


def opened(source: Path, known: Sequence[Migration]) -> Manifest:
    """The manifest of a backup that this program can restore; Invalid or Conflict when there is none."""
    place = DataDir(source)
    try:
        text = place.manifest.read_bytes()
    except FileNotFoundError:
        if any(source.glob("*.part")):
            raise Conflict(f"The backup {source} is incomplete: it was interrupted before it was finished.") from None
        raise Invalid(f"{source} is not a backup: it has no manifest.json.") from None
    except OSError as exc:
        raise Invalid(f"The backup {source} cannot be read ({exc.strerror}).") from None
    damaged = Conflict(f"The backup {source} is damaged: its manifest.json is not as it was written.")
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.format > FORMAT:
            raise _newer(head.program)
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError:
        raise damaged from None
    if not manifest.sound:
        raise damaged
    if len(manifest.migrations) > len(known):
        raise _newer(manifest.program)
    if any(one.checksum != mine.checksum for one, mine in zip(manifest.migrations, known, strict=False)):
        raise Conflict(f"The backup {source} was made by another program, whose migrations are not the same as here.")
    return manifest


def faults(source: Path, manifest: Manifest) -> Iterator[str]:
    """What is not as the manifest says, one line each. Reads every file. Blocks."""
    for one in manifest.files:
        path = source / one.path
        if not _expected(one):
            yield f"{one.path} has no place in a backup"
        elif not path.is_file():
            yield f"{one.path} is missing"
        elif path.stat().st_size != one.bytes or digest(path) != one.sha256:
            yield f"{one.path} is damaged"
    listed = {one.path for one in manifest.files}
    for name in ("atelier.duckdb", *(["secret.key"] if manifest.secret else [])):
        if name not in listed:
            yield f"{name} is missing"


def _newer(program: str) -> Conflict:
    return Conflict(f"This backup was made by a newer program ({program}): restore it with that one.")


def _expected(one: ManifestEntry) -> bool:
    media = _MEDIA.fullmatch(one.path)
    return media[3] == one.sha256 if media else one.path in ("atelier.duckdb", "secret.key")


def _check_empty(folder: DataDir) -> None:
    """Nothing may be there but what a start makes before anything happens."""
    if not folder.root.exists():
        return
    for path in folder.root.rglob("*"):
        if not path.is_dir() and path != folder.root / "lock" and not path.is_relative_to(folder.temporary):
            raise Conflict(
                f"The data folder {folder.root} is not empty: a backup is restored into an empty one only."
                " Move it away, or set ATELIER_DATA_DIR to another folder."
            )


def _fill(source: Path, folder: DataDir, manifest: Manifest) -> None:
    """All of it lies on the disk before the first file takes its place; the database comes last."""
    stage = DataDir(folder.temporary / f"restore-{secrets.token_hex(8)}")
    try:
        stage.media.mkdir(mode=0o700, parents=True)
        for one in manifest.files:
            target = stage.root / one.path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if copy(source / one.path, target, one.path) != one:
                raise Unreadable("it changed meanwhile")
        copy(source / "manifest.json", stage.manifest, "manifest.json")
        for inner in (*stage.media.glob("*/*"), *stage.media.glob("*"), stage.media):
            sync(inner)
        shutil.rmtree(folder.media)
        stage.media.rename(folder.media)
        for name in [path.name for path in (stage.secret, stage.manifest, stage.database) if path.exists()]:
            (stage.root / name).rename(folder.root / name)
        sync(folder.root)
    except Unreadable as exc:
        raise Conflict(f"The backup {source} could not be read ({exc}), so nothing was restored.") from None
    except OSError as exc:
        why = "there is no room on its disk" if exc.errno in NO_SPACE else exc.strerror
        raise Conflict(f"The backup could not be copied into {folder.root} ({why}), so nothing was restored.") from None
    finally:
        shutil.rmtree(stage.root, ignore_errors=True)


def _few(lines: Sequence[str]) -> str:
    more = len(lines) - SHOWN
    return "; ".join(lines[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
