"""The outermost boxes of a clip, read without decoding, before ffmpeg sees it.

ffmpeg makes the best of a file that was cut off; what is kept here is a whole file or none. And it builds the index of an
MP4 from numbers that the file only claims: a few kilobytes can make it fill gigabytes of memory, so they are added up
first. Both raise ValueError for a file that is not whole.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MAX_INDEX = 6_000_000  # samples times edits; six hours at sixty frames a second with sound and two edits have less

_NEEDED = frozenset({b"moov", b"mdat", b"moof"})
_MAX_HEADS = 64 * 1024 * 1024  # bytes, of all boxes but those with the pictures and the sound
_COUNTED = re.compile(rb"stsz|stz2|trun|elst|cmov")
_WINDOW = 256 * 1024  # bytes looked through at once: a search holds the interpreter's lock
_WEBM_SEGMENT = b"\x18\x53\x80\x67"


def mp4_index(path: Path) -> int:
    """How many entries ffmpeg's index of this MP4 would have, at most. Bytes after the last box may be anything."""
    samples, edits, heads = 0, 1, 0
    with path.open("rb") as file:
        for start, length in _boxes(file, path.stat().st_size):
            heads += length
            if heads > _MAX_HEADS:
                raise ValueError("too much besides the pictures")
            for kind, body in _mentions(file, start, length):
                if kind == b"cmov":
                    raise ValueError("a packed index")
                if kind == b"elst":
                    edits = max(edits, int.from_bytes(body[4:8], "big"))
                else:
                    samples += int.from_bytes(body[4:8] if kind == b"trun" else body[8:12], "big")
    return samples * edits


def _boxes(file: IO[bytes], end: int) -> Iterator[tuple[int, int]]:
    """Where each outermost box lies and its length, but for the media themselves; the stray rest of the file is one."""
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        kind = head[4:8]
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length == 0:
            length = end - at
        if length < 8 or at + length > end:
            if kind in _NEEDED:
                raise ValueError("cut off")
            length = end - at
        if kind != b"mdat":
            yield at, length
        at += length


def _mentions(file: IO[bytes], start: int, length: int) -> Iterator[tuple[bytes, bytes]]:
    """The boxes that count something, with the twelve bytes after their name. They are looked for wherever they could
    stand, because ffmpeg looks for them nearly everywhere."""
    for at in range(start, start + length, _WINDOW):
        file.seek(at)
        window = file.read(_WINDOW + 20)
        for found in _COUNTED.finditer(window):
            size = int.from_bytes(window[max(0, found.start() - 4) : found.start()], "big")
            if (
                16 <= size <= length and found.start() - 4 < _WINDOW
            ):  # else these four letters came by chance, or come again
                yield found[0], window[found.end() : found.end() + 12]


def check_webm(path: Path) -> None:
    """Its one segment ends inside the file; one that was recorded live may not say how long it is."""
    with path.open("rb") as file:
        head = file.read(4096)
    size, at = _number(head, 4)
    at += size
    if head[at : at + 4] != _WEBM_SEGMENT:
        raise ValueError("no segment")
    size, start = _number(head, at + 4)
    unknown = (1 << 7 * (start - at - 4)) - 1
    if size != unknown and start + size > path.stat().st_size:
        raise ValueError("cut off")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Matroska's number of variable length at `at`, and where it ends: the zeros that lead tell its length."""
    width = 9 - (data[at] if at < len(data) else 0).bit_length()
    return int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1), at + width
