"""Parser for the server-sent events that providers stream, as the standard describes them.

No library did this in December 2026: httpx-sse reads httpx responses only (its decoder is private), sseclient-py blocks and
fails on invalid UTF-8, aiohttp-sse-client2 sends a request again by itself. The first two lose the event after a byte order
mark and set no limit to the size of an event; they are about as fast as this one.
"""

import re
from typing import Final, NamedTuple

# Fast path for nearly every chunk: complete events with one data line each.
_PLAIN: Final = re.compile(rb"(?:data: [^\n]+\n\n)+")
_DATA: Final = re.compile(rb"data: ([^\n]+)")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class EventTooLong(Exception):
    """One event is larger than the limit."""


class ServerSentEvent(NamedTuple):
    """`type` is empty unless the event names one."""

    data: str
    type: str = ""


class EventParser:
    """Parses server-sent events from chunks split at any byte. Lines may be very long: an event can contain images."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._scanned = 0  # length of the buffer's start known to have no line end, so that it is not searched again
        self._data: list[bytes] = []
        self._type = b""
        self._size = 0
        self._started = False  # the first line was read
        self._after_cr = False  # a line feed that comes next belongs to the line end before it

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that `chunk` completes. Raises EventTooLong when an event exceeds the limit."""
        chunk = self._with_line_feeds(chunk)
        at_boundary = not self._buffer and not self._data and not self._type
        if at_boundary and len(chunk) <= self._max_bytes and _PLAIN.fullmatch(chunk):
            self._started = True
            return [ServerSentEvent(data.decode("utf-8", "replace")) for data in _DATA.findall(chunk)]
        self._buffer += chunk
        events = []
        start = 0
        while (end := self._buffer.find(b"\n", max(start, self._scanned))) >= 0:
            line = bytes(self._buffer[start:end])
            start = end + 1
            if (event := self._line(line)) is not None:
                events.append(event)
        del self._buffer[:start]
        self._scanned = len(self._buffer)
        if self._size + len(self._buffer) > self._max_bytes:
            raise EventTooLong
        return events

    def end(self) -> list[ServerSentEvent]:
        """The last event, if the empty line after it is missing. The standard drops it; here it may be the answer."""
        events = [self._line(bytes(self._buffer)) if self._buffer else None, self._line(b"")]
        self._buffer.clear()
        return [event for event in events if event is not None]

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """The chunk with every line end as a line feed."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" not in chunk:
            return chunk
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _line(self, line: bytes) -> ServerSentEvent | None:
        """The event that ends with this line."""
        if not self._started:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._started = True
        if not line:
            return self._event()
        name, _, value = line.partition(b":")  # a comment starts with the colon, so its name is empty
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
            if self._size > self._max_bytes:
                raise EventTooLong
        elif name == b"event":
            self._type = value
        return None

    def _event(self) -> ServerSentEvent | None:
        """The event that was read, unless it has neither data nor says that it is an error."""
        data, kind = self._data, self._type
        self._data, self._type, self._size = [], b"", 0
        if not any(data) and kind != b"error":
            return None
        return ServerSentEvent(b"\n".join(data).decode("utf-8", "replace"), kind.decode("utf-8", "replace"))
