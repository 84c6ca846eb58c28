"""A file that is put together from ranges of another file and new bytes."""

from collections.abc import Iterable
from typing import NamedTuple


class FileRange(NamedTuple):
    """The bytes of the stored file from `start` up to but not including `stop`."""

    start: int
    stop: int


Part = bytes | FileRange


def size(part: Part) -> int:
    """In bytes."""
    return len(part) if isinstance(part, bytes) else part.stop - part.start


def total_size(parts: Iterable[Part]) -> int:
    """In bytes."""
    return sum(map(size, parts))


def within(parts: Iterable[Part], first: int, last: int) -> list[Part]:
    """The bytes `first` to `last`, inclusive, of the file that the parts make."""
    found: list[Part] = []
    offset = 0
    for part in parts:
        start, stop = max(0, first - offset), min(size(part), last + 1 - offset)
        offset += size(part)
        if start < stop:
            found.append(
                part[start:stop] if isinstance(part, bytes) else FileRange(part.start + start, part.start + stop)
            )
    return found
