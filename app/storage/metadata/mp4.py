"""MP4: XMP is in a box of type `uuid` beside the others (XMP specification part 3, section 1.2.7), and what players show is in
`moov/udta/meta`, as iTunes writes it.

The index of a video refers to its data by their offset in the file, so nothing is moved: a new `moov` box stands at the end, and
the old one becomes free space.
"""

from collections.abc import Iterator, Mapping
from typing import IO, NamedTuple

from app.base.file_parts import FileRange, Part, total_size
from app.storage.metadata.embedded import Embedded

_XMP = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_SIGNED = bytes.fromhex(
    "D8FEC3D61B0E483C92975828877EC481"
)  # a C2PA manifest, which is valid only for the file as it was
_HANDLER = b"\0\0\0\0\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0"
_UTF_8 = b"\0\0\0\1\0\0\0\0"  # type and locale of a text
_ZEROS = 65_536  # bytes, at most, of one part


class _Box(NamedTuple):
    kind: bytes
    start: int
    stop: int
    head: int  # bytes before the content


def xmp_packet(file: IO[bytes], end: int, limit: int) -> bytes | None:
    """The XMP packet, of at most `limit` bytes."""
    for box in _boxes(file, 0, end):
        if box.kind == b"uuid" and _identifier(file, box) == _XMP:
            return file.read(min(limit, box.stop - box.start - box.head - len(_XMP)))
    return None


def rewritten(file: IO[bytes], end: int, embedded: Embedded | None) -> list[Part]:
    """The parts of the file with this metadata, or without any."""
    boxes = list(_boxes(file, 0, end))
    is_fragmented = any(box.kind == b"moof" for box in boxes)  # their index must come first
    parts: list[Part] = []
    for box in boxes:
        unused = box.kind in (b"free", b"skip")  # an earlier index and what it says may be in there
        if (unused and embedded is None) or (box.kind == b"uuid" and _identifier(file, box) in (_XMP, _SIGNED)):
            parts += _freed(box)
        elif box.kind == b"moov" and not is_fragmented and embedded is not None:
            parts += [FileRange(box.start, box.start + 4), b"free", FileRange(box.start + 8, box.stop)]
        elif box.kind == b"moov":
            parts += _without_user_data(file, box) if embedded is None else [FileRange(box.start, box.stop)]
        else:
            parts += _closed(file, box)
    if embedded is None:
        return parts
    parts.append(_box(b"uuid", _XMP, embedded.xmp))
    if not is_fragmented:
        parts += [part for box in boxes if box.kind == b"moov" for part in _new_index(file, box, embedded)]
    return parts


def _closed(file: IO[bytes], box: _Box) -> list[Part]:
    """A box with its size: one that extends to the end of the file would swallow what is appended."""
    file.seek(box.start)
    if file.read(4) != b"\0\0\0\0" or box.stop - box.start >= 2**32:
        return [FileRange(box.start, box.stop)]
    return [(box.stop - box.start).to_bytes(4, "big"), FileRange(box.start + 4, box.stop)]


def _freed(box: _Box) -> list[Part]:
    """A box of the same size whose content is gone."""
    parts: list[Part] = [_head(b"free", box.stop - box.start)]
    left = box.stop - box.start - len(parts[0]) if isinstance(parts[0], bytes) else 0
    parts += [bytes(min(_ZEROS, left - at)) for at in range(0, left, _ZEROS)]
    return parts


def _without_user_data(file: IO[bytes], moov: _Box) -> list[Part]:
    parts: list[Part] = [FileRange(moov.start, moov.start + moov.head)]
    for box in _boxes(file, moov.start + moov.head, moov.stop):
        parts += _freed(box) if box.kind in (b"udta", b"meta") else [FileRange(box.start, box.stop)]
    return parts


def _new_index(file: IO[bytes], moov: _Box, embedded: Embedded) -> list[Part]:
    children: list[Part] = []
    user_data: list[Part] = []
    for box in _boxes(file, moov.start + moov.head, moov.stop):
        if box.kind != b"udta":
            children.append(FileRange(box.start, box.stop))
            continue
        for inner in _boxes(file, box.start + box.head, box.stop):
            if inner.kind != b"meta":
                user_data.append(FileRange(inner.start, inner.stop))
    texts = {b"desc": embedded.prompt, b"\xa9cmt": embedded.parameters, b"\xa9too": embedded.software}
    user_data.append(_tags(texts))
    children += [_head(b"udta", total_size(user_data) + 8), *user_data]
    return [_head(b"moov", total_size(children) + 8), *children]


def _tags(texts: Mapping[bytes, str]) -> bytes:
    items = [_box(name, _box(b"data", _UTF_8, text.encode())) for name, text in texts.items()]
    return _box(b"meta", b"\0\0\0\0", _box(b"hdlr", _HANDLER), _box(b"ilst", *items))


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return _head(kind, len(body) + 8) + body


def _head(kind: bytes, size: int) -> bytes:
    """Of a box of that many bytes, itself included."""
    return size.to_bytes(4, "big") + kind if size < 2**32 else b"\0\0\0\1" + kind + size.to_bytes(8, "big")


def _identifier(file: IO[bytes], box: _Box) -> bytes:
    file.seek(box.start + box.head)
    return file.read(len(_XMP))


def _boxes(file: IO[bytes], start: int, end: int) -> Iterator[_Box]:
    """The boxes in this range. Stray bytes after the last one are left out."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, length = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, length = int.from_bytes(head[8:], "big"), 16
        stop = start + size if size else end
        if stop > end or stop < start + length:
            return
        yield _Box(head[4:8], start, stop, length)
        start = stop
