"""Server-sent events, as the providers stream them."""

import re
from typing import Final

# What nearly every piece is: whole events with one line of data each.
_PLAIN: Final = re.compile(rb"(?:data: [^\r\n]+\n\n)+")
_DATA: Final = re.compile(rb"data: ([^\r\n]+)")


class EventTooLong(Exception):
    """One event is larger than the cap."""


class EventParser:
    """Server-sent events out of bytes that are cut anywhere. A line may be as long as an event, which may hold pictures."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._scanned = 0  # how much of the buffer is known to hold no line end: long lines are not searched twice
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[str]:
        """The payloads of the events that `piece` completes; EventTooLong when one exceeds the cap."""
        between = not self._buffer and not self._data  # two events
        if between and len(piece) <= self._max_bytes and _PLAIN.fullmatch(piece):
            return [data.decode("utf-8", "replace") for data in _DATA.findall(piece)]
        self._buffer += piece
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
        """What the last event holds when the stream ends without the empty line that should close it."""
        if self._buffer:
            self._field(bytes(self._buffer).removesuffix(b"\r"))
        payload = self._event()
        return [] if payload is None else [payload]

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")  # a comment begins with the colon: its name is empty
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
            if self._size > self._max_bytes:
                raise EventTooLong

    def _event(self) -> str | None:
        data, self._data, self._size = self._data, [], 0
        return b"\n".join(data).decode("utf-8", "replace") if any(data) else None
