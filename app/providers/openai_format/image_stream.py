"""Reads a streamed image response. Previews are passed on as they arrive; the rest is put together to the response that the
same request has without streaming, so that both have the same outcomes."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from app.providers import lenient_json
from app.providers.coerce import integer, mapping, text
from app.providers.contract import Preview
from app.providers.errors import Ambiguous, Broken, TooBig
from app.providers.event_stream import Events
from app.providers.openai_format.error_responses import error_of
from app.providers.responses import JsonResponse

_MAX_INDEX = 1000  # of a preview; previews with another index are counted here
_INLINE = 64 * 1024  # characters of one event that are parsed on the event loop; larger events are parsed in a thread


class ImageStream:
    """One streamed response. `max_bytes` limits its images together, as base64; previews do not count."""

    def __init__(self, events: Events, on_preview: Callable[[Preview], None], max_bytes: int) -> None:
        self._events = events
        self._on_preview = on_preview
        self._max_bytes = max_bytes
        self._previews = 0
        self._images: list[dict[str, Any]] = []
        self._size = 0
        self._text = ""
        self._usage: Any = None
        self._error: dict[str, Any] = {}
        self._understood = False  # whether any event was

    async def read(self) -> JsonResponse:
        """The whole response. Raises ClientError if it ends early without an image: what arrived is paid for and is kept."""
        try:
            await self._read_events()
        except Ambiguous:
            if not self._images:
                raise
        if not (self._images or self._error or self._events.done):
            raise Broken("the stream ended without an image")
        return JsonResponse(status=200, headers=self._events.headers, body=self._body() if self._understood else None)

    async def _read_events(self) -> None:
        async with aclosing(self._events.payloads()) as batches:
            async for payloads in batches:
                for payload in payloads:
                    self._apply(await _decoded(payload))
                    if self._error:
                        return

    def _apply(self, event: dict[str, Any]) -> None:
        kind = text(event.get("type")).rpartition(".")[2]
        self._error = error_of(event) or (event if kind == "error" else {})
        self._understood = self._understood or bool(self._error) or kind in ("partial_image", "text_chunk", "completed")
        self._usage = event.get("usage") or self._usage
        if kind == "partial_image":
            self._pass_on(event)
        elif kind == "completed":
            self._add(event)
        elif kind == "text_chunk" and event.get("phase") in (None, "content"):
            self._text += text(event.get("text"))

    def _pass_on(self, event: dict[str, Any]) -> None:
        index = integer(event.get("partial_image_index"))
        if index is None or not 0 <= index < _MAX_INDEX:
            index = self._previews
        if image := text(event.get("b64_json")):
            self._on_preview(Preview(index, image))
            self._previews += 1

    def _add(self, event: dict[str, Any]) -> None:
        self._size += len(text(event.get("b64_json")))
        if self._size > self._max_bytes:
            raise TooBig(f"the streamed images are larger than {self._max_bytes} bytes")
        self._images.append({name: event.get(name) for name in ("b64_json", "url", "media_type")})

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"data": self._images, "usage": self._usage}
        if self._text:
            body["choices"] = [{"message": {"content": self._text}}]
        return body if self._images else {**body, "error": self._error}


async def _decoded(payload: str) -> dict[str, Any]:
    """The event; empty if it is not a JSON object."""
    try:
        decode = lenient_json.decode
        return mapping(await asyncio.to_thread(decode, payload) if len(payload) > _INLINE else decode(payload))
    except ValueError:
        return {}
