"""Secrets: made, kept and compared in one place. A token is only ever stored as its hash."""

import contextlib
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path


class Ids:
    """Makes ids that sort by the time they were made, also among those of one millisecond, and when the clock is set back
    (UUIDv7, RFC 9562, method 1). `time_ns` shows nanoseconds since 1970."""

    def __init__(self, time_ns: Callable[[], int] = time.time_ns) -> None:
        self._time_ns = time_ns
        self._turn = threading.Lock()
        self._last = 0  # milliseconds and sequence of the newest id

    def new(self) -> str:
        with self._turn:
            self._last = max(self._last + 1, (self._time_ns() // 1_000_000) << 12)
            stamp, sequence = divmod(self._last, 1 << 12)
        chance = int.from_bytes(os.urandom(8)) >> 2
        return f"{(stamp << 80) | (7 << 76) | (sequence << 64) | (2 << 62) | chance:032x}"


_ids = Ids()


def uuid7() -> str:
    """An opaque id that sorts by the time it was made; see `Ids`."""
    return _ids.new()


def new_token(prefix: str = "") -> str:
    """256 bits of randomness in URL-safe text."""
    return prefix + secrets.token_urlsafe(32)


def sha256_hex(token: str) -> str:
    """SHA-256 in hex. Enough for random tokens, which cannot be guessed; passwords go through argon2."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def derive_key(secret: str, purpose: str) -> str:
    """A secret of its own for one purpose, so that what signs forms cannot sign tokens."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def load_or_create(path: Path) -> str:
    """The secret in the file at `path`, made at first use, readable by its owner only."""
    with contextlib.suppress(FileNotFoundError):
        text = path.read_text("ascii").strip()
        if len(text) >= 32:
            return text
        raise ValueError(f"the secret in {path.name} is damaged: restore it, or delete it to sign everybody out")
    text = secrets.token_urlsafe(48)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return text
