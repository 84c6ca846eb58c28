"""The chunks of a WebP file, read without decoding: its size before anything is allocated for it, and whether it moves.

Pillow copies every WebP frame while holding the interpreter's lock, which stops the event loop for longer than a page
may wait at 4K. Stills are therefore decoded by PyAV; only animations go through Pillow.
"""

from pathlib import Path

import msgspec


class Header(msgspec.Struct, frozen=True):
    """`frames` is 0 for a still. `info` holds the raw `icc_profile` and `exif`, named as Pillow names them."""

    width: int
    height: int
    frames: int
    info: dict[str, bytes]


def read_header(path: Path) -> Header:
    """Raises ValueError for a file whose chunks do not fit together, a truncated one among them."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise ValueError("truncated")
    chunks = _chunks(memoryview(data)[:end])
    width, height = _size(*chunks[0])
    info = {name: bytes(body) for kind, body in chunks if (name := _KEPT.get(kind))}
    return Header(width, height, sum(kind == b"ANMF" for kind, _ in chunks), info)


_KEPT = {b"ICCP": "icc_profile", b"EXIF": "exif"}


def _chunks(data: memoryview) -> list[tuple[bytes, memoryview]]:
    found = []
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > len(data):
            raise ValueError("truncated")
        found.append((bytes(data[at : at + 4]), data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    if not found:
        raise ValueError("empty")
    return found


def _size(kind: bytes, body: memoryview) -> tuple[int, int]:
    if kind == b"VP8X" and len(body) >= 10:
        return _little(body[4:7]) + 1, _little(body[7:10]) + 1
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = _little(body[1:5])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) >= 10 and bytes(body[3:6]) == b"\x9d\x01\x2a":
        return _little(body[6:8]) & 0x3FFF, _little(body[8:10]) & 0x3FFF
    raise ValueError("no size")


def _little(data: memoryview) -> int:
    return int.from_bytes(data, "little")
