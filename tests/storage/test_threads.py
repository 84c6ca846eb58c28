"""Threads that give way leave the processor to whoever else wants it, and only they do."""

import os
import sys
import threading

import pytest

from app.storage.threads import NICE, Threads


def _priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="a priority for each thread is Linux's own")
async def test_only_threads_that_give_way_give_way() -> None:
    before = _priority()
    polite, plain = Threads(1, "polite", giving_way=True), Threads(1, "plain")
    try:
        assert await polite.run(_priority) == max(before, NICE)
        assert await plain.run(_priority) == before
        assert _priority() == before
    finally:
        polite.close()
        plain.close()
