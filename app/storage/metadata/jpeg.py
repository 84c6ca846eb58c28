"""JPEG: XMP is in segments of type APP1 (XMP specification part 3, section 1.1.3), in several ones if it is long."""

from collections.abc import Iterator
from typing import IO, NamedTuple

from app.base.file_parts import FileRange, Part
from app.storage.metadata.embedded import Embedded
from app.storage.metadata.exif import turns

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_LONG_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_EXIF = b"Exif\0\0"
_APP0, _APP1, _APP11, _APP13, _COMMENT, _SCAN = 0xE0, 0xE1, 0xEB, 0xED, 0xFE, 0xDA
_PRIVATE = (_APP13, _COMMENT)
_MAX_BODY = 65_533  # bytes of a segment, without marker and length
_MAX_PACKET = 65_502  # bytes
_PIECE = 65_400  # bytes of a long packet in each segment


class _Segment(NamedTuple):
    marker: int
    start: int
    stop: int

    def body(self, file: IO[bytes], limit: int = _MAX_BODY) -> bytes:
        file.seek(self.start + 4)
        return file.read(min(limit, self.stop - self.start - 4))


def xmp_packet(file: IO[bytes], end: int, limit: int) -> bytes | None:
    """The XMP packet, of at most `limit` bytes: the long one if there is one."""
    packet, long, total = None, bytearray(), 0
    for segment in _segments(file, end):
        if segment.marker != _APP1:
            continue
        body = segment.body(file)
        if body.startswith(_XMP):
            packet = body[len(_XMP) :]
        elif body.startswith(_LONG_XMP):
            head, piece = body[len(_LONG_XMP) :][:40], body[len(_LONG_XMP) + 40 :]
            total, offset = int.from_bytes(head[32:36], "big"), int.from_bytes(head[36:40], "big")
            if offset == len(long) and total <= limit:
                long += piece
    return bytes(long) if long and len(long) == total else packet


def rewritten(file: IO[bytes], end: int, embedded: Embedded | None) -> list[Part]:
    """The parts of the file with this metadata, or without any."""
    parts: list[Part] = [FileRange(0, 2)]
    new = _embedding(embedded) if embedded is not None else []
    stop = 2
    for segment in _segments(file, end):
        if segment.marker != _APP0:
            parts += new
            new = []
        if _is_kept(file, segment, embedded):
            parts.append(FileRange(segment.start, segment.stop))
        stop = segment.stop
    return [*parts, *new, FileRange(stop, end)]


def _is_kept(file: IO[bytes], segment: _Segment, embedded: Embedded | None) -> bool:
    if segment.marker == _APP11:  # a signed manifest, which is valid only for the file as it was
        return False
    if segment.marker == _APP1:
        body = segment.body(file)
        if body.startswith((_XMP, _LONG_XMP)):
            return False
        return embedded is not None or (body.startswith(_EXIF) and turns(body))
    return embedded is not None or segment.marker not in _PRIVATE


def _embedding(embedded: Embedded) -> list[Part]:
    if len(embedded.xmp) <= _MAX_PACKET:
        return [_segment(_XMP + embedded.xmp)]
    total = len(embedded.xmp).to_bytes(4, "big")
    pieces = [
        _LONG_XMP
        + embedded.digest.encode()
        + total
        + offset.to_bytes(4, "big")
        + embedded.xmp[offset : offset + _PIECE]
        for offset in range(0, len(embedded.xmp), _PIECE)
    ]
    return [_segment(body) for body in (_XMP + embedded.pointer, *pieces)]


def _segment(body: bytes) -> bytes:
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


def _segments(file: IO[bytes], end: int) -> Iterator[_Segment]:
    """The segments before the image data."""
    start = 2
    while start + 4 <= end:
        file.seek(start)
        head = file.read(4)
        if head[0] != 0xFF:
            raise ValueError("no marker")
        if head[1] == 0xFF:  # a marker may be preceded by fill bytes
            start += 1
            continue
        if head[1] == _SCAN:
            return
        stop = start + 2 + int.from_bytes(head[2:], "big")
        if stop > end or stop < start + 4:
            raise ValueError("truncated")
        yield _Segment(head[1], start, stop)
        start = stop
