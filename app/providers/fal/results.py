"""Reads the output of a finished model and downloads its files, which expire."""

import asyncio
import base64
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from cachetools import LRUCache

from app.base import logging
from app.base.disk_full import NO_SPACE
from app.providers import failures
from app.providers.coerce import mapping, text
from app.providers.contract import (
    Completed,
    ErrorCode,
    Failed,
    Failure,
    MissingOutput,
    Outcome,
    Pending,
    ResultFile,
    UpstreamJob,
)
from app.providers.downloads import Download
from app.providers.errors import AddressNotAllowed, ClientError, TooBig
from app.providers.fal.api import FalApi
from app.providers.fal.prices import Prices
from app.providers.responses import JsonResponse

MAX_OUTPUTS: Final = 20
COMPLETED: Final = "COMPLETED"  # fal's name for the state of a job that has ended, well or not
_HEAD: Final = 256
_UNITS: Final = "x-fal-billable-units"  # how many of the units that a model is priced by
_MAX_TRIES: Final = 5  # of a result of which only a part can be downloaded
_REMEMBERED: Final = 1_000  # jobs

# Where models put their files. The answer of a video model may also have a preview image, so videos are looked for first.
_FIELDS: Final = ("video", "videos", "images", "image")

_NO_OUTPUT = "The provider returned no image or video. Change the prompt or choose another model."
_INVALID = "The provider returned an unsupported file. It may have been charged. Try another model."
_FORBIDDEN_LINK = (
    "The provider's result is at an address that may not be reached. Ask an administrator to check the provider."
)
_NOT_DOWNLOADED = "The provider refused the download of the result. Try again or choose another model."
_UNAVAILABLE = "The provider did not deliver the file, although it was asked several times."
_STORAGE_FULL = "The server's disk is full and the result could not be saved. Ask an administrator to free space."

_log = logging.get("providers.fal")


class OutputFile(NamedTuple):
    """One generated file: a link or a data URL."""

    source: str
    mime: str | None
    is_video: bool
    is_blocked: bool  # replaced by a black image because of its content


class ResultError(Failure):
    """A file of a result cannot be had."""

    outcome: Failed


class Unavailable(Exception):
    """A file cannot be downloaded now, but perhaps later."""


class ResultFiles:
    """Downloads the files of finished jobs, at most this many bytes each."""

    def __init__(self, api: FalApi, prices: Prices, max_image_bytes: int, max_video_bytes: int) -> None:
        self._api = api
        self._prices = prices
        self._max_image_bytes = max_image_bytes
        self._max_video_bytes = max_video_bytes
        self._tries: LRUCache[str, int] = LRUCache(_REMEMBERED)  # upstream job id -> downloads of a part of the result

    async def download(self, response: JsonResponse, upstream_job: UpstreamJob, model: str, folder: Path) -> Outcome:
        """The files that can be had of the output in `response`. Blocked and broken ones are left out while others remain; for one
        that cannot be had now, all are tried again some times."""
        found = outputs(response.body)
        failed: Failed | None = (
            None if found else _failed(ErrorCode.PROVIDER_FAILED, _NO_OUTPUT, "no file in the output")
        )
        media: list[ResultFile] = []
        missing: list[MissingOutput] = []
        is_incomplete = False
        for index, output in enumerate(found):
            try:
                media.append(await self._save(output, folder / f"output-{index}"))
            except ResultError as exc:
                failed = exc.outcome
                if failed.code is ErrorCode.STORAGE_FULL:
                    return failed
                missing.append(MissingOutput(index, failed.code, failed.message))
                _log.warning("result left out", upstream_job=upstream_job.id, index=index, reason=failed.detail)
            except Unavailable as exc:
                is_incomplete = True
                missing.append(MissingOutput(index, ErrorCode.PROVIDER_UNREACHABLE, _UNAVAILABLE))
                _log.info("result not available", upstream_job=upstream_job.id, index=index, reason=str(exc))
        if is_incomplete and (not media or self._may_try_again(upstream_job)):
            return Pending(upstream_job=upstream_job, state=COMPLETED)
        cost_nano = await self._prices.cost_nano(model, response.headers.get(_UNITS))
        if failed is not None and not media:
            return failed if cost_nano is None else msgspec.structs.replace(failed, cost_nano=cost_nano)
        return Completed(media=tuple(media), missing=tuple(missing), cost_nano=cost_nano)

    def _may_try_again(self, upstream_job: UpstreamJob) -> bool:
        self._tries[upstream_job.id] = self._tries.get(upstream_job.id, 0) + 1
        return self._tries[upstream_job.id] < _MAX_TRIES

    async def _save(self, output: OutputFile, to: Path) -> ResultFile:
        if output.is_blocked:
            raise ResultError(failures.refused("has_nsfw_concepts"))
        max_bytes = self._max_video_bytes if output.is_video else self._max_image_bytes
        try:
            if output.source[:5].lower() == "data:":
                mime = await asyncio.to_thread(_write_data_url, output.source, to, max_bytes)
            else:
                mime = await self._fetch(output.source, to, max_bytes)
            mime = output.mime or mime
            await asyncio.to_thread(_reject_active_content, to, mime)
        except OSError as exc:
            if exc.errno not in NO_SPACE:
                raise
            raise ResultError(_failed(ErrorCode.STORAGE_FULL, _STORAGE_FULL, str(exc))) from None
        return ResultFile(path=to, reported_mime=mime or None)

    async def _fetch(self, link: str, to: Path, max_bytes: int) -> str:
        try:
            download = await self._api.download(link, to, max_bytes)
        except TooBig as exc:
            raise ResultError(_failed(ErrorCode.RESULT_TOO_LARGE, failures.TOO_BIG, str(exc))) from None
        except AddressNotAllowed as exc:
            raise ResultError(_failed(ErrorCode.RESULT_INVALID, _FORBIDDEN_LINK, str(exc))) from None
        except ClientError as exc:
            raise Unavailable(str(exc)) from None
        if download.status == 200 and download.bytes:
            return download.mime
        raise _no_file(download)


def outputs(body: Any) -> list[OutputFile]:
    """The files in a model's output."""
    content = mapping(body)
    for name in _FIELDS:
        value = content.get(name)
        rows = value if isinstance(value, list) else [value]
        found = [(index, row) for index, row in enumerate(map(_row, rows)) if text(row.get("url"))]
        if found:
            blocked = content.get("has_nsfw_concepts")
            return [
                OutputFile(
                    text(row.get("url")),
                    text(row.get("content_type")) or None,
                    name.startswith("video"),
                    _is_blocked(blocked, index),
                )
                for index, row in found[:MAX_OUTPUTS]
            ]
    return []


def _row(value: Any) -> dict[str, Any]:
    return {"url": value} if isinstance(value, str) else mapping(value)


def _is_blocked(flags: Any, index: int) -> bool:
    if isinstance(flags, list):
        return index < len(flags) and flags[index] is True
    return flags is True


def _no_file(download: Download) -> Exception:
    """Why a download without a file failed."""
    detail = f"the link returned status {download.status} with {download.bytes} bytes"
    if download.status in (403, 404, 410):
        return ResultError(failures.expired(detail))
    if download.status in (408, 409, 425, 429) or download.status >= 500:
        return Unavailable(detail)
    if download.status == 200:
        return ResultError(_failed(ErrorCode.RESULT_INVALID, _INVALID, detail))
    return ResultError(_failed(ErrorCode.PROVIDER_FAILED, _NOT_DOWNLOADED, detail))


def _failed(code: ErrorCode, message: str, detail: str) -> Failed:
    return Failed(code=code, message=message, detail=detail)


def _write_data_url(source: str, to: Path, max_bytes: int) -> str:
    """Write the content of a data URL to a file, and return its media type."""
    head, comma, data = source.partition(",")
    if len(data) * 3 // 4 > max_bytes + 2:
        raise ResultError(_failed(ErrorCode.RESULT_TOO_LARGE, failures.TOO_BIG, f"{len(data)} characters of base64"))
    try:
        content = base64.b64decode(data) if head.lower().endswith(";base64") else unquote_to_bytes(data)
    except ValueError:
        content = b""
    if not comma or not content:
        raise ResultError(_failed(ErrorCode.RESULT_INVALID, _INVALID, "a data URL without valid data"))
    to.write_bytes(content)
    return head[5:].partition(";")[0].strip().lower()


def _reject_active_content(path: Path, mime: str) -> None:
    """Delete SVG and HTML files, because they can contain scripts."""
    with path.open("rb") as file:
        head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    if mime.startswith("image/svg") or head.startswith(b"<"):
        path.unlink()
        raise ResultError(_failed(ErrorCode.RESULT_INVALID, _INVALID, "SVG or HTML: active content is not allowed"))
