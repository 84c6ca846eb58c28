"""Work that blocks, in a few threads of its own, so that it neither stops the loop nor starves anybody else's threads.

A call that has begun cannot be stopped, so it is always waited for, also when its caller is cancelled: the folder it
writes into may only be removed once it has ended.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

NICE: Final = 10  # as in the command of that name

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most `count` calls run at once; the threads start when they are first needed. With `giving_way` they leave the
    processor to whoever else wants it: on a small machine two thumbnails would else hold up every answer."""

    def __init__(self, count: int, name: str, *, giving_way: bool = False) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_give_way if giving_way else None)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work`. A caller cancelled while it still waits in line takes it back; once begun, it is waited for."""
        job = self._pool.submit(work, *args, **kwargs)
        try:
            return await asyncio.shield(asyncio.wrap_future(job))
        except asyncio.CancelledError:
            if not job.cancel():
                await _end(job)
            raise

    async def finish(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` in every case, also for a caller that is being cancelled: for tidying up."""
        job = self._pool.submit(work, *args, **kwargs)
        try:
            return await asyncio.shield(asyncio.wrap_future(job))
        except asyncio.CancelledError:
            await _end(job)
            raise

    def close(self) -> None:
        """Take no more work, drop what waits in line, and wait for what has begun. Blocks."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _give_way() -> None:
    """Linux alone has a priority for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


async def _end(job: Future[T]) -> None:
    """Wait until `job` has ended, however often the waiting itself is cancelled: the caller raises that anyway."""
    ended = asyncio.wrap_future(job)
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            continue
    if not ended.cancelled():
        ended.exception()  # asked for, so that asyncio does not log it as forgotten
