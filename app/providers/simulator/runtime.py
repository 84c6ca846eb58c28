"""What every simulated service shares: the job store, the clock, and threads for work that would block the event loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from app.providers.simulator.state import JobStore

P = ParamSpec("P")
T = TypeVar("T")

SLOW_FACTOR = 5.0
HEARTBEAT_SECONDS = 0.5


class SimulatorClock:
    """The time source of jobs and delays. Tests may pass a clock that they control."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Runtime:
    """One running simulator. Created by `app.build`, opened and closed by the application's lifespan."""

    def __init__(self, folder: Path, speed: float, key: str | None, clock: SimulatorClock | None = None) -> None:
        self.store = JobStore(folder)
        self.speed = speed
        self.key = key
        self.clock = clock or SimulatorClock()
        # At most two renders at a time: the others wait without using memory or the remaining cores.
        self._cpu_threads = ThreadPoolExecutor(2, thread_name_prefix="simulator-render")
        self._io_threads = ThreadPoolExecutor(4, thread_name_prefix="simulator-io")
        self._renders: dict[str, asyncio.Task[Any]] = {}
        self._requests: set[asyncio.Task[Any]] = set()
        self._background: set[asyncio.Task[Any]] = set()
        self.closed = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The lifespan: the store is loaded before the first request, and all threads are stopped after the last one."""
        await self.run_io(self.store.open)
        try:
            yield
        finally:
            self.abort_requests()
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)
            for threads in (self._cpu_threads, self._io_threads):
                await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)
            self.closed = True

    @contextmanager
    def tracked_request(self) -> Iterator[None]:
        """Registers the current request for `abort_requests`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (requests are always handled in tasks)
        self._requests.add(task)
        try:
            yield
        finally:
            self._requests.discard(task)

    def abort_requests(self) -> None:
        """Cancel all requests in progress; some faults never end by themselves."""
        for task in self._requests:
            task.cancel()

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task that the response does not wait for."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def run_io(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run file access in a thread."""
        return await _run_in(self._io_threads, work, *args, **kwargs)

    async def render(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run CPU-bound work in a thread."""
        return await _run_in(self._cpu_threads, work, *args, **kwargs)

    async def render_once(self, name: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `render`, but concurrent calls with the same name share one result."""
        task: asyncio.Task[T] | None = self._renders.get(name)
        if task is None:
            task = self._renders[name] = asyncio.create_task(self.render(work, *args, **kwargs))
            task.add_done_callback(lambda _: self._renders.pop(name, None))
        return await asyncio.shield(task)

    def scaled(self, seconds: float, faults: frozenset[str] = frozenset()) -> float:
        """The duration at this simulator's speed of something that takes `seconds` at normal speed."""
        return seconds * self.speed * (SLOW_FACTOR if "slow" in faults else 1.0)

    async def sleep(self, seconds: float, faults: frozenset[str] = frozenset()) -> None:
        """Wait as long as the real service would take."""
        if (wait := self.scaled(seconds, faults)) > 0:
            await self.clock.sleep(wait)

    async def sleep_until(self, timestamp: float) -> None:
        """Wait until this Unix time."""
        await self.clock.sleep(max(0.0, timestamp - self.clock.now()))

    async def heartbeat(self) -> None:
        """The pause between two keep-alive comments of a response that never ends."""
        await self.clock.sleep(HEARTBEAT_SECONDS)


async def _run_in(threads: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, lambda: work(*args, **kwargs))
