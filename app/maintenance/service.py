"""The backup, restore and doctor commands, and their output."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

from app.base import logging
from app.base.data_dir import DataDir
from app.base.errors import Conflict, Invalid, Missing
from app.base.sizes import format_size
from app.db.database import Database, DatabaseError
from app.db.duckdb.database import EmbeddedDatabase
from app.db.migrate import find_migrations
from app.library.service import Library
from app.maintenance import backup, doctor, repository, restore
from app.maintenance.schemas import CommandResult, Manifest
from app.storage.files import Files

MAX_REPORT: Final = 40_000  # characters; the control socket carries little more
STALE_AFTER: Final = 3600.0  # seconds; a temporary file that is idle for longer is left over

logger = logging.get("maintenance")


class Maintenance:
    """Backup and doctor for a serving instance (with its `library`) or a stopped one."""

    def __init__(
        self,
        folder: DataDir,
        database: Database,
        files: Files,
        migrations: Path,
        *,
        program: str,
        library: Library | None = None,
    ) -> None:
        self._folder = folder
        self._database = database
        self._files = files
        self._migrations = migrations
        self._program = program
        self._library = library
        self._busy = asyncio.Lock()

    async def backup(self, target: str) -> CommandResult:
        """Create a backup in a new or empty folder, given as an absolute path. Raises Invalid, Conflict or Unready."""
        path = _path(target)
        if self._busy.locked():
            raise Conflict("A backup is already running. Wait until it has finished.")
        async with self._busy, self._library.pause_deletion() if self._library else nullcontext():
            began = time.perf_counter()
            manifest = await backup.create(path, self._folder, self._database, self._files, program=self._program)
        size, seconds = sum(file.bytes for file in manifest.files), time.perf_counter() - began
        logger.info("backup created", files=len(manifest.files), bytes=size, left_out=len(manifest.left_out))
        text = f"backup created in {path}: {_summary(manifest)}, {seconds:.1f} s"
        return CommandResult(
            not manifest.left_out, _report([text, *(f"not included: {line}" for line in manifest.left_out)])
        )

    async def examine(self) -> CommandResult:
        """Check everything, with one line per finding."""
        try:
            rows = await self._database.read(lambda tx: tx.verify_tables())
        except DatabaseError as exc:
            return CommandResult(False, str(exc))
        if findings := await self._check_migrations(rows):
            return CommandResult(False, _report(findings))
        in_use = self._library.is_pinned if self._library else doctor.never_in_use
        findings += await doctor.check(self._database, self._files, in_use=in_use)
        findings += await asyncio.to_thread(self._unexpected_files)
        if findings:
            return CommandResult(False, _report(findings))
        usage = await self._files.usage()
        files = 0
        async for _ in self._files.keys():
            files += 1
        return CommandResult(
            True,
            f"everything is in order ({rows['users']} users, {rows['jobs']} jobs, {rows['messages']} messages,"
            f" {rows['ledger']} ledger entries, {files} stored files of {format_size(usage.stored)})",
        )

    async def _check_migrations(self, rows: dict[str, int]) -> list[str]:
        """Whether the schema version of the database matches this version; if not, no other check makes sense."""
        if "migrations" not in rows:
            return ["the database is empty: start Atelier once"]
        known, done = find_migrations(self._migrations), await self._database.read(repository.migrations_any)
        if len(done) > len(known):
            return [
                f"the database is newer than this version of Atelier (it has {done[-1].name}): use the newer version"
            ]
        if len(done) < len(known):
            return [
                f"the database is older than this version of Atelier (it lacks {known[len(done)].name}): start Atelier once"
            ]
        return [
            f"migration {migration.name} was changed after it was applied"
            for migration, applied in zip(known, done, strict=True)
            if migration.checksum != applied.checksum
        ]

    def _unexpected_files(self) -> list[str]:
        """Left-over temporary files, quarantined rows, and unknown files in the media folder. Blocks."""
        idle = STALE_AFTER if self._library else 0.0  # a serving instance may be using recent ones
        left = [path.name for path in self._folder.temporary.iterdir() if _idle(path) >= idle]
        media = self._folder.media
        unknown = [
            relative.as_posix()
            for folder, _, names in os.walk(media)
            for name in names
            if not _is_key(self._files, (relative := (Path(folder) / name).relative_to(media)).as_posix())
        ]
        return [
            *(f"temporary file {name} was left behind; the next start removes it" for name in sorted(left)),
            *(
                [f"{quarantine.name} contains rows that could not be applied"]
                if (quarantine := self._folder.quarantine).exists()
                else []
            ),
            *(f"media/{name} is not a stored file" for name in sorted(unknown)),
        ]


def restore_backup(source: str, folder: DataDir, migrations: Path) -> CommandResult:
    """Restore a backup into an empty data folder. After Invalid or Conflict nothing has changed. Blocks."""
    manifest = restore.restore(_path(source), folder, find_migrations(migrations))
    lines = [f"restored the backup of {manifest.made_at} to {folder.root}: {_summary(manifest)}"]
    if not manifest.secret:
        lines.append("the backup has no secret key: set ATELIER_SECRET_KEY to its previous value")
    lines.append("the next start fails jobs that were queued or running, because they may have completed since")
    return CommandResult(True, _report([*lines, *(f"not included: {line}" for line in manifest.left_out)]))


def examine_backup(folder: str, migrations: Path) -> CommandResult:
    """Check a backup without restoring it. Blocks."""
    source = _path(folder)
    manifest = restore.read_manifest(source, find_migrations(migrations))
    if lines := list(restore.find_faults(source, manifest)):
        return CommandResult(False, _report(lines))
    return CommandResult(True, f"the backup of {manifest.made_at} is in order: {_summary(manifest)}")


@asynccontextmanager
async def offline_maintenance(folder: DataDir, migrations: Path, *, program: str) -> AsyncIterator[Maintenance]:
    """Maintenance without a serving instance: locks the data folder and opens its database. Raises Missing when there is no
    database, FolderError, DatabaseError."""
    if not folder.database.is_file():
        raise Missing(f"There is no Atelier database in {folder.root}. Set ATELIER_DATA_DIR to the data folder.")
    folder.create()
    folder.lock()
    try:
        database, files = EmbeddedDatabase(folder.database), Files(folder.media, folder.temporary)
        try:
            yield Maintenance(folder, database, files, migrations, program=program)
        finally:
            files.close()
            await database.close()
    finally:
        folder.release()


def _path(argument: str) -> Path:
    if not argument or not Path(argument).is_absolute():
        raise Invalid("The folder must be an absolute path.")
    return Path(argument)


def _idle(path: Path) -> float:
    """Seconds since the last write to the file or folder."""
    try:
        return time.time() - max(entry.lstat().st_mtime for entry in (path, *path.rglob("*")))
    except FileNotFoundError:  # removed meanwhile
        return -1.0


def _is_key(files: Files, name: str) -> bool:
    try:
        files.path(name)
    except ValueError:
        return False
    return True


def _summary(manifest: Manifest) -> str:
    rows, files = manifest.rows, [file for file in manifest.files if file.path.startswith("media/")]
    size = sum(file.bytes for file in manifest.files)
    return f"{rows.get('users', 0)} users, {rows.get('jobs', 0)} jobs, {len(files)} stored files, {format_size(size)} in total"


def _report(lines: Sequence[str]) -> str:
    """The lines up to `MAX_REPORT`, then how many are left out."""
    shown, length = list[str](), 0
    for line in lines:
        length += len(line) + 1
        if length > MAX_REPORT:
            break
        shown.append(line)
    more = len(lines) - len(shown)
    return "\n".join([*shown, *([f"… and {more} more"] if more else [])])
