"""Reading forms, answering after a change, and where a person may be sent next."""

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
FIELDS: Final = 1000  # of one form
IN_URLS: Final = "%/?#[]@!$&'()*+,;=:"  # what stands in a URL as it is, beside letters and digits (RFC 3986)


async def parsed(request: Request[Any, Any, State]) -> FormMultiDict:
    """The form of this request, read once; Invalid when it is none. Litestar's own reader would keep the latest thousand
    forms, passwords and all, in a cache, and take bytes that are no text for a bug of ours."""
    state = ScopeState.from_scope(request.scope)
    try:
        if state.form is Empty and request.content_type[0] == RequestEncodingType.URL_ENCODED:
            text = (await request.body()).decode()
            fields: dict[str, Any] = {}
            for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS):
                fields.setdefault(name, []).append(value)
            state.form = fields
        return await request.form()
    except Exception as exc:
        await _let_go(exc)
        if getattr(exc, "errno", None) in NO_SPACE:
            raise DiskFull from None
        if isinstance(exc, ValueError | LookupError):
            raise Invalid("The form cannot be read.") from None
        raise


async def _let_go(problem: Exception) -> None:
    """Close the files that Litestar's reader of forms was writing when it failed (the disk is full, the person went away).
    It forgets them, and the room they hold on the disk would be free only when the garbage is next collected."""
    for frame, _ in walk_tb(problem.__traceback__):
        parts = frame.f_locals.get("fields")
        finished = [file for files in parts.values() for file in files] if isinstance(parts, defaultdict) else []
        for value in (*frame.f_locals.values(), *finished):
            if isinstance(value, UploadFile):
                with contextlib.suppress(OSError):  # what is still in a buffer finds no room either
                    await value.close()


async def close(request: Request[Any, Any, State]) -> None:
    """Let go of the files of a form that was read; nothing happens twice."""
    state = ScopeState.from_scope(request.scope)
    if state.form is not Empty:
        await FormMultiDict.from_form_data(cast(dict[str, Any], state.form)).close()


async def read(request: Request[Any, Any, State]) -> dict[str, str]:
    """The text fields of a form; of a field sent twice the last one counts, files are left out."""
    form = await parsed(request)
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}


async def file(request: Request[Any, Any, State], name: str) -> UploadFile | None:
    """The uploaded file of that name; an empty file field is none."""
    value = (await parsed(request)).get(name)
    return value if isinstance(value, UploadFile) and value.filename else None


async def chunks(file: UploadFile) -> AsyncIterator[bytes]:
    """The bytes of an uploaded file, piece by piece."""
    while chunk := await file.read(CHUNK):
        yield chunk


def once(request: Request[Any, Any, State], form: Mapping[str, str]) -> Once | None:
    """A double click sends the form's hidden key twice with the same content; changed content is another request."""
    key = form.get("idempotency_key", "")
    asked = {name: value for name, value in form.items() if name not in ("_csrf_token", "idempotency_key")}
    found = request_once(key or None, request.url.path, asked)
    return Once(f"form {found.key[:100]} {found.request}", found.request) if found else None


def safe_next(target: str | None) -> str:
    """A path inside this site, or `/`: never another origin, however it is spelled."""
    text = target or "/"
    path = unquote(text.partition("?")[0])
    wrong = (
        not text.startswith("/")
        or path.startswith("//")
        or "\\" in path
        or any(ord(c) < 33 for c in text + path.replace(" ", ""))
    )
    return "/" if wrong or path.startswith(("/login", "/register", "/logout")) else text


def go(target: str, notice: str | None = None, *, cookies: list[Cookie] | None = None) -> Response[str]:
    """303 to a path of ours; `notice` is said once on the next page."""
    kept = list(cookies or [])
    if notice:
        kept.append(Cookie(NOTICE, value=quote(notice), path="/", max_age=60, httponly=True, samesite="lax"))
    headers = {"Location": quote(target, safe=IN_URLS)}
    return Response("", status_code=303, headers=headers, cookies=kept, media_type=MediaType.TEXT)
