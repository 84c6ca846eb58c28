"""Sends the files that a request starts from: small ones within the request, others to fal's storage before it."""

import asyncio
import base64

from app.providers.coerce import mapping, text
from app.providers.contract import ErrorCode, Failed, Failure, InputImage, Retryable
from app.providers.errors import ClientError
from app.providers.failures import FAILED, UNREACHABLE
from app.providers.fal import errors
from app.providers.fal.api import FalApi

_INLINE = 256 * 1024  # bytes; larger files are uploaded


class InputFiles:
    """Turns local files into URLs that fal can read."""

    def __init__(self, api: FalApi) -> None:
        self._api = api

    async def url(self, image: InputImage) -> str:
        """Raises Failure. Nothing is charged for an upload, so it may always be repeated."""
        content = await asyncio.to_thread(image.path.read_bytes)
        if len(content) <= _INLINE:
            return await asyncio.to_thread(_data_url, image.mime, content)
        try:
            return await self._upload(image, content)
        except ClientError as exc:
            raise Failure(
                Retryable(code=ErrorCode.PROVIDER_UNREACHABLE, message=UNREACHABLE, detail=f"upload: {exc}")
            ) from None

    async def _upload(self, image: InputImage, content: bytes) -> str:
        name = f"{image.role}.{image.mime.partition('/')[2]}"
        started = await self._api.initiate_upload(name, image.mime)
        links = mapping(started.body)
        upload_url, file_url = text(links.get("upload_url")), text(links.get("file_url"))
        if started.status not in (200, 201) or not upload_url or not file_url:
            raise Failure(_not_uploaded(errors.detail_of(self._api, started), started.status))
        sent = await self._api.upload(upload_url, content, image.mime)
        if not 200 <= sent.status < 300:
            raise Failure(_not_uploaded(f"PUT: {sent.status}", sent.status))
        return file_url


def _not_uploaded(detail: str, status: int) -> Retryable | Failed:
    if status in (401, 402, 403):
        return errors.denied(status, detail)
    return Retryable(code=ErrorCode.PROVIDER_FAILED, message=FAILED, detail=f"upload: {detail}")


def _data_url(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
