"""Work that blocks, in a few threads of its own, so that it neither stops the loop nor starves anybody else's threads.

A call that has begun cannot be stopped, so it is always waited for, also when its caller is cancelled: the folder it
writes into may only be removed once it has ended.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most `count` calls run at once; the threads start when they are first needed."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

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
