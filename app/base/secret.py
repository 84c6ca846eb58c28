"""Ids, tokens and derived keys. A token is only ever stored as its hash."""

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
    """Creates ids that sort by creation time, also within one millisecond and when the clock is set back (UUIDv7, RFC 9562,
    method 1). `time_ns` returns nanoseconds since 1970."""

    def __init__(self, time_ns: Callable[[], int] = time.time_ns) -> None:
        self._time_ns = time_ns
        self._lock = threading.Lock()
        self._last = 0  # milliseconds and sequence of the newest id

    def new(self) -> str:
        with self._lock:
            self._last = max(self._last + 1, (self._time_ns() // 1_000_000) << 12)
            stamp, sequence = divmod(self._last, 1 << 12)
        random_bits = int.from_bytes(os.urandom(8)) >> 2
        return f"{(stamp << 80) | (7 << 76) | (sequence << 64) | (2 << 62) | random_bits:032x}"


_ids = Ids()


def uuid7() -> str:
    """An opaque id that sorts by creation time; see `Ids`."""
    return _ids.new()


def new_token(prefix: str = "") -> str:
    """256 random bits as URL-safe text."""
    return prefix + secrets.token_urlsafe(32)


def sha256_hex(token: str) -> str:
    """SHA-256 in hex. Sufficient for random tokens, which cannot be guessed; passwords use argon2."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def derive_key(secret: str, purpose: str) -> str:
    """A separate key for one purpose, so that a signature of a form is not valid for a token."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def load_or_create(path: Path) -> str:
    """The secret in the file at `path`, created at first use, readable by its owner only."""
    with contextlib.suppress(FileNotFoundError):
        text = path.read_text("ascii").strip()
        if len(text) >= 32:
            return text
        raise ValueError(f"the secret in {path.name} is damaged: restore it, or delete it, which signs all users out")
    text = secrets.token_urlsafe(48)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return text
