"""Reads forms, redirects after a change, and validates redirect targets."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from traceback import walk_tb
from typing import Any, Final, cast
from urllib.parse import parse_qsl, quote, unquote

from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie, FormMultiDict, State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.types import Empty
from litestar.utils.scope.state import ScopeState

from app.base.disk_full import NO_SPACE, DiskFull
from app.base.errors import Invalid
from app.base.once import Once
from app.base.once import once as request_once

NOTICE: Final = "notice"
CHUNK: Final = 256 * 1024
MAX_FIELDS: Final = 1000  # of one form
IN_URLS: Final = "%/?#[]@!$&'()*+,;=:"  # reserved characters that are not percent-encoded (RFC 3986)


async def parsed(request: Request[Any, Any, State]) -> FormMultiDict:
    """Parse the form of this request once; raises Invalid when it is malformed. Litestar's own URL-encoded parser caches the
    last thousand forms, including passwords, and fails with 500 on bytes that are not UTF-8."""
    state = ScopeState.from_scope(request.scope)
    try:
        if state.form is Empty and request.content_type[0] == RequestEncodingType.URL_ENCODED:
            text = (await request.body()).decode()
            fields: dict[str, Any] = {}
            for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS):
                fields.setdefault(name, []).append(value)
            state.form = fields
        return await request.form()
    except Exception as exc:
        await _close_partial_uploads(exc)
        if getattr(exc, "errno", None) in NO_SPACE:
            raise DiskFull from None
        if isinstance(exc, ValueError | LookupError):
            raise Invalid("The form could not be parsed.") from None
        raise


async def _close_partial_uploads(exc: Exception) -> None:
    """Close the files that Litestar's multipart parser was writing when it failed (disk full, client disconnected). It drops
    them, and their disk space would be released only by the next garbage collection."""
    for frame, _ in walk_tb(exc.__traceback__):
        parts = frame.f_locals.get("fields")
        finished = [file for files in parts.values() for file in files] if isinstance(parts, defaultdict) else []
        for value in (*frame.f_locals.values(), *finished):
            if isinstance(value, UploadFile):
                with contextlib.suppress(OSError):  # flushing the buffer fails as well when the disk is full
                    await value.close()


async def close(request: Request[Any, Any, State]) -> None:
    """Close the uploaded files of a parsed form; idempotent."""
    state = ScopeState.from_scope(request.scope)
    if state.form is not Empty:
        await FormMultiDict.from_form_data(cast(dict[str, Any], state.form)).close()


async def read(request: Request[Any, Any, State]) -> dict[str, str]:
    """The text fields of a form, without files. If a field is sent twice, the last value counts."""
    form = await parsed(request)
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}


async def file(request: Request[Any, Any, State], name: str) -> UploadFile | None:
    """The uploaded file of that field; None when the field is empty."""
    value = (await parsed(request)).get(name)
    return value if isinstance(value, UploadFile) and value.filename else None


async def chunks(file: UploadFile) -> AsyncIterator[bytes]:
    """The bytes of an uploaded file in chunks."""
    while chunk := await file.read(CHUNK):
        yield chunk


def once(request: Request[Any, Any, State], form: Mapping[str, str]) -> Once | None:
    """A double click sends the form's hidden key twice with the same content; changed content is another request."""
    key = form.get("idempotency_key", "")
    fields = {name: value for name, value in form.items() if name not in ("_csrf_token", "idempotency_key")}
    found = request_once(key or None, request.url.path, fields)
    return Once(f"form {found.key[:100]} {found.request}", found.request) if found else None


def safe_next(target: str | None) -> str:
    """`target` when it is a path on this site, else `/`. Guards against open redirects."""
    text = target or "/"
    path = unquote(text.partition("?")[0])
    unsafe = (
        not text.startswith("/")
        or path.startswith("//")
        or "\\" in path
        or any(ord(c) < 33 for c in text + path.replace(" ", ""))
    )
    return "/" if unsafe or path.startswith(("/login", "/register", "/logout")) else text


def go(target: str, notice: str | None = None, *, cookies: list[Cookie] | None = None) -> Response[str]:
    """Redirect (303) to a path on this site; `notice` is shown once on the next page."""
    all_cookies = list(cookies or [])
    if notice:
        all_cookies.append(Cookie(NOTICE, value=quote(notice), path="/", max_age=60, httponly=True, samesite="lax"))
    headers = {"Location": quote(target, safe=IN_URLS)}
    return Response("", status_code=303, headers=headers, cookies=all_cookies, media_type=MediaType.TEXT)
