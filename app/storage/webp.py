"""Reads the header of a WebP file without decoding: its dimensions, before anything is allocated, and its frame count.

Pillow copies WebP frames while holding the GIL, which at 4K blocks the event loop for too long. Still images are therefore
decoded by PyAV; only animations use Pillow.
"""

from pathlib import Path

import msgspec


class Header(msgspec.Struct, frozen=True):
    """`frames` is 0 for a still image. `info` has the raw `icc_profile` and `exif`, under Pillow's names."""

    width: int
    height: int
    frames: int
    info: dict[str, bytes]


def read_header(path: Path) -> Header:
    """Raises ValueError for a truncated file or inconsistent chunks."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise ValueError("truncated")
    chunks = _chunks(memoryview(data)[:end])
    width, height = size_of(*chunks[0])
    info = {name: bytes(body) for kind, body in chunks if (name := _KEPT.get(kind))}
    return Header(width, height, sum(kind == b"ANMF" for kind, _ in chunks), info)


_KEPT = {b"ICCP": "icc_profile", b"EXIF": "exif"}


def _chunks(data: memoryview) -> list[tuple[bytes, memoryview]]:
    found = []
    offset = 12
    while offset + 8 <= len(data):
        size = int.from_bytes(data[offset + 4 : offset + 8], "little")
        if offset + 8 + size > len(data):
            raise ValueError("truncated")
        found.append((bytes(data[offset : offset + 4]), data[offset + 8 : offset + 8 + size]))
        offset += 8 + size + size % 2
    if not found:
        raise ValueError("empty")
    return found


def size_of(kind: bytes, body: memoryview) -> tuple[int, int]:
    if kind == b"VP8X" and len(body) >= 10:
        return _uint(body[4:7]) + 1, _uint(body[7:10]) + 1
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = _uint(body[1:5])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) >= 10 and bytes(body[3:6]) == b"\x9d\x01\x2a":
        return _uint(body[6:8]) & 0x3FFF, _uint(body[8:10]) & 0x3FFF
    raise ValueError("no size")


def _uint(data: memoryview) -> int:
    return int.from_bytes(data, "little")
