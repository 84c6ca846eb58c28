"""Results on their way into files of ours, in whatever form they come: base64, a data URL, or a link."""

import asyncio
import binascii
import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

from app.base.disk_full import NO_SPACE
from app.providers.client import ClientError, Refused, TooBig
from app.providers.contract import ErrorCode, Failed, Media
from app.providers.openrouter import failures
from app.providers.openrouter.api import Api

_TRIES = 3  # for a link to a picture that is paid for: it is short-lived, so there is no later
_HEAD = 256
_INVALID = "What the provider sent is not a picture that can be kept. It may have been charged; try another model."
_STORAGE_FULL = "The studio's disk is full, so the result could not be kept. Ask an administrator to make room."


class Unsaved(Exception):
    """A result that could not be kept, and why."""

    def __init__(self, code: ErrorCode, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail

    def outcome(self, cost: int | None, text: str | None = None) -> Failed:
        return Failed(code=self.code, message=self.message, cost_nano=cost, text=text, detail=self.detail)


def full(problem: OSError) -> Unsaved:
    """The meaning of an OSError while writing; anything but a full disk is a bug of ours and raised again."""
    if problem.errno not in NO_SPACE:
        raise problem
    return Unsaved(ErrorCode.STORAGE_FULL, _STORAGE_FULL, str(problem))


def invalid(detail: str) -> Unsaved:
    return Unsaved(ErrorCode.RESULT_INVALID, _INVALID, detail)


class Pictures:
    """Keeps the pictures of one answer in `folder`."""

    def __init__(self, api: Api, folder: Path, max_bytes: int) -> None:
        self._api = api
        self._folder = folder
        self._max_bytes = max_bytes

    async def keep(self, sources: list[tuple[str, str | None]]) -> tuple[Media, ...]:
        """The pictures that can be kept, each given as its source and what it is said to be. Unsaved when that is none
        of them, or when the disk is full: what is missing then is not the provider's fault."""
        kept: list[Media] = []
        problems: list[Unsaved] = []
        for place, (source, said) in enumerate(sources):
            try:
                kept.append(await self._one(source, said, self._folder / f"picture-{place}"))
            except Unsaved as exc:
                problems.append(exc)
                if exc.code is ErrorCode.STORAGE_FULL:
                    break
        if problems and (not kept or problems[-1].code is ErrorCode.STORAGE_FULL):
            raise problems[-1]
        return tuple(kept)

    async def _one(self, source: str, said: str | None, to: Path) -> Media:
        try:
            if source[:5].lower() == "data:" or not _is_link(source):
                mime = await asyncio.to_thread(_decode, source, to, self._max_bytes)
            else:
                mime = await self._fetch(source, to)
            said = said or mime or None
            await asyncio.to_thread(_check_passive, to, said or "")
        except OSError as exc:
            raise full(exc) from None
        return Media(path=to, said_mime=said)

    async def _fetch(self, link: str, to: Path) -> str:
        """The type that the link's server says. The key goes along only to the API's own origin."""
        own = self._api.own(link)
        for attempt in range(1, _TRIES + 1):
            try:
                got = await self._api.download(own or link, to, max_bytes=self._max_bytes, with_key=own is not None)
            except TooBig as exc:
                raise Unsaved(ErrorCode.RESULT_TOO_LARGE, failures.TOO_BIG, str(exc)) from None
            except Refused as exc:
                raise invalid(str(exc)) from None
            except ClientError as exc:
                said = str(exc)
            else:
                if got.status == 200 and got.bytes:
                    return got.mime
                said = f"the link to the picture answered {got.status} with {got.bytes} bytes"
            if attempt < _TRIES:
                await asyncio.sleep(self._api.patience.between_downloads * attempt)
        raise Unsaved(ErrorCode.RESULT_INVALID, failures.UNREADABLE, said)


def _is_link(source: str) -> bool:
    return source[:8].lower().startswith(("http://", "https://")) or source[:4] == "/api"


def _decode(source: str, to: Path, max_bytes: int) -> str:
    """Write what base64 or a data URL holds; the type that a data URL names."""
    mime, encoded, is_base64 = "", source, True
    if source[:5].lower() == "data:":
        meta, comma, encoded = source.partition(",")
        is_base64 = meta.lower().endswith(";base64")
        mime = meta[5:].partition(";")[0].strip().lower()
        if not comma:
            raise invalid("a data URL without data")
    if len(encoded) * 3 // 4 > max_bytes + 2:
        raise Unsaved(ErrorCode.RESULT_TOO_LARGE, failures.TOO_BIG, f"{len(encoded)} characters of base64")
    try:
        content = binascii.a2b_base64(_padded(encoded)) if is_base64 else unquote_to_bytes(encoded)
    except ValueError:
        raise invalid("the base64 is damaged") from None
    if len(content) > max_bytes:
        raise Unsaved(ErrorCode.RESULT_TOO_LARGE, failures.TOO_BIG, f"{len(content)} bytes")
    if not content:
        raise invalid("an empty picture")
    with to.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return mime


def _padded(encoded: str) -> str:
    """Some servers leave the padding out. A text of the right length is not copied: it may be large."""
    missing = -len(encoded) % 4
    return encoded + "=" * missing if missing and "\n" not in encoded else encoded


def _check_passive(path: Path, said: str) -> None:
    """SVG and web pages can hold scripts: they are thrown away at once."""
    with path.open("rb") as file:
        head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    if said.startswith("image/svg") or head.startswith(b"<"):
        path.unlink()
        raise invalid("an SVG or a web page: active content is not kept")
