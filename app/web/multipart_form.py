"""Reads multipart forms. Litestar's own reader loses the files that it was writing when it fails, so that their disk space is
released only by the next garbage collection, and it refuses file names that are not UTF-8."""

import contextlib
from collections import defaultdict
from email.message import Message
from typing import Any, Final

from litestar import Request
from litestar.datastructures import State, UploadFile
from multipart import MultipartSegment, PushMultipartParser  # type: ignore[import-untyped]

MAX_PARTS: Final = 1000  # of one form

Fields = dict[str, list[str | UploadFile]]


async def read_multipart(request: Request[Any, Any, State]) -> Fields:
    """The fields of the request's form, by name; large files are in the temporary folder. Raises ValueError or LookupError when
    the form is malformed, and OSError when the disk is full; then no file is left open."""
    fields: Fields = defaultdict(list)
    stream = request.stream()
    chunk = await anext(stream, b"")
    if not chunk:
        return fields
    file: UploadFile | None = None
    text = bytearray()
    # File names may be in UTF-8 or Latin-1, so they are decoded afterwards; all else in the head of a part is ASCII.
    parser = PushMultipartParser(
        request.content_type[1].get("boundary", ""), max_segment_count=MAX_PARTS, header_charset="latin-1"
    )
    try:
        with parser:
            while not parser.closed:
                for event in parser.parse(chunk):
                    if isinstance(event, MultipartSegment):
                        part, text = event, bytearray()
                        file = _new_file(part)
                    elif event is None:
                        name = _decoded(part.name or "")
                        if file is None:
                            fields[name].append(text.decode(part.charset or "utf-8"))
                        else:
                            await file.seek(0)
                            fields[name].append(file)
                            file = None
                    elif file is None:
                        text += event
                    else:
                        await file.write(event)
                chunk = await anext(stream, b"")
    except BaseException:
        for value in (file, *(value for values in fields.values() for value in values)):
            if isinstance(value, UploadFile):
                with contextlib.suppress(OSError):  # flushing the buffer fails as well when the disk is full
                    await value.close()
        raise
    return fields


def _new_file(part: MultipartSegment) -> UploadFile | None:
    """The file of a part that has a file name. Browsers send the form `filename*` no more, but other clients do."""
    name = _decoded(part.filename or "")
    if part.filename is None and "filename*" in (disposition := part.header("Content-Disposition", "")):
        head = Message()
        head["Content-Disposition"] = disposition
        name = head.get_filename() or ""
    return UploadFile(part.content_type or "text/plain", name) if name else None


def _decoded(text: str) -> str:
    """Text that was decoded as Latin-1: as UTF-8, or as it is when it is not valid UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError:
        return text
