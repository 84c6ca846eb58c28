"""Cancels work for a client that disconnects before its response is ready."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request
from litestar.datastructures import State

from app.base.errors import Upstream

T = TypeVar("T")


async def cancel_on_disconnect(request: Request[Any, Any, State], work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, and cancel it when the client disconnects first. The request body must already have been read."""
    running = asyncio.create_task(work)
    disconnected = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait({running, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        raise Upstream("The client disconnected.")
    finally:
        running.cancel()
        disconnected.cancel()
        await asyncio.gather(running, disconnected, return_exceptions=True)


async def _wait_for_disconnect(request: Request[Any, Any, State]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
