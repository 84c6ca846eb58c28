"""Checks the container of a video, without decoding, before ffmpeg opens it.

ffmpeg accepts truncated files, but only complete files are stored. And it allocates the index of an MP4 from counts in the
file: a few kilobytes can make it use gigabytes of memory, so the counts are added up first. Both functions raise ValueError
for an incomplete or unacceptable file.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MAX_INDEX = 6_000_000  # samples times edits; six hours at 60 frames per second with sound and two edits need less

_NEEDED = frozenset({b"moov", b"mdat", b"moof"})
_MAX_METADATA = 64 * 1024 * 1024  # bytes of all boxes except the media data
_COUNTING = re.compile(rb"stsz|stz2|trun|elst|cmov")
_WINDOW = 256 * 1024  # bytes searched at once, because a search holds the GIL
_WEBM_SEGMENT = b"\x18\x53\x80\x67"


def mp4_index(path: Path) -> int:
    """The maximum number of entries in ffmpeg's index of this MP4. Stray bytes after the last box are allowed."""
    samples, edits, metadata = 0, 1, 0
    with path.open("rb") as file:
        for start, length in _boxes(file, path.stat().st_size):
            metadata += length
            if metadata > _MAX_METADATA:
                raise ValueError("too much data outside the media boxes")
            for kind, body in _counting_boxes(file, start, length):
                if kind == b"cmov":
                    raise ValueError("compressed index")
                if kind == b"elst":
                    edits = max(edits, int.from_bytes(body[4:8], "big"))
                else:
                    samples += int.from_bytes(body[4:8] if kind == b"trun" else body[8:12], "big")
    return samples * edits


def _boxes(file: IO[bytes], end: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each top-level box except media data; stray bytes at the end count as one box."""
    offset = 0
    while offset + 8 <= end:
        file.seek(offset)
        head = file.read(16)
        kind = head[4:8]
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length == 0:
            length = end - offset
        if length < 8 or offset + length > end:
            if kind in _NEEDED:
                raise ValueError("truncated")
            length = end - offset
        if kind != b"mdat":
            yield offset, length
        offset += length


def _counting_boxes(file: IO[bytes], start: int, length: int) -> Iterator[tuple[bytes, bytes]]:
    """Boxes that contain counts, with the 12 bytes after their name. They are searched at every offset, because ffmpeg
    accepts them almost anywhere."""
    for offset in range(start, start + length, _WINDOW):
        file.seek(offset)
        window = file.read(_WINDOW + 20)
        for found in _COUNTING.finditer(window):
            size = int.from_bytes(window[max(0, found.start() - 4) : found.start()], "big")
            # Otherwise the four letters are not a box name, or the next window finds them again.
            if 16 <= size <= length and found.start() - 4 < _WINDOW:
                yield found[0], window[found.end() : found.end() + 12]


def check_webm(path: Path) -> None:
    """Check that the segment ends inside the file. In a live recording its length may be unknown."""
    with path.open("rb") as file:
        head = file.read(4096)
    size, offset = _vint(head, 4)
    offset += size
    if head[offset : offset + 4] != _WEBM_SEGMENT:
        raise ValueError("no segment")
    size, start = _vint(head, offset + 4)
    unknown = (1 << 7 * (start - offset - 4)) - 1
    if size != unknown and start + size > path.stat().st_size:
        raise ValueError("truncated")


def _vint(data: bytes, offset: int) -> tuple[int, int]:
    """The EBML variable-length number at `offset`, and the offset of its end. Leading zero bits give its width."""
    width = 9 - (data[offset] if offset < len(data) else 0).bit_length()
    return int.from_bytes(data[offset : offset + width], "big") & ((1 << 7 * width) - 1), offset + width
