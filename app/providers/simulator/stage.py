"""What every persona stands on: one memory, one sense of time, and threads for everything that would block the loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from app.providers.simulator.state import Memory

P = ParamSpec("P")
T = TypeVar("T")

SLOWLY = 5.0
BREATH = 0.5


class Clock:
    """The time that jobs, delays and pauses go by. A test may pass a clock that it moves itself."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Stage:
    """One running simulator. Made by `app.build`, opened and closed by the program's lifespan."""

    def __init__(self, folder: Path, speed: float, key: str | None, clock: Clock | None = None) -> None:
        self.memory = Memory(folder)
        self.speed = speed
        self.key = key
        self.clock = clock or Clock()
        # Two draw at a time, however many ask: the rest waits without costing memory or the other cores.
        self._drawing = ThreadPoolExecutor(2, thread_name_prefix="simulator-draw")
        self._disk = ThreadPoolExecutor(4, thread_name_prefix="simulator-disk")
        self._making: dict[str, asyncio.Task[Any]] = {}
        self._answering: set[asyncio.Task[Any]] = set()
        self._following: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def open(self, _app: object = None) -> AsyncIterator[None]:
        """The lifespan: memory read back before the first request, no thread left behind after the last."""
        await self.disk(self.memory.open)
        try:
            yield
        finally:
            self.hang_up()
            for task in self._following:
                task.cancel()
            await asyncio.gather(*self._following, return_exceptions=True)
            for threads in (self._drawing, self._disk):
                await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around one request, so that `hang_up` finds it."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (only tasks answer requests)
        self._answering.add(task)
        try:
            yield
        finally:
            self._answering.discard(task)

    def hang_up(self) -> None:
        """Give up every request that is still being answered; some are made to last for ever."""
        for task in self._answering:
            task.cancel()

    def follow_up(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something after the answer, which does not wait for it."""
        task = asyncio.create_task(work)
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what touches files in a thread."""
        return await _threaded(self._disk, work, *args, **kwargs)

    async def draw(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what costs processor time in a thread."""
        return await _threaded(self._drawing, work, *args, **kwargs)

    async def draw_once(self, name: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `draw`, but whoever asks for the same name meanwhile waits for the one result."""
        task: asyncio.Task[T] | None = self._making.get(name)
        if task is None:
            task = self._making[name] = asyncio.create_task(self.draw(work, *args, **kwargs))
            task.add_done_callback(lambda _: self._making.pop(name, None))
        return await asyncio.shield(task)

    def delay(self, seconds: float, faults: frozenset[str] = frozenset()) -> float:
        """How long something takes here that takes `seconds` at the usual speed."""
        return seconds * self.speed * (SLOWLY if "slow" in faults else 1.0)

    async def take(self, seconds: float, faults: frozenset[str] = frozenset()) -> None:
        """Let the time pass that the real service would need."""
        if (wait := self.delay(seconds, faults)) > 0:
            await self.clock.sleep(wait)

    async def until(self, moment: float) -> None:
        """Wait for that moment, in Unix seconds."""
        await self.clock.sleep(max(0.0, moment - self.clock.now()))

    async def breathe(self) -> None:
        """The pause between two signs of life of something that does not end."""
        await self.clock.sleep(BREATH)


async def _threaded(threads: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, lambda: work(*args, **kwargs))
