"""Server-sent events of the API: `data:` lines of JSON, errors included, and `[DONE]` at the end."""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from litestar.response import Stream

from app.base.errors import AtelierError
from app.web.errors import Envelope, to_response

DONE: Final = b"data: [DONE]\n\n"
KEEP_ALIVE: Final = b": keep-alive\n\n"


def data(value: Any, *, event: str | None = None) -> bytes:
    """One event, of this type if it has one."""
    kind = f"event: {event}\n".encode() if event else b""
    return kind + b"data: " + msgspec.json.encode(value) + b"\n\n"


def stream(events: AsyncIterator[Any]) -> Stream:
    """Each value as an event, then `[DONE]`. An AtelierError becomes an error envelope as the last event."""
    return Stream(
        _encoded(events),
        status_code=200,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _encoded(events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            yield data(event)
    except AtelierError as exc:
        yield data(Envelope(to_response(exc).problem))
    yield DONE
