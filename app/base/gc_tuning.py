"""Schedules Python's cyclic garbage collection, which stops all threads while it runs.

Collections of young objects are short and run as usual. A full collection takes 0.1 s and more while hundreds of streams are
open, which is when Python would start it; so it runs when the server is idle instead.
"""

import asyncio
import gc
from typing import Final

YOUNG_THRESHOLDS: Final = (1_000, 6)  # of generations 0 and 1
FULL_THRESHOLD: Final = 2_000  # of generation 2, in case the server is never idle
IDLE_TASKS: Final = 18  # asyncio tasks: one per request, stream and running job, and a dozen that always exist


def disable() -> None:
    """During startup: nearly every object created then stays, so collections would find little."""
    gc.disable()


def freeze() -> None:
    """After startup: exclude all current objects from later collections."""
    gc.freeze()
    gc.set_threshold(*YOUNG_THRESHOLDS, FULL_THRESHOLD)
    gc.enable()


def restore() -> None:
    """At shutdown: undo `disable` and `freeze`."""
    gc.unfreeze()
    gc.set_threshold(*_DEFAULT)


async def collect() -> None:
    """Run a full collection if the server is idle."""
    if len(asyncio.all_tasks()) <= IDLE_TASKS:
        gc.collect()


_DEFAULT: Final = gc.get_threshold()
