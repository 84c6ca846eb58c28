"""Callers who hang up before their answer is there."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request
from litestar.datastructures import State

from app.base.errors import Upstream

T = TypeVar("T")


async def cancel_on_disconnect(request: Request[Any, Any, State], answer: Coroutine[Any, Any, T]) -> T:
    """The answer; cancelled when the caller hangs up first. The body must have been read."""
    answering = asyncio.create_task(answer)
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise Upstream("The caller hung up.")
    finally:
        answering.cancel()
        leaving.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _gone(request: Request[Any, Any, State]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
