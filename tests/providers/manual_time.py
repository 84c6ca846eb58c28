"""An event loop whose clock a test advances by hand, so that tests of timeouts neither wait nor depend on the machine's
speed.

    @in_manual_time
    async def test_…(tmp_path: Path) -> None:
        async with running() as upstream:
            …
            skip(60)

Such a test runs in its own loop and cannot use async fixtures, which belong to the session's loop.
"""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

SECONDS = 300.0  # of real time; only a broken product takes this long

P = ParamSpec("P")


class ManualTimeLoop(asyncio.SelectorEventLoop):
    """Its time is the system's plus the skipped time."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped


def skip(seconds: float) -> None:
    """Advance the clock after all ready callbacks have run."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ManualTimeLoop), "this test is not in manual time"
    loop.call_soon(_pass, loop, seconds)


def _pass(loop: ManualTimeLoop, seconds: float) -> None:
    loop.skipped += seconds


def in_manual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test in its own loop, whose time it can skip."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=ManualTimeLoop) as runner:
            loop = runner.get_loop()
            task = loop.create_task(test(*args, **kwargs))
            bound = threading.Timer(SECONDS, loop.call_soon_threadsafe, [task.cancel])
            bound.start()
            try:
                loop.run_until_complete(task)
            finally:
                bound.cancel()
                bound.join()

    return run
