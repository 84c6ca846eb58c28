"""Bytes at rest. A stored file is named after its content, so no name ever comes from a user, the same content is kept
once, and whether a file is still what it was can always be told.

    media/ab/cd/abcd…ef.png      the key is what stands after `media/`
    tmp/…                        private folders of work in progress, on the same filesystem, empty after every start

Everything reaches `media` by one rename of a file that is already on disk: a power cut leaves the whole file or none.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.base import errors
from app.base.crash_points import crash_point
from app.base.disk_full import map_disk_full
from app.storage.threads import Threads

_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_KEY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})\.[a-z0-9]{1,8}")
_MIB = 1024 * 1024


class Stored(msgspec.Struct, frozen=True):
    """A file that is kept: its key, its size in bytes, the SHA-256 of its content in hex."""

    key: str
    bytes: int
    sha256: str


class Usage(NamedTuple):
    """Bytes: what all stored files hold, and what the disk still has for us."""

    stored: int
    free: int


@contextlib.contextmanager
def temp_file(folder: Path, suffix: str) -> Iterator[Path]:
    """A new private file in `folder` for the block to write; removed again when the block fails. Blocks."""
    with map_disk_full():
        number, name = tempfile.mkstemp(suffix, dir=folder)
        os.close(number)
        path = Path(name)
        try:
            yield path
        except BaseException:
            path.unlink(missing_ok=True)
            raise


class Files:
    """The store: `media` and `temporary` are existing folders on one filesystem. `threads` do what blocks, four by default,
    and are closed with the store."""

    def __init__(self, media: Path, temporary: Path, *, threads: Threads | None = None) -> None:
        self._media = media
        self._temporary = temporary
        self._threads = threads or Threads(4, "files")
        self._names = threading.Lock()  # giving a name and taking it away take turns

    async def store(self, path: Path, suffix: str) -> Stored:
        """Keep the file at `path` (in a `folder()`), which is consumed. Raises Full, and then `path` is still there.

        Storing content that is already kept puts a sound copy in its place, so a damaged file is healed by it.
        """
        if not _SUFFIX.fullmatch(suffix):
            raise ValueError("a suffix is a dot and one to eight lower-case letters or digits")
        crash_point("file.received")
        return await self._threads.run(self._store, path, suffix)

    def path(self, key: str) -> Path:
        """Where the file of `key` lies, there or not. Raises ValueError for what is not a key of ours."""
        if not _KEY.fullmatch(key):
            raise ValueError("not a key of this store")
        return self._media / key

    async def exists(self, key: str) -> bool:
        return await self._threads.run(self.path(key).is_file)

    async def size(self, key: str) -> int:
        """In bytes. Raises Missing."""
        try:
            return (await self._threads.run(self.path(key).stat)).st_size
        except FileNotFoundError:
            raise errors.Missing("This file is no longer there.") from None

    async def verify(self, key: str) -> bool:
        """Whether the file is there and its content still is what its name says."""
        return await self._threads.run(_verify, self.path(key))

    async def remove(self, key: str, *, idle: float = 0.0) -> bool:
        """Remove the file; False when it was not there, or was stored less than `idle` seconds ago.

        The caller knows that nothing uses the key any more. Where somebody could be storing the same content just now
        and not have written down its key yet (a sweep for orphans), `idle` is longer than that takes.
        """
        return await self._threads.run(self._remove, self.path(key), idle)

    async def keys(self) -> AsyncIterator[str]:
        """Every stored key, in order, one outer folder in memory at a time. Whatever else lies there is passed over."""
        for outer in await self._threads.run(_names, self._media):
            for key in await self._threads.run(self._keys_in, outer):
                yield key

    async def usage(self) -> Usage:
        """Looks at every stored file: some ten milliseconds a thousand, so not on every request."""
        return await self._threads.run(self._usage)

    @contextlib.asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """A new private folder for work in progress, removed afterwards in every case. Raises Full."""
        path = self._temporary / secrets.token_hex(16)
        try:
            await self._threads.run(_make, path)
            crash_point("temp_folder.created")
            yield path
        finally:
            crash_point("temp_folder.released")
            await self._threads.finish(shutil.rmtree, path, ignore_errors=True)
            crash_point("temp_folder.removed")

    async def clear_temporary(self) -> None:
        """Remove what a process that was killed left behind. At start-up only: it asks nobody."""
        crash_point("temp_folders.cleanup_started")
        await self._threads.finish(_clear, self._temporary)
        crash_point("temp_folders.cleaned_up")

    async def write_upload(self, chunks: AsyncIterator[bytes], to: Path, max_bytes: int) -> int:
        """Write a stream to the new file `to` and say how many bytes it had. Raises TooLarge as soon as it is, and Full;
        then, and when the stream itself fails, `to` is gone again."""
        sink = _Sink(to)
        try:
            await self._threads.run(sink.open)
            return await self._pour(chunks, sink, max_bytes)
        except BaseException:
            await self._threads.finish(sink.discard)
            raise
        finally:
            await self._threads.finish(sink.close)

    def close(self) -> None:
        self._threads.close()

    async def _pour(self, chunks: AsyncIterator[bytes], sink: "_Sink", max_bytes: int) -> int:
        total = 0
        waiting = bytearray()  # a network chunk is small; a trip to a thread for each would cost more than the writing
        async for chunk in chunks:
            total += len(chunk)
            if total > max_bytes:
                raise errors.TooLarge(f"The file is larger than the {readable(max_bytes)} that are accepted.")
            waiting += chunk
            if len(waiting) >= _MIB:
                await self._threads.run(sink.write, bytes(waiting))
                waiting.clear()
        await self._threads.run(sink.write, bytes(waiting))
        return total

    def _store(self, path: Path, suffix: str) -> Stored:
        with map_disk_full():
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                crash_point("file.hashed", sha256)
                size = os.fstat(file.fileno()).st_size
                os.fchmod(file.fileno(), 0o600)
                os.utime(file.fileno())  # `remove` reads the time of storing from it
                os.fsync(file.fileno())
            key = f"{sha256[:2]}/{sha256[2:4]}/{sha256}{suffix}"
            target = self._media / key
            inner, outer = target.parent, target.parent.parent
            inner.mkdir(mode=0o700, parents=True, exist_ok=True)
            crash_point("file.synced", key)
            with self._names:
                path.replace(target)
            crash_point("file.renamed", key)
            # All three, also when they were there already: another thread may have made them and not got this far.
            for folder in (inner, outer, self._media):
                _sync(folder)
                crash_point("folder.synced", key)
        return Stored(key, size, sha256)

    def _remove(self, path: Path, idle: float) -> bool:
        crash_point("file.removal_started", path.name)
        # The emptied folders stay: there are never more than 65,536, and removing one could race with a store.
        with self._names:
            try:
                if idle and time.time() - path.stat().st_mtime < idle:
                    return False
                path.unlink()
            except FileNotFoundError:
                return False
        crash_point("file.removed", path.name)
        return True

    def _keys_in(self, outer: str) -> list[str]:
        folder = self._media / outer
        keys = (f"{outer}/{inner}/{name}" for inner in _names(folder) for name in _names(folder / inner))
        return [key for key in keys if _KEY.fullmatch(key)]

    def _usage(self) -> Usage:
        stored = 0
        for outer in _names(self._media):
            for key in self._keys_in(outer):
                with contextlib.suppress(FileNotFoundError):
                    stored += (self._media / key).stat().st_size
        return Usage(stored, shutil.disk_usage(self._media).free)


def _make(folder: Path) -> None:
    with map_disk_full():
        folder.mkdir(mode=0o700)


class _Sink:
    """A new private file being written. Its state is its own, so that whoever gives up half-way can tidy up after it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = -1

    def open(self) -> None:
        with map_disk_full():
            self._number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        """All of `data`: a disk with a little space left takes a part of it without complaint."""
        rest = memoryview(data)
        with map_disk_full():
            while rest:
                rest = rest[os.write(self._number, rest) :]

    def discard(self) -> None:
        if self._number >= 0:  # else the file, if there is one, is somebody else's
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._number >= 0:
            os.close(self._number)
            self._number = -1


def _verify(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == path.stem
    except FileNotFoundError:
        return False


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _names(folder: Path) -> list[str]:
    """What lies in `folder`, in order; nothing when it is gone or no folder."""
    try:
        return sorted(child.name for child in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _clear(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child, ignore_errors=True)
        else:
            child.unlink(missing_ok=True)


def readable(size: int) -> str:
    """In the MB of the settings, which are of 1024 × 1024 bytes."""
    return f"{round(size / _MIB, 1):g} MB" if size >= _MIB else f"{size} bytes"
