"""Writes a response to a file. A download that fails or is cancelled leaves no file.

The file is not synced: it is a temporary one, and `storage` syncs what it takes over.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import ParamSpec

import msgspec

from app.base.config import MB
from app.providers.responses import Response

_CHUNK = MB  # size of disk writes

P = ParamSpec("P")


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """With status 200, `bytes` is the size of the file written; otherwise `text` is the beginning of the response."""

    status: int
    headers: dict[str, str]
    mime: str = ""
    bytes: int = 0
    text: str = ""


async def save(response: Response, to: Path, max_bytes: int) -> Download:
    """Write the body to the file `to`, unless the status is not 200. Raises OSError when the file cannot be written."""
    if response.status != 200:
        return Download(status=response.status, headers=response.headers, text=await response.read_start())
    size = 0
    try:
        await _in_thread(to.write_bytes, b"")
        buffer = bytearray()  # a thread for each network chunk would cost more than writing it
        async with aclosing(response.limited_chunks(max_bytes)) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                buffer += chunk
                if len(buffer) >= _CHUNK:
                    await _in_thread(_append, to, bytes(buffer))
                    buffer.clear()
        await _in_thread(_append, to, bytes(buffer))
    except BaseException:
        await _in_thread(to.unlink, missing_ok=True)
        raise
    return Download(status=200, headers=response.headers, mime=response.mime, bytes=size)


def _append(to: Path, data: bytes) -> None:
    """The file is not kept open between writes, so that a caller who is cancelled at any time has nothing to close."""
    with to.open("ab") as file:
        file.write(data)


async def _in_thread(function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run in a thread and wait for it even when cancelled: a file must not be removed while the thread is writing it."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it as never retrieved
        raise
