"""WebP: XMP is in a chunk of its own, announced by a flag of the VP8X chunk (WebP container specification)."""

from collections.abc import Iterator
from typing import IO, NamedTuple

from app.base.file_parts import FileRange, Part, total_size
from app.storage.metadata.embedded import Embedded
from app.storage.metadata.exif import turns
from app.storage.webp import size_of

_HAS_XMP, _HAS_EXIF, _HAS_ALPHA = 0x04, 0x08, 0x10
_SIGNED = b"C2PA"  # a manifest that is valid only for the file as it was
_HEAD = 64  # bytes of the first chunk, which tell the size


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    stop: int  # of its content, without padding


def xmp_packet(file: IO[bytes], end: int, limit: int) -> bytes | None:
    """The XMP packet, of at most `limit` bytes."""
    for chunk in _chunks(file, end):
        if chunk.kind == b"XMP ":
            return _body(file, chunk, limit)
    return None


def rewritten(file: IO[bytes], end: int, embedded: Embedded | None) -> list[Part]:
    """The parts of the file with this metadata, or without any."""
    chunks = list(_chunks(file, end))
    exif = any(chunk.kind == b"EXIF" and _is_kept(file, chunk, embedded) for chunk in chunks)
    parts: list[Part] = []
    for number, chunk in enumerate(chunks):
        if number == 0:
            parts += _extended_header(file, chunk, exif=exif, xmp=embedded is not None)
        if chunk.kind != b"VP8X" and _is_kept(file, chunk, embedded):
            parts.append(FileRange(chunk.start, chunk.stop))
            parts += [b"\0"] * ((chunk.stop - chunk.start) % 2)
    if embedded is not None:
        parts.append(_chunk(b"XMP ", embedded.xmp))
    return [b"RIFF" + (total_size(parts) + 4).to_bytes(4, "little") + b"WEBP", *parts]


def _is_kept(file: IO[bytes], chunk: _Chunk, embedded: Embedded | None) -> bool:
    if chunk.kind == b"EXIF":
        return embedded is not None or turns(_body(file, chunk, chunk.stop - chunk.start))
    return chunk.kind not in (b"XMP ", _SIGNED)


def _extended_header(file: IO[bytes], first: _Chunk, *, exif: bool, xmp: bool) -> list[Part]:
    """The VP8X chunk with the right flags; none if the file has none and needs none."""
    body = _body(file, first, _HEAD)
    if first.kind == b"VP8X":
        flags = body[0] & ~(_HAS_XMP | _HAS_EXIF) | _HAS_XMP * xmp | _HAS_EXIF * exif
        return [_chunk(b"VP8X", bytes([flags]) + body[1:10])]
    if not xmp:
        return []
    width, height = size_of(first.kind, memoryview(body))
    alpha = first.kind == b"VP8L" and bool(body[4] & 0x10)
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return [_chunk(b"VP8X", bytes([_HAS_XMP | _HAS_ALPHA * alpha, 0, 0, 0]) + canvas)]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def _body(file: IO[bytes], chunk: _Chunk, limit: int) -> bytes:
    file.seek(chunk.start + 8)
    return file.read(min(limit, chunk.stop - chunk.start - 8))


def _chunks(file: IO[bytes], end: int) -> Iterator[_Chunk]:
    file.seek(4)
    end = min(end, 8 + int.from_bytes(file.read(4), "little"))
    start = 12
    while start + 8 <= end:
        file.seek(start)
        head = file.read(8)
        stop = start + 8 + int.from_bytes(head[4:], "little")
        if stop > end:
            raise ValueError("truncated")
        yield _Chunk(head[:4], start, stop)
        start = stop + stop % 2
