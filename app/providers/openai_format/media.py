"""Saves results to local files, whether they arrive as base64, data URL or link."""

import asyncio
import binascii
from pathlib import Path
from urllib.parse import unquote_to_bytes

from app.base.disk_full import NO_SPACE
from app.providers import failures
from app.providers.contract import ErrorCode, Failed, Failure, MissingOutput, ResultFile
from app.providers.errors import AddressNotAllowed, ClientError, TooBig
from app.providers.openai_format.api import Api

_TRIES = 3  # for the link to an image that is already paid for; links expire soon, so it cannot be fetched later
_HEAD = 256
_INVALID = "The provider returned an unsupported image. It may have been charged. Try another model."
_STORAGE_FULL = "The server's disk is full and the result could not be saved. Ask an administrator to free space."


class SaveError(Failure):
    """A result could not be saved. It may have been charged, so this is final; the caller adds the cost to the outcome."""

    outcome: Failed

    def __init__(self, code: ErrorCode, message: str, detail: str) -> None:
        super().__init__(Failed(code=code, message=message, detail=detail))


def disk_full(exc: OSError) -> SaveError:
    """The error for a full disk. Any other OSError is a bug and is raised again."""
    if exc.errno not in NO_SPACE:
        raise exc
    return SaveError(ErrorCode.STORAGE_FULL, _STORAGE_FULL, str(exc))


def too_big(detail: str) -> SaveError:
    return SaveError(ErrorCode.RESULT_TOO_LARGE, failures.TOO_BIG, detail)


def invalid(detail: str) -> SaveError:
    return SaveError(ErrorCode.RESULT_INVALID, _INVALID, detail)


class ImageSaver:
    """Saves the images of one response in `folder`."""

    def __init__(self, api: Api, folder: Path, max_bytes: int) -> None:
        self._api = api
        self._folder = folder
        self._max_bytes = max_bytes

    async def save(
        self, sources: list[tuple[str, str | None]]
    ) -> tuple[tuple[ResultFile, ...], tuple[MissingOutput, ...]]:
        """Save what can be saved of the images, each given as a source and its reported media type; the rest is missing. Raises
        SaveError if none could be saved, or if the disk is full."""
        saved: list[ResultFile] = []
        missing: list[MissingOutput] = []
        errors: list[SaveError] = []
        for index, (source, reported) in enumerate(sources):
            try:
                saved.append(await self._save_one(source, reported, self._folder / f"image-{index}"))
            except SaveError as exc:
                errors.append(exc)
                missing.append(MissingOutput(index, exc.outcome.code, exc.outcome.message))
                if exc.outcome.code is ErrorCode.STORAGE_FULL:
                    break
        if errors and (not saved or errors[-1].outcome.code is ErrorCode.STORAGE_FULL):
            raise errors[-1]
        return tuple(saved), tuple(missing)

    async def _save_one(self, source: str, reported: str | None, to: Path) -> ResultFile:
        try:
            if source[:5].lower() == "data:" or not _is_link(source):
                mime = await asyncio.to_thread(_decode, source, to, self._max_bytes)
            else:
                mime = await self._fetch(source, to)
            reported = reported or mime or None
            await asyncio.to_thread(_reject_active_content, to, reported or "")
        except OSError as exc:
            raise disk_full(exc) from None
        return ResultFile(path=to, reported_mime=reported)

    async def _fetch(self, link: str, to: Path) -> str:
        """Download a link and return its reported media type. The key is sent to the API's own origin only."""
        own = self._api.own(link)
        for attempt in range(1, _TRIES + 1):
            try:
                download = await self._api.download(
                    own or link, to, max_bytes=self._max_bytes, with_key=own is not None
                )
            except TooBig as exc:
                raise too_big(str(exc)) from None
            except AddressNotAllowed as exc:
                raise invalid(str(exc)) from None
            except ClientError as exc:
                reason = str(exc)
            else:
                if download.status == 200 and download.bytes:
                    return download.mime
                reason = f"the image link returned status {download.status} with {download.bytes} bytes"
            if attempt < _TRIES:
                await asyncio.sleep(self._api.timeouts.between_downloads * attempt)
        raise SaveError(ErrorCode.RESULT_INVALID, failures.UNREADABLE, reason)


def _is_link(source: str) -> bool:
    return source[:8].lower().startswith(("http://", "https://")) or source[:4] == "/api"


def _decode(source: str, to: Path, max_bytes: int) -> str:
    """Write the content of base64 or a data URL to a file, and return the data URL's media type."""
    mime, encoded, is_base64 = "", source, True
    if source[:5].lower() == "data:":
        meta, comma, encoded = source.partition(",")
        is_base64 = meta.lower().endswith(";base64")
        mime = meta[5:].partition(";")[0].strip().lower()
        if not comma:
            raise invalid("data URL without data")
    if len(encoded) * 3 // 4 > max_bytes + 2:
        raise too_big(f"{len(encoded)} characters of base64")
    try:
        content = binascii.a2b_base64(_padded(encoded)) if is_base64 else unquote_to_bytes(encoded)
    except ValueError:
        raise invalid("invalid base64") from None
    if len(content) > max_bytes:
        raise too_big(f"{len(content)} bytes")
    if not content:
        raise invalid("empty image")
    to.write_bytes(content)
    return mime


def _padded(encoded: str) -> str:
    """Adds padding, which some servers omit. Text of the right length is not copied, because it may be large."""
    missing = -len(encoded) % 4
    return encoded + "=" * missing if missing and "\n" not in encoded else encoded


def _reject_active_content(path: Path, reported: str) -> None:
    """Delete SVG and HTML files, because they can contain scripts."""
    with path.open("rb") as file:
        head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    if reported.startswith("image/svg") or head.startswith(b"<"):
        path.unlink()
        raise invalid("SVG or HTML: active content is not allowed")
