"""A stored file as an answer: whole, in part (RFC 9110, section 14), or not again when the browser has it.

What people upload and providers send is never trusted to be harmless, so it goes out in a sandbox.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from litestar import Request, Response
from litestar.datastructures import State
from litestar.response import Stream

from app.web.errors import ErrorResponse, Problem, answer

CHUNK: Final = 256 * 1024
SANDBOX: Final = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'"


async def file_response(
    request: Request[Any, Any, State], path: Path, *, mime: str, name: str, attachment: bool
) -> Response[Any] | Stream:
    """The file at `path`, whose name is the hash of its content; a missing one raises FileNotFoundError."""
    total = (await asyncio.to_thread(path.stat)).st_size
    etag = f'"{path.stem[:32]}"'
    how = "attachment" if attachment else "inline"
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": f"{how}; filename*=UTF-8''{quote(name)}",
        "Content-Security-Policy": SANDBOX,
        "ETag": etag,
        "Vary": "Cookie, Authorization",
    }
    known = request.headers.get("If-None-Match", "")
    if known.strip() == "*" or etag in known:
        return Response(None, status_code=304, headers=headers)
    asked = request.headers.get("Range")
    if asked and request.headers.get("If-Range", etag) == etag:
        part = wanted(asked, total)
        if part == "outside":
            return _outside(request, total)
        if part is not None:
            first, last = part
            headers["Content-Range"] = f"bytes {first}-{last}/{total}"
            return _stream(request, path, first, last, 206, headers, mime)
    return _stream(request, path, 0, total - 1, 200, headers, mime)


def _outside(request: Request[Any, Any, State], total: int) -> Response[Any]:
    """Nothing of the file, so nothing that is said of it holds here, least of all how long it may be kept."""
    problem = Problem("VALIDATION_ERROR", f"This file has {total} bytes; the range that was asked for lies outside it.")
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Range": f"bytes */{total}",
        "Content-Security-Policy": SANDBOX,
    }
    return answer(request, ErrorResponse(416, problem, headers))


def wanted(header: str, total: int) -> tuple[int, int] | Literal["outside"] | None:
    """First and last byte of a single range; "outside" when it lies there; None when the header asks for something else,
    which is then answered with the whole file."""
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
    first: int,
    last: int,
    status: int,
    headers: dict[str, str],
    mime: str,
) -> Response[Any] | Stream:
    headers = {**headers, "Content-Length": str(last - first + 1)}
    if request.method == "HEAD":
        return Response(b"", status_code=status, headers=headers, media_type=mime)
    return Stream(_chunks(path, first, last), status_code=status, headers=headers, media_type=mime)


async def _chunks(path: Path, first: int, last: int) -> AsyncIterator[bytes]:
    left = last - first + 1
    while left > 0 and (chunk := await asyncio.to_thread(_read, path, last + 1 - left, min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _read(path: Path, start: int, size: int) -> bytes:
    """Opened anew for each chunk: whoever goes away in between leaves nothing open."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(size)
