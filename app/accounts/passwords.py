"""Passwords: hashed with argon2id, in two threads of their own so that nothing else waits for them."""

import asyncio
import secrets
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

import argon2

P = ParamSpec("P")
T = TypeVar("T")

SHORTEST: Final = 8
LONGEST: Final = 128  # characters; longer ones are refused before they cost anything
THREADS: Final = 2


class Passwords:
    """The settings use OWASP's second row (19 MiB, two passes): about 20 ms for each hash."""

    def __init__(self, *, memory_kib: int, passes: int) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._threads = ThreadPoolExecutor(THREADS, "password")
        self.dummy_hash = _dummy_hash(memory_kib, passes)  # compared with when there is no other

    async def hash(self, password: str) -> str:
        return await self._run(self._hasher.hash, _plain(password))

    async def verify(self, known: str | None, password: str) -> bool:
        """Whether this is the password. It costs the same when there is none to compare with, or this one cannot be one."""
        if known is None or len(password) > LONGEST:
            await self._run(self.matches, self.dummy_hash, "")
            return False
        return await self._run(self.matches, known, _plain(password))

    def outdated(self, known: str) -> bool:
        """Whether it was hashed with other parameters than are used today."""
        return self._hasher.check_needs_rehash(known)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def matches(self, known: str, password: str) -> bool:
        """The comparison itself, in the thread that calls it: the event loop uses `verify`."""
        try:
            return self._hasher.verify(known, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


def _dummy_hash(memory_kib: int, passes: int) -> str:
    """What looks like somebody's and takes as long to compare, but was never made of a password."""
    salt, digest = (b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${digest}"


def _plain(password: str) -> str:
    """The same letters however a keyboard composes them (RFC 8265)."""
    return unicodedata.normalize("NFC", password)
