"""The data folder: the one place that Atelier writes to, locked by one process at a time.

The lock is `flock` on a separate file, because closing any descriptor of DuckDB's file would release DuckDB's own lock.
"""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path


class DataDirError(Exception):
    """Why the data folder cannot be used, in one line."""


class DataDir:
    """Paths inside the data folder, and the lock on it."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.database = self.root / "atelier.duckdb"
        self.quarantine = self.root / "atelier.duckdb.quarantine"  # see `db.duckdb.append_log`
        self.media = self.root / "media"
        self.temporary = self.root / "tmp"
        self.simulator = self.root / "simulator"
        self.secret = self.root / "secret.key"
        self.socket = self.root / "control.sock"
        self.manifest = self.root / "manifest.json"  # of a backup; present only between a restore and the next start
        self._lock: int | None = None

    def create(self) -> None:
        try:
            for path in (self.root, self.media, self.temporary):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise DataDirError(
                f"the data folder {self.root} cannot be created ({exc.strerror}): set ATELIER_DATA_DIR to a writable folder"
            ) from None

    def lock(self) -> None:
        """Take the lock, or raise DataDirError when another process has it."""
        try:
            lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise DataDirError(f"the data folder {self.root} cannot be written ({exc.strerror})") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise DataDirError(
                f"another Atelier (process {holder}) is using the data folder {self.root}: stop it, or set ATELIER_DATA_DIR to another folder"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def secret_key(self) -> str:
        """The secret from which signing keys are derived, created at first use and readable by its owner only. Raises DataDirError
        when the file is damaged."""
        with contextlib.suppress(FileNotFoundError):
            text = self.secret.read_text("ascii").strip()
            if len(text) >= 32:
                return text
            raise DataDirError(
                f"the secret in {self.secret.name} is damaged: restore it, or delete it, which signs all users out"
            )
        text = secrets.token_urlsafe(48)
        with open(os.open(self.secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return text

    @property
    def restored(self) -> bool:
        """Whether the database was restored from a backup and the server has not started since."""
        return self.manifest.exists()

    def forget_restore(self) -> None:
        """Record that the recovery steps for a restored database are done."""
        self.manifest.unlink(missing_ok=True)

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def fsync_path(path: Path) -> None:
    """Make the content of a file durable, or the names of the files in a folder. Blocks."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
