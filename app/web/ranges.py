"""Serves stored files: whole, as a byte range (RFC 9110, section 14), or as 304 when the browser has a copy.

Uploads and provider results are untrusted, so they are served with a sandbox policy.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from litestar import Request, Response
from litestar.datastructures import State
from litestar.response import Stream

from app.base.file_parts import FileRange, Part, total_size, within
from app.web.errors import ErrorResponse, Problem, answer

CHUNK: Final = 256 * 1024
SANDBOX: Final = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'"


async def file_response(
    request: Request[Any, Any, State],
    path: Path,
    *,
    mime: str,
    name: str,
    attachment: bool,
    parts: Sequence[Part] | None = None,
) -> Response[Any] | Stream:
    """The file at `path`, whose name is the hash of its content, or a file that is made of `parts` of it. Raises FileNotFoundError when
    it is missing."""
    etag, caching = path.stem[:32], "max-age=31536000, immutable"
    if parts is None:
        parts = [FileRange(0, (await asyncio.to_thread(path.stat)).st_size)]
    else:
        etag, caching = f"{etag}-{_digest(parts)}", "no-cache"
    total, etag = total_size(parts), f'"{etag}"'
    disposition = "attachment" if attachment else "inline"
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, {caching}",
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(name)}",
        "Content-Security-Policy": SANDBOX,
        "ETag": etag,
        "Vary": "Cookie, Authorization",
    }
    known = request.headers.get("If-None-Match", "")
    if known.strip() == "*" or etag in known:
        return Response(None, status_code=304, headers=headers)
    range_header = request.headers.get("Range")
    if range_header and request.headers.get("If-Range", etag) == etag:
        part = parse_range(range_header, total)
        if part == "outside":
            return _outside(request, total)
        if part is not None:
            first, last = part
            headers["Content-Range"] = f"bytes {first}-{last}/{total}"
            return _stream(request, path, within(parts, first, last), 206, headers, mime)
    return _stream(request, path, parts, 200, headers, mime)


def _digest(parts: Sequence[Part]) -> str:
    """Of all that is not in the stored file."""
    return hashlib.sha256(b"|".join(part for part in parts if isinstance(part, bytes))).hexdigest()[:32]


def _outside(request: Request[Any, Any, State], total: int) -> Response[Any]:
    """416, without the file's headers: in particular it must not be cached."""
    problem = Problem("VALIDATION_ERROR", f"The requested range is outside the file, which has {total} bytes.")
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Range": f"bytes */{total}",
        "Content-Security-Policy": SANDBOX,
    }
    return answer(request, ErrorResponse(416, problem, headers))


def parse_range(header: str, total: int) -> tuple[int, int] | Literal["outside"] | None:
    """The first and last byte of a single range; "outside" when it is beyond the end of the file; None for any other header,
    which is answered with the whole file."""
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip())
    if not found or found.group(0) == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        length = min(int(last), total)
        return (total - length, total - 1) if length else "outside"
    start, end = int(first), min(int(last or total), total - 1)
    if start >= total:
        return "outside"
    return (start, end) if start <= end else None


def _stream(
    request: Request[Any, Any, State],
    path: Path,
    parts: Sequence[Part],
    status: int,
    headers: dict[str, str],
    mime: str,
) -> Response[Any] | Stream:
    headers = {**headers, "Content-Length": str(total_size(parts))}
    if request.method == "HEAD":
        return Response(b"", status_code=status, headers=headers, media_type=mime)
    return Stream(_chunks(path, parts), status_code=status, headers=headers, media_type=mime)


async def _chunks(path: Path, parts: Sequence[Part]) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        start, stop = part
        while start < stop and (chunk := await asyncio.to_thread(_read, path, start, min(CHUNK, stop - start))):
            start += len(chunk)
            yield chunk


def _read(path: Path, start: int, size: int) -> bytes:
    """Opens the file for each chunk, so that a client that disconnects leaves no file open."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(size)
