"""Content-addressed file storage. Files are named by their SHA-256, so names never come from users, identical content is
stored once, and damage can be detected.

    media/ab/cd/abcd…ef.png      the key is the path below `media/`
    tmp/…                        private working folders on the same filesystem, cleared at every start

A file enters `media` by one rename after it has been synced, so a power failure leaves either the whole file or none.
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
from app.base.data_dir import fsync_path
from app.base.disk_full import map_disk_full
from app.base.sizes import format_size
from app.storage.threads import Threads

_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_KEY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})\.[a-z0-9]{1,8}")
_MIB = 1024 * 1024


class Stored(msgspec.Struct, frozen=True):
    """A stored file: its key, its size in bytes, the SHA-256 of its content in hex."""

    key: str
    bytes: int
    sha256: str


class StorageUsage(NamedTuple):
    """In bytes: the total size of all stored files, and the free disk space."""

    stored: int
    free: int


@contextlib.contextmanager
def temp_file(folder: Path, suffix: str) -> Iterator[Path]:
    """A new private file in `folder`, removed when the block fails. Blocking."""
    with map_disk_full():
        descriptor, name = tempfile.mkstemp(suffix, dir=folder)
        os.close(descriptor)
        path = Path(name)
        try:
            yield path
        except BaseException:
            path.unlink(missing_ok=True)
            raise


class Files:
    """The file store. `media` and `temporary` are existing folders on one filesystem. `threads` (four by default) run the
    blocking calls and are closed with the store."""

    def __init__(self, media: Path, temporary: Path, *, threads: Threads | None = None) -> None:
        self._media = media
        self._temporary = temporary
        self._threads = threads or Threads(4, "files")
        self._names = threading.Lock()  # `_store` and `_remove` must not rename and unlink at the same time

    async def store(self, path: Path, suffix: str) -> Stored:
        """Move the file at `path` (in a `folder()`) into the store. Raises DiskFull, which leaves `path` in place.

        Storing content that already exists replaces the stored file, which repairs a damaged one.
        """
        if not _SUFFIX.fullmatch(suffix):
            raise ValueError("a suffix must be a dot and one to eight lower-case letters or digits")
        crash_point("file.received")
        return await self._threads.run(self._store, path, suffix)

    def path(self, key: str) -> Path:
        """The path of `key`, whether or not the file exists. Raises ValueError for an invalid key."""
        if not _KEY.fullmatch(key):
            raise ValueError("invalid storage key")
        return self._media / key

    async def exists(self, key: str) -> bool:
        return await self._threads.run(self.path(key).is_file)

    async def size(self, key: str) -> int:
        """In bytes. Raises Missing."""
        try:
            return (await self._threads.run(self.path(key).stat)).st_size
        except FileNotFoundError:
            raise errors.Missing("This file no longer exists.") from None

    async def verify(self, key: str) -> bool:
        """Whether the file exists and its content matches its hash."""
        return await self._threads.run(_verify, self.path(key))

    async def remove(self, key: str, *, idle: float = 0.0) -> bool:
        """Remove the file; False when it did not exist, or was stored less than `idle` seconds ago.

        The caller ensures that the key is no longer used. If another request might be storing the same content and not
        have recorded its key yet (when removing orphans), `idle` must be longer than that takes.
        """
        return await self._threads.run(self._remove, self.path(key), idle)

    async def keys(self) -> AsyncIterator[str]:
        """Every stored key, sorted, with one outer folder in memory at a time. Other files are ignored."""
        for outer in await self._threads.run(_names, self._media):
            for key in await self._threads.run(self._keys_in, outer):
                yield key

    async def usage(self) -> StorageUsage:
        """Stats every stored file, about 10 ms per thousand: too slow for every request."""
        return await self._threads.run(self._usage)

    @contextlib.asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """A new private working folder, always removed afterwards. Raises DiskFull."""
        path = self._temporary / secrets.token_hex(16)
        try:
            await self._threads.run(_create_folder, path)
            crash_point("temp_folder.created")
            yield path
        finally:
            crash_point("temp_folder.released")
            await self._threads.finish(shutil.rmtree, path, ignore_errors=True)
            crash_point("temp_folder.removed")

    async def clear_temporary(self) -> None:
        """Remove what a killed process left behind. Call at startup only: it also removes folders in use."""
        crash_point("temp_folders.cleanup_started")
        await self._threads.finish(_clear, self._temporary)
        crash_point("temp_folders.cleaned_up")

    async def write_upload(self, chunks: AsyncIterator[bytes], to: Path, max_bytes: int) -> int:
        """Write a stream to the new file `to` and return its size in bytes. Raises TooLarge as soon as the limit is exceeded,
        and DiskFull. On any failure, `to` is removed."""
        sink = _Sink(to)
        try:
            await self._threads.run(sink.open)
            return await self._write_chunks(chunks, sink, max_bytes)
        except BaseException:
            await self._threads.finish(sink.discard)
            raise
        finally:
            await self._threads.finish(sink.close)

    def close(self) -> None:
        self._threads.close()

    async def _write_chunks(self, chunks: AsyncIterator[bytes], sink: "_Sink", max_bytes: int) -> int:
        total = 0
        buffer = bytearray()  # network chunks are small; a thread call for each would cost more than writing it
        async for chunk in chunks:
            total += len(chunk)
            if total > max_bytes:
                raise errors.TooLarge(f"The file must be at most {format_size(max_bytes)}.")
            buffer += chunk
            if len(buffer) >= _MIB:
                await self._threads.run(sink.write, bytes(buffer))
                buffer.clear()
        await self._threads.run(sink.write, bytes(buffer))
        return total

    def _store(self, path: Path, suffix: str) -> Stored:
        with map_disk_full():
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                crash_point("file.hashed", sha256)
                size = os.fstat(file.fileno()).st_size
                os.fchmod(file.fileno(), 0o600)
                os.utime(file.fileno())  # `remove` uses it as the time of storing
                os.fsync(file.fileno())
            key = f"{sha256[:2]}/{sha256[2:4]}/{sha256}{suffix}"
            target = self._media / key
            inner, outer = target.parent, target.parent.parent
            inner.mkdir(mode=0o700, parents=True, exist_ok=True)
            crash_point("file.synced", key)
            with self._names:
                path.replace(target)
            crash_point("file.renamed", key)
            # Sync all three even if they existed: another thread may have created them and not synced them yet.
            for folder in (inner, outer, self._media):
                fsync_path(folder)
                crash_point("folder.synced", key)
        return Stored(key, size, sha256)

    def _remove(self, path: Path, idle: float) -> bool:
        crash_point("file.removal_started", path.name)
        # Empty folders are kept: there are at most 65,536, and removing one could race with a store.
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

    def _usage(self) -> StorageUsage:
        stored = 0
        for outer in _names(self._media):
            for key in self._keys_in(outer):
                with contextlib.suppress(FileNotFoundError):
                    stored += (self._media / key).stat().st_size
        return StorageUsage(stored, shutil.disk_usage(self._media).free)


def _create_folder(folder: Path) -> None:
    with map_disk_full():
        folder.mkdir(mode=0o700)


class _Sink:
    """A new private file being written. It tracks its state, so that a cancelled caller can clean up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def open(self) -> None:
        with map_disk_full():
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        """Write all of `data`. On a nearly full disk, `os.write` may write only a part without an error."""
        remaining = memoryview(data)
        with map_disk_full():
            while remaining:
                remaining = remaining[os.write(self._descriptor, remaining) :]

    def discard(self) -> None:
        if self._descriptor >= 0:  # otherwise an existing file belongs to someone else
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _verify(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == path.stem
    except FileNotFoundError:
        return False


def _names(folder: Path) -> list[str]:
    """The sorted names in `folder`; empty when it does not exist or is not a folder."""
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
