"""The verbs of upkeep, and what the person at the command line is told."""

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
from app.db.database import Database, DatabaseError, Transaction
from app.db.migrate import found
from app.library.service import Library
from app.maintenance import backup, doctor, repository, restore
from app.maintenance.schemas import CommandResult, Manifest
from app.storage.files import Files

LONGEST: Final = 40_000  # characters of a report; the control socket carries little more
STRAY: Final = 3600.0  # seconds after which nobody works any more on what lies among the temporary files

logger = logging.get("maintenance")


class Maintenance:
    """Backups and the doctor, beside a studio that serves (then with its `library`) or without one."""

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
        """Make a backup in a new or empty folder, named in full. Raises Invalid, Conflict or Unready in one sentence."""
        path = _path(target)
        if self._busy.locked():
            raise Conflict("A backup is being made already: wait for it.")
        async with self._busy, self._library.pause_deletion() if self._library else nullcontext():
            began = time.perf_counter()
            manifest = await backup.make(path, self._folder, self._database, self._files, program=self._program)
        size, seconds = sum(one.bytes for one in manifest.files), time.perf_counter() - began
        logger.info("backup made", files=len(manifest.files), bytes=size, left_out=len(manifest.left_out))
        text = f"{path} holds a backup now: {_holdings(manifest)}, made in {seconds:.1f} s"
        return CommandResult(
            not manifest.left_out, _report([text, *(f"not in it: {line}" for line in manifest.left_out)])
        )

    async def examine(self) -> CommandResult:
        """Whether all is in order: one line for each thing that is not."""
        try:
            rows = await self._database.read(Transaction.verify_tables)
        except DatabaseError as exc:
            return CommandResult(False, str(exc))
        if findings := await self._of_migrations(rows):
            return CommandResult(False, _report(findings))
        in_use = self._library.is_pinned if self._library else doctor.nobody
        findings += await doctor.check(self._database, self._files, in_use=in_use)
        findings += await asyncio.to_thread(self._strays)
        if findings:
            return CommandResult(False, _report(findings))
        usage = await self._files.usage()
        files = 0
        async for _ in self._files.keys():
            files += 1
        return CommandResult(
            True,
            f"everything is in order ({rows['users']} people, {rows['jobs']} jobs, {rows['messages']} messages,"
            f" {rows['ledger']} ledger entries, {files} stored files with {_size(usage.stored)})",
        )

    async def _of_migrations(self, rows: dict[str, int]) -> list[str]:
        """Whether the database and the program fit together; without that there is nothing more to ask."""
        if "migrations" not in rows:
            return ["the database is empty: start Atelier once"]
        known, done = found(self._migrations), await self._database.read(repository.migrations_any)
        if len(done) > len(known):
            return [f"the database is newer than this program (it has {done[-1].name}): use the newer program"]
        if len(done) < len(known):
            return [f"the database is older than this program (it lacks {known[len(done)].name}): start Atelier once"]
        pairs = zip(known, done, strict=True)
        return [
            f"the migration {one.name} was edited after it was applied"
            for one, it in pairs
            if one.checksum != it.checksum
        ]

    def _strays(self) -> list[str]:
        """What lies where nothing should: temporary files of nobody, rows of no table, strangers among the media. Blocks."""
        idle = STRAY if self._library else 0.0  # beside a studio that serves somebody may be at work
        left = [path.name for path in self._folder.temporary.iterdir() if _idle(path) >= idle]
        media = self._folder.media
        strangers = [
            relative.as_posix()
            for folder, _, names in os.walk(media)
            for name in names
            if not _is_key(self._files, (relative := (Path(folder) / name).relative_to(media)).as_posix())
        ]
        return [
            *(f"temporary file {name} was left behind; the next start removes it" for name in sorted(left)),
            *(
                [f"{refused.name} holds rows that fitted into no table"]
                if (refused := self._folder.refused).exists()
                else []
            ),
            *(f"media/{name} is not a file of this store" for name in sorted(strangers)),
        ]


def restored(source: str, folder: DataDir, migrations: Path) -> CommandResult:
    """Restore a backup into the empty data folder. Raises Invalid or Conflict, with nothing touched. Blocks."""
    manifest = restore.restore(_path(source), folder, found(migrations))
    lines = [f"restored the backup of {manifest.made_at} into {folder.root}: {_holdings(manifest)}"]
    if not manifest.secret:
        lines.append("its secret key was not in the data folder: set ATELIER_SECRET_KEY to what it was")
    lines.append("the next start ends what was under way or queued then: it may have been made since")
    return CommandResult(True, _report([*lines, *(f"not in it: {line}" for line in manifest.left_out)]))


def examine_backup(backed_up: str, migrations: Path) -> CommandResult:
    """Whether a backup is whole, without restoring it. Blocks."""
    source = _path(backed_up)
    manifest = restore.opened(source, found(migrations))
    if lines := list(restore.faults(source, manifest)):
        return CommandResult(False, _report(lines))
    return CommandResult(True, f"the backup of {manifest.made_at} is in order: {_holdings(manifest)}")


@asynccontextmanager
async def alone(folder: DataDir, migrations: Path, *, program: str) -> AsyncIterator[Maintenance]:
    """Upkeep where no studio serves: the data folder is held and its database opened, and nothing else happens to them.
    Raises Missing when there is no studio, FolderError, DatabaseError."""
    if not folder.database.is_file():
        raise Missing(f"There is no studio in {folder.root}: set ATELIER_DATA_DIR to its data folder.")
    folder.make()
    folder.lock()
    try:
        database, files = Database(folder.database), Files(folder.media, folder.temporary)
        try:
            yield Maintenance(folder, database, files, migrations, program=program)
        finally:
            files.close()
            await database.close()
    finally:
        folder.release()


def _path(word: str) -> Path:
    if not word or not Path(word).is_absolute():
        raise Invalid("Name the folder with its whole path.")
    return Path(word)


def _idle(path: Path) -> float:
    """Seconds since anything was written in it."""
    try:
        return time.time() - max(one.lstat().st_mtime for one in (path, *path.rglob("*")))
    except FileNotFoundError:  # somebody has just tidied up
        return -1.0


def _is_key(files: Files, name: str) -> bool:
    try:
        files.path(name)
    except ValueError:
        return False
    return True


def _holdings(manifest: Manifest) -> str:
    rows, files = manifest.rows, [one for one in manifest.files if one.path.startswith("media/")]
    size = sum(one.bytes for one in manifest.files)
    return f"{rows.get('users', 0)} people, {rows.get('jobs', 0)} jobs, {len(files)} stored files, {_size(size)} in all"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _report(lines: Sequence[str]) -> str:
    """One line for each; where there are too many, how many more."""
    shown, length = list[str](), 0
    for line in lines:
        length += len(line) + 1
        if length > LONGEST:
            break
        shown.append(line)
    more = len(lines) - len(shown)
    return "\n".join([*shown, *([f"… and {more} more"] if more else [])])
