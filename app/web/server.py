"""Configures and runs uvicorn."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvicorn
from litestar.types import ASGIApp

from app.base.config import Settings
from app.base.errors import AtelierError
from app.web.http_protocol import Protocol

CLOCK_SECONDS: Final = 1.0  # between two updates of the Date header
SHUTDOWN_TIMEOUT: Final = 2  # seconds that open responses get to finish at shutdown


def configured(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """The uvicorn configuration: trusted proxies and the shutdown timeout come from here."""
    logging.getLogger("uvicorn.error").addFilter(_is_unexpected)
    return uvicorn.Config(
        app,
        http=Protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
    )


def _is_unexpected(record: logging.LogRecord) -> bool:
    """False for an expected error in the middle of a response: it breaks the response off, and was logged where it happened."""
    exc = record.exc_info[1] if record.exc_info else None
    while exc is not None and not isinstance(exc, AtelierError):
        exc = exc.exceptions[0] if isinstance(exc, BaseExceptionGroup) else exc.__cause__
    return exc is None


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signal handling to the caller, so that several can run in one event loop. It wakes up only to
    update the Date header, where uvicorn's own looks ten times a second whether to exit. Shutdown waits for open responses;
    `before_stop` runs first and ends the long ones."""

    def __init__(self, config: uvicorn.Config, before_stop: Callable[[], Awaitable[None]] | None = None) -> None:
        self._exit = asyncio.Event()
        super().__init__(config)
        self._before_stop = before_stop

    @property
    def should_exit(self) -> bool:
        """Set it to stop the server, in the event loop's thread."""
        return self._exit.is_set()

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        if value:
            self._exit.set()
        else:
            self._exit.clear()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOCK_SECONDS if self.config.date_header else None):
                    await self._exit.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._before_stop is not None:
            await self._before_stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def serving(server: uvicorn.Server, task: asyncio.Task[None]) -> bool:
    """Wait until the server accepts requests; False when it exited instead."""
    while not server.started and not task.done():  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0.005)
    return server.started


def listening(host: str, port: int) -> socket.socket:
    """A bound socket. Raises OSError when the address is in use or not available."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only when the protocol is given; without it small responses can be delayed by 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
