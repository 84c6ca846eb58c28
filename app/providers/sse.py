"""Parser for the server-sent events that providers stream."""

import re
from typing import Final

# Fast path for nearly every chunk: complete events with one data line each.
_PLAIN: Final = re.compile(rb"(?:data: [^\r\n]+\n\n)+")
_DATA: Final = re.compile(rb"data: ([^\r\n]+)")


class EventTooLong(Exception):
    """One event is larger than the limit."""


class EventParser:
    """Parses server-sent events from chunks split at any byte. Lines may be very long: an event can contain images."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._scanned = 0  # length of the buffer's start known to have no line end, so that it is not searched again
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[str]:
        """The payloads of the events that `chunk` completes. Raises EventTooLong when an event exceeds the limit."""
        at_boundary = not self._buffer and not self._data
        if at_boundary and len(chunk) <= self._max_bytes and _PLAIN.fullmatch(chunk):
            return [data.decode("utf-8", "replace") for data in _DATA.findall(chunk)]
        self._buffer += chunk
        payloads = []
        start = 0
        while (end := self._buffer.find(b"\n", max(start, self._scanned))) >= 0:
            line = bytes(self._buffer[start:end]).removesuffix(b"\r")
            start = end + 1
            if line:
                self._field(line)
            elif (payload := self._event()) is not None:
                payloads.append(payload)
        del self._buffer[:start]
        self._scanned = len(self._buffer)
        if self._size + len(self._buffer) > self._max_bytes:
            raise EventTooLong
        return payloads

    def end(self) -> list[str]:
        """The payload of a last event that is not terminated by an empty line."""
        if self._buffer:
            self._field(bytes(self._buffer).removesuffix(b"\r"))
        payload = self._event()
        return [] if payload is None else [payload]

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")  # a comment starts with the colon, so its name is empty
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
            if self._size > self._max_bytes:
                raise EventTooLong

    def _event(self) -> str | None:
        data, self._data, self._size = self._data, [], 0
        return b"\n".join(data).decode("utf-8", "replace") if any(data) else None
