"""When Python looks for objects that hold each other and nobody else: such a look stops everything for as long as it takes.

Young objects are looked through as ever, in moments. To look through all of them takes a tenth of a second and more while
hundreds of streams are open, and by itself Python does it just then; so it is put off to a quiet moment.
"""

import asyncio
import gc
from typing import Final

YOUNG: Final = (1_000, 6)  # new objects, and such looks, before the next larger one
SELDOM: Final = 2_000  # of the larger ones, should there be no quiet moment
QUIET: Final = 18  # tasks; each request, each stream and each job under way is one, and a dozen are there always


def disable() -> None:
    """At the start: nearly all that is made now stays, and looking for the rest again and again would take longer."""
    gc.disable()


def freeze() -> None:
    """After the start: what is there now stays, and is never looked at again."""
    gc.freeze()
    gc.set_threshold(*YOUNG, SELDOM)
    gc.enable()


def restore() -> None:
    gc.unfreeze()
    gc.set_threshold(*_DEFAULT)


async def collect() -> None:
    """Look through all objects, unless much is going on."""
    if len(asyncio.all_tasks()) <= QUIET:
        gc.collect()


_DEFAULT: Final = gc.get_threshold()
