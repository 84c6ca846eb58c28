"""The thread pool: queued calls can be cancelled, running calls are waited for, and low-priority threads run at a low priority."""

import asyncio
import os
import sys
import threading

import pytest

from app.storage.threads import NICE, Threads

SECONDS = 300.0  # only a broken product takes this long


def _priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
async def test_only_low_priority_threads_run_at_a_low_priority() -> None:
    before = _priority()
    low, plain = Threads(1, "low", low_priority=True), Threads(1, "plain")
    try:
        assert await low.run(_priority) == max(before, NICE)
        assert await plain.run(_priority) == before
        assert _priority() == before
    finally:
        low.close()
        plain.close()


async def test_queued_work_is_cancelled_when_its_caller_is_cancelled() -> None:
    threads = Threads(1, "one")
    proceed, done = threading.Event(), list[int]()
    busy = asyncio.create_task(threads.run(proceed.wait, SECONDS))
    queued = asyncio.create_task(threads.run(done.append, 1))
    await asyncio.sleep(0)  # both are handed in now
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    proceed.set()
    assert await busy
    await threads.run(done.append, 2)
    assert done == [2]
    threads.close()


async def test_running_work_is_waited_for_when_its_caller_is_cancelled() -> None:
    threads = Threads(1, "one")
    begun, proceed, done = threading.Event(), threading.Event(), list[int]()

    def work() -> None:
        begun.set()
        assert proceed.wait(SECONDS)
        done.append(1)

    task = asyncio.create_task(threads.run(work))
    assert await asyncio.to_thread(begun.wait, SECONDS)
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]
    threads.close()
