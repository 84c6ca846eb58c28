"""PNG: text and XMP are in chunks of type iTXt (PNG specification, third edition, section 11.3.3)."""

import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from app.base.file_parts import FileRange, Part
from app.storage.metadata.embedded import Embedded
from app.storage.metadata.exif import turns

_SIGNATURE = 8  # bytes
_OVERHEAD = 12  # bytes of a chunk besides its content
_XMP = b"XML:com.adobe.xmp"
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_PRIVATE = (*_TEXT, b"tIME", b"caBX")  # caBX is a signed manifest, which is valid only for the file as it was
_MAX_KEYWORD = 80  # bytes, with its end


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    stop: int


def xmp_packet(file: IO[bytes], end: int, limit: int) -> bytes | None:
    """The XMP packet, of at most `limit` bytes."""
    for chunk in _chunks(file, end):
        if chunk.kind == b"iTXt" and _keyword(file, chunk) == _XMP:
            file.seek(chunk.start + 8 + len(_XMP) + 1)
            body = file.read(min(limit, chunk.stop - chunk.start - _OVERHEAD - len(_XMP) - 1))
            flags, _, rest = body[:2], *body[2:].partition(b"\0")[1:]
            translated = rest.partition(b"\0")[2]
            return translated if flags[:1] == b"\0" else _decompressed(translated, limit)
    return None


def rewritten(file: IO[bytes], end: int, embedded: Embedded | None) -> list[Part]:
    """The parts of the file with this metadata, or without any."""
    parts: list[Part] = [FileRange(0, _SIGNATURE)]
    for chunk in _chunks(file, end):
        if _is_kept(file, chunk, embedded):
            parts.append(FileRange(chunk.start, chunk.stop))
        if chunk.kind == b"IHDR" and embedded is not None:
            texts = {b"parameters": embedded.parameters, b"Software": embedded.software}
            parts += [_text(keyword, text.encode()) for keyword, text in texts.items()]
            parts.append(_text(_XMP, embedded.xmp))
    return parts


def _is_kept(file: IO[bytes], chunk: _Chunk, embedded: Embedded | None) -> bool:
    if chunk.kind == b"caBX":
        return False
    if embedded is not None:
        return chunk.kind not in _TEXT or _keyword(file, chunk) not in (_XMP, b"parameters", b"Software")
    if chunk.kind == b"eXIf":
        file.seek(chunk.start + 8)
        return turns(file.read(chunk.stop - chunk.start - _OVERHEAD))
    return chunk.kind not in _PRIVATE


def _keyword(file: IO[bytes], chunk: _Chunk) -> bytes:
    file.seek(chunk.start + 8)
    return file.read(min(_MAX_KEYWORD, chunk.stop - chunk.start - _OVERHEAD)).partition(b"\0")[0]


def _chunks(file: IO[bytes], end: int) -> Iterator[_Chunk]:
    """Up to the last chunk of the image."""
    start = _SIGNATURE
    while start + _OVERHEAD <= end:
        file.seek(start)
        head = file.read(8)
        stop = start + _OVERHEAD + int.from_bytes(head[:4], "big")
        if stop > end:
            raise ValueError("truncated")
        yield _Chunk(head[4:], start, stop)
        if head[4:] == b"IEND":
            return
        start = stop


def _text(keyword: bytes, text: bytes) -> bytes:
    body = b"iTXt" + keyword + b"\0\0\0\0\0" + text
    return (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def _decompressed(data: bytes, limit: int) -> bytes | None:
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(data, limit)
    except zlib.error:
        return None
    return text if decompressor.eof else None
