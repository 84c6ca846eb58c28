"""Restores a backup into an empty data folder, after verifying all of it.

The manifest is restored too. With it the next start knows that the data was restored: jobs that were queued at the time of the
backup may have been sent since, so the start fails them with `OUTCOME_UNKNOWN` instead of sending them again, then removes
the manifest. This also works for a backup that was copied manually.
"""

import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.base.data_dir import DataDir, fsync_path
from app.base.disk_full import NO_SPACE
from app.base.errors import Conflict, Invalid
from app.db.migrate import Migration
from app.maintenance.backup import SourceUnreadable, copy, digest
from app.maintenance.schemas import FORMAT, Manifest, ManifestEntry

MAX_SHOWN: Final = 20  # findings in an error message
_MEDIA: Final = re.compile(r"media/([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})\.[a-z0-9]{1,8}")


class _ManifestHeader(msgspec.Struct):
    """The fields that every manifest format has."""

    format: int
    program: str


def restore(source: Path, folder: DataDir, known: Sequence[Migration]) -> Manifest:
    """Restore the backup into the data folder. Raises Invalid or Conflict, with nothing changed, when the backup is damaged
    or incompatible, or when the folder is not empty. Blocks."""
    manifest = read_manifest(source, known)
    _check_empty(folder)
    if found := list(find_faults(source, manifest)):
        raise Conflict(f"The backup {source} is damaged. Nothing was restored: {_few(found)}")
    folder.create()
    folder.lock()
    try:
        _fill(source, folder, manifest)
    finally:
        folder.release()
    return manifest


def read_manifest(source: Path, known: Sequence[Migration]) -> Manifest:
    """The manifest of a compatible backup. Raises Invalid or Conflict."""
    backup = DataDir(source)
    try:
        text = backup.manifest.read_bytes()
    except FileNotFoundError:
        if any(source.glob("*.part")):
            raise Conflict(f"The backup {source} is incomplete: its creation was interrupted.") from None
        raise Invalid(f"{source} is not a backup: it has no manifest.json.") from None
    except OSError as exc:
        raise Invalid(f"The backup {source} cannot be read ({exc.strerror}).") from None
    damaged = Conflict(f"The backup {source} is damaged: its manifest.json has been changed.")
    try:
        header = msgspec.json.decode(text, type=_ManifestHeader)
        if header.format > FORMAT:
            raise _newer(header.program)
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError:
        raise damaged from None
    if not manifest.intact:
        raise damaged
    if len(manifest.migrations) > len(known):
        raise _newer(manifest.program)
    if any(
        applied.checksum != migration.checksum for applied, migration in zip(manifest.migrations, known, strict=False)
    ):
        raise Conflict(f"The backup {source} has other migrations than this version of Atelier.")
    return manifest


def find_faults(source: Path, manifest: Manifest) -> Iterator[str]:
    """One line per difference from the manifest. Reads every file. Blocks."""
    for entry in manifest.files:
        path = source / entry.path
        if not _is_expected(entry):
            yield f"{entry.path} does not belong in a backup"
        elif not path.is_file():
            yield f"{entry.path} is missing"
        elif path.stat().st_size != entry.bytes or digest(path) != entry.sha256:
            yield f"{entry.path} is damaged"
    listed = {entry.path for entry in manifest.files}
    for name in ("atelier.duckdb", *(["secret.key"] if manifest.secret else [])):
        if name not in listed:
            yield f"{name} is missing"


def _newer(program: str) -> Conflict:
    return Conflict(
        f"This backup was created by a newer version of Atelier ({program}). Use that version to restore it."
    )


def _is_expected(entry: ManifestEntry) -> bool:
    media = _MEDIA.fullmatch(entry.path)
    return media[3] == entry.sha256 if media else entry.path in ("atelier.duckdb", "secret.key")


def _check_empty(folder: DataDir) -> None:
    """Only the lock and temporary files may exist."""
    if not folder.root.exists():
        return
    for path in folder.root.rglob("*"):
        if not path.is_dir() and path != folder.root / "lock" and not path.is_relative_to(folder.temporary):
            raise Conflict(
                f"The data folder {folder.root} is not empty. Move it away, or set ATELIER_DATA_DIR to another folder."
            )


def _fill(source: Path, folder: DataDir, manifest: Manifest) -> None:
    """Copy everything to a staging folder first, then move it into place; the database is moved last."""
    staging = DataDir(folder.temporary / f"restore-{secrets.token_hex(8)}")
    try:
        staging.media.mkdir(mode=0o700, parents=True)
        for entry in manifest.files:
            target = staging.root / entry.path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if copy(source / entry.path, target, entry.path) != entry:
                raise SourceUnreadable("it changed meanwhile")
        copy(source / "manifest.json", staging.manifest, "manifest.json")
        for inner in (*staging.media.glob("*/*"), *staging.media.glob("*"), staging.media):
            fsync_path(inner)
        shutil.rmtree(folder.media)
        staging.media.rename(folder.media)
        for name in [path.name for path in (staging.secret, staging.manifest, staging.database) if path.exists()]:
            (staging.root / name).rename(folder.root / name)
        fsync_path(folder.root)
    except SourceUnreadable as exc:
        raise Conflict(f"The backup {source} could not be read ({exc}). Nothing was restored.") from None
    except OSError as exc:
        reason = "disk full" if exc.errno in NO_SPACE else exc.strerror
        raise Conflict(f"The backup could not be copied into {folder.root} ({reason}). Nothing was restored.") from None
    finally:
        shutil.rmtree(staging.root, ignore_errors=True)


def _few(lines: Sequence[str]) -> str:
    more = len(lines) - MAX_SHOWN
    return "; ".join(lines[:MAX_SHOWN]) + (f"; and {more} more" if more > 0 else "")
