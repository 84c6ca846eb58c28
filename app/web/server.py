"""The server: uvicorn as this program runs it."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvicorn
from litestar.types import ASGIApp

from app.base.config import Settings
from app.web.http_protocol import Protocol

ANSWER_GRACE: Final = 2  # seconds that answers may take at the end


def configured(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How the program is served: who is believed about addresses, and how long answers may take at the end."""
    return uvicorn.Config(
        app,
        http=Protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=ANSWER_GRACE,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
    )


class Server(uvicorn.Server):
    """uvicorn that leaves signals to whoever runs it, so that several can run in one loop. It waits for answers that are
    being sent; `before_stop` is called first, to end those that would go on for long."""

    def __init__(self, config: uvicorn.Config, before_stop: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__(config)
        self._before_stop = before_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._before_stop is not None:
            await self._before_stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def serving(server: uvicorn.Server, task: asyncio.Task[None]) -> bool:
    """Wait until the server takes requests; False when it ended instead."""
    while not server.started and not task.done():  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0.005)
    return server.started


def listening(host: str, port: int) -> socket.socket:
    """A bound socket; OSError when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio sends small answers at once; without it each would wait 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
