"""Keeps Python's cyclic garbage collection short, because it stops all threads while it runs.

How long a full collection takes depends on how many objects there are, and most of them are created during startup and stay:
they are excluded. What remains is collected by Python's own rules, but in full more rarely: with hundreds of streams open there
are many objects for a short time, and that is when Python would start it.
"""

import gc
from typing import Final

FULL_THRESHOLD: Final = 100  # collections of generation 1 between two full ones; Python's own is 10


def disable() -> None:
    """During startup: nearly every object created then stays, so collections would find little."""
    gc.disable()


def freeze() -> None:
    """After startup: exclude all current objects from later collections."""
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], FULL_THRESHOLD)
    gc.enable()


def restore() -> None:
    """Before the process ends: include all objects again, or DuckDB's binding reports those that are never freed as leaks."""
    gc.unfreeze()
