"""A dedicated thread pool for blocking calls, so that they block neither the event loop nor other users of threads.

A running call cannot be stopped, so it is always waited for, even if its caller is cancelled: the folder it writes to may
only be removed after it has ended.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

NICE: Final = 10  # niceness, as for nice(1)

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs at most `count` calls at once; threads start on demand. With `low_priority`, they yield the CPU to other threads:
    on a small machine, two thumbnails would otherwise delay every response."""

    def __init__(self, count: int, name: str, *, low_priority: bool = False) -> None:
        self._pool = ThreadPoolExecutor(
            count, thread_name_prefix=name, initializer=_lower_priority if low_priority else None
        )

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work`. If the caller is cancelled, a queued call is dropped and a running one is waited for."""
        job = self._pool.submit(work, *args, **kwargs)
        try:
            return await asyncio.shield(asyncio.wrap_future(job))
        except asyncio.CancelledError:
            if not job.cancel():
                await _wait_until_done(job)
            raise

    async def finish(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` even if the caller is cancelled: for cleanup."""
        job = self._pool.submit(work, *args, **kwargs)
        try:
            return await asyncio.shield(asyncio.wrap_future(job))
        except asyncio.CancelledError:
            await _wait_until_done(job)
            raise

    def close(self) -> None:
        """Accept no more calls, drop queued ones, and wait for running ones. Blocking."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _lower_priority() -> None:
    """Only Linux has a priority per thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


async def _wait_until_done(job: Future[T]) -> None:
    """Wait until `job` has ended, even if cancelled meanwhile; the caller raises CancelledError anyway."""
    ended = asyncio.wrap_future(job)
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            continue
    if not ended.cancelled():
        ended.exception()  # retrieved, so that asyncio does not log it as never retrieved
