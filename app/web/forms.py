"""Reading forms, answering after a change, and where a person may be sent next."""

from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote, unquote

from litestar import Request, Response
from litestar.datastructures import Cookie, State, UploadFile

NOTICE: Final = "notice"
CHUNK: Final = 256 * 1024


async def read(request: Request[Any, Any, State]) -> dict[str, str]:
    """The text fields of a form; of a field sent twice the last one counts, files are left out."""
    form = await request.form()
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}


async def file(request: Request[Any, Any, State], name: str) -> UploadFile | None:
    """The uploaded file of that name; an empty file field is none."""
    value = (await request.form()).get(name)
    return value if isinstance(value, UploadFile) and value.filename else None


async def chunks(file: UploadFile) -> AsyncIterator[bytes]:
    """The bytes of an uploaded file, piece by piece."""
    while chunk := await file.read(CHUNK):
        yield chunk


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
    return Response("", status_code=303, headers={"Location": target}, cookies=kept)
