"""Starts and stops the built-in simulator, which stands in for a provider while none is configured."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvicorn

from app.base.data_dir import DataDir
from app.providers.registry import ProviderConfig, ProviderKind
from app.web.server import HttpServer, listening, serving

# Commands for the simulator that a prompt may contain: name, kinds of output, explanation.
Directives = Sequence[tuple[str, Sequence[str], str]]


class SimulatorSwitch:
    """The simulator on its own loopback port; the application calls it over HTTP like any provider."""

    def __init__(self, data_dir: DataDir, speed: float) -> None:
        self._data_dir = data_dir
        self._speed = speed
        self._running: ProviderConfig | None = None
        self._stack = contextlib.AsyncExitStack()

    async def switch(self, on: bool) -> ProviderConfig | None:
        """Start or stop it. Returns how to reach it while it runs."""
        if on and self._running is None:
            self._running = await self._stack.enter_async_context(self._serving())
        elif not on:
            await self.stop()
        return self._running

    async def stop(self) -> None:
        self._running = None
        await self._stack.aclose()

    @property
    def directives(self) -> Directives:
        """Empty while it does not run."""
        if self._running is None:
            return ()
        from app.providers.simulator.faults import DIRECTIVES  # late: without the simulator nothing of it is loaded

        return [(f"[{name}]", directive.kinds, directive.sentence) for name, directive in DIRECTIVES.items()]

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[ProviderConfig]:
        from app.providers.simulator.app import build

        key = secrets.token_urlsafe(24)
        listener = listening("127.0.0.1", 0)
        simulator = build(self._data_dir.simulator, self._speed, key)
        config = uvicorn.Config(
            simulator,
            log_config=None,
            access_log=False,
            date_header=False,  # so that it never wakes up unless it is asked
            lifespan="on",
            timeout_graceful_shutdown=1,
        )
        server = HttpServer(config)
        task = asyncio.create_task(server.serve([listener]), name="simulator")
        await serving(server, task)
        try:
            yield ProviderConfig(
                name="openrouter",
                kind=ProviderKind.OPENROUTER,
                base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1",
                key=key,
                simulated=True,
            )
        finally:
            simulator.state.runtime.abort_requests()
            server.should_exit = True
            await task
