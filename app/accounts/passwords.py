"""Password hashing with argon2id, on two dedicated threads so that it does not block other work.

A password in plain text comes here from the route and its service, and goes no further: everything else gets its hash.
"""

import asyncio
import secrets
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple

import argon2

from app.accounts.validation import wrong

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MIN_LENGTH: Final = 8
MAX_LENGTH: Final = 128  # characters; longer passwords are rejected before they are hashed
THREADS: Final = 2


class Passwords:
    """The default settings follow OWASP (19 MiB, two passes): about 20 ms for each hash."""

    def __init__(self, *, memory_kib: int, passes: int) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._threads = ThreadPoolExecutor(THREADS, "password")
        self.dummy_hash = _dummy_hash(memory_kib, passes)  # verified against when there is no user

    def check_length(self, password: str) -> None:
        """Invalid if a user cannot choose this password."""
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise wrong("password", f"must be {MIN_LENGTH} to {MAX_LENGTH} characters")

    async def hash(self, password: str) -> str:
        return await self._run(self._hasher.hash, _normalise(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password matches. It takes the same time when there is no hash, or the password is too long."""
        if password_hash is None or len(password) > MAX_LENGTH:
            await self._run(self.matches, self.dummy_hash, "")
            return False
        return await self._run(self.matches, password_hash, _normalise(password))

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than the current ones."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def matches(self, password_hash: str, password: str) -> bool:
        """Compare on the calling thread; from the event loop, use `verify`."""
        try:
            return self._hasher.verify(password_hash, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


def _dummy_hash(memory_kib: int, passes: int) -> str:
    """A well-formed hash that no password matches and that takes as long to verify as a real one."""
    salt, digest = (b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${digest}"


def _normalise(password: str) -> str:
    """Normalise to NFC, so that the same characters match however they were typed (RFC 8265)."""
    return unicodedata.normalize("NFC", password)
