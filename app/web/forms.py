"""Reads forms, redirects after a change, and validates redirect targets."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final, cast
from urllib.parse import parse_qsl, quote, unquote

import msgspec
from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie, FormMultiDict, State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.types import Empty
from litestar.utils.scope.state import ScopeState

from app.base.disk_full import map_disk_full
from app.base.errors import Invalid
from app.web.multipart_form import read_multipart

NOTICE: Final = "notice"
CHUNK: Final = 256 * 1024
MAX_FIELDS: Final = 1000  # of one form
IN_URLS: Final = "%/?#[]@!$&'()*+,;=:"  # reserved characters that are not percent-encoded (RFC 3986)


async def parsed(request: Request[Any, Any, State]) -> FormMultiDict:
    """Parse the form of this request once; raises Invalid when it is malformed. Not by Litestar, whose URL-encoded parser caches
    the last thousand forms, including passwords, and fails with 500 on bytes that are not UTF-8; for multipart see there. The
    result stands where Litestar looks for it, which closes the files when the route has answered."""
    state = ScopeState.from_scope(request.scope)
    if state.form is Empty:
        with map_disk_full():
            try:
                state.form = await _parse(request)
            except (ValueError, LookupError):
                raise Invalid("The form could not be parsed.") from None
    return FormMultiDict.from_form_data(cast(dict[str, Any], state.form))


async def _parse(request: Request[Any, Any, State]) -> dict[str, Any]:
    kind = request.content_type[0]
    if kind == RequestEncodingType.MULTI_PART:
        fields = await read_multipart(request)
        # Litestar expects a list only where a field was sent several times.
        return {name: values if len(values) > 1 else values[0] for name, values in fields.items()}
    found: dict[str, Any] = {}
    if kind == RequestEncodingType.URL_ENCODED:
        text = (await request.body()).decode()
        for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS):
            found.setdefault(name, []).append(value)
    return found


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


async def files(request: Request[Any, Any, State], name: str) -> list[UploadFile]:
    """All uploaded files of that field."""
    values = (await parsed(request)).getall(name, [])
    return [value for value in values if isinstance(value, UploadFile) and value.filename]


async def values(request: Request[Any, Any, State], name: str) -> list[str]:
    """All texts of that field, such as those of several checkboxes; empty ones are left out."""
    return [value for value in (await parsed(request)).getall(name, []) if isinstance(value, str) and value]


async def content_hash(file: UploadFile) -> str:
    """The SHA-256 hash of an uploaded file, which can be read from its start afterwards."""
    digest = hashlib.sha256()
    async for chunk in chunks(file):
        digest.update(chunk)
    await file.seek(0)
    return digest.hexdigest()


async def chunks(file: UploadFile) -> AsyncIterator[bytes]:
    """The bytes of an uploaded file in chunks."""
    while chunk := await file.read(CHUNK):
        yield chunk


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


def notice_header(notice: str | None) -> dict[str, str]:
    """Headers with which htmx shows `notice`, which is ASCII, on the page that it has requested a fragment for."""
    return {"HX-Trigger": msgspec.json.encode({"notice": notice}).decode()} if notice else {}


def go(target: str, notice: str | None = None, *, cookies: list[Cookie] | None = None) -> Response[str]:
    """Redirect (303) to a path on this site; `notice` is shown once on the next page."""
    all_cookies = list(cookies or [])
    if notice:
        all_cookies.append(Cookie(NOTICE, value=quote(notice), path="/", max_age=60, httponly=True, samesite="lax"))
    headers = {"Location": quote(target, safe=IN_URLS)}
    return Response("", status_code=303, headers=headers, cookies=all_cookies, media_type=MediaType.TEXT)
