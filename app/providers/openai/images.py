"""Images: `/images/generations`, or `/images/edits` for a request with images.

An error of 500 or more does not say that nothing was done, so an image is sent again only after a 503.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from app.providers import failures
from app.providers.bodies import EncodedBody, FilePart, form_body, json_body
from app.providers.contract import InputImage, InputRole, Outcome, Request
from app.providers.errors import ClientError
from app.providers.openai.requests import file_part
from app.providers.openai_format import error_responses
from app.providers.openai_format.api import Api
from app.providers.openai_format.image_calls import ImageCalls, rejects_streaming
from app.providers.responses import JsonResponse

_EDITS_ONLY = ("input_fidelity",)


class OpenAIImages:
    """Image generation through one API."""

    def __init__(
        self, api: Api, max_bytes: int, cost: Callable[[str, Any], int | None], *, asks_for_base64: bool
    ) -> None:
        """`cost` returns the cost in nano-dollars of a model's answer."""
        self._api = api
        self._cost = cost
        self._calls = ImageCalls(api, max_bytes)
        self._format = {"response_format": "b64_json"} if asks_for_base64 else {}

    async def submit(self, request: Request, folder: Path) -> Outcome:
        try:
            response = await self._send(request)
            if request.on_preview is not None and rejects_streaming(response):
                response = await self._send(msgspec.structs.replace(request, on_preview=None))
        except ClientError as exc:
            return failures.no_response(exc)
        detail = self._api.detail(f"{response.status} {error_responses.message_of(response)}")
        return await self._calls.outcome(response, folder, detail, self._cost(request.model, response.body))

    async def _send(self, request: Request) -> JsonResponse:
        path = "/images/edits" if request.images else "/images/generations"
        content = await asyncio.to_thread(self._body, request)
        return await self._calls.send(path, content, request, streamed=True)

    def _body(self, request: Request) -> EncodedBody:
        """Reads image files, so call it in a thread."""
        streaming = {} if request.on_preview is None else {"stream": True, "partial_images": request.previews}
        fields = {**self._format, **request.params, **streaming, "model": request.model, "prompt": request.prompt}
        if request.images:
            return form_body(fields, _files(request.images))
        return json_body({name: value for name, value in fields.items() if name not in _EDITS_ONLY})


def _files(images: tuple[InputImage, ...]) -> Iterator[FilePart]:
    """The mask is transparent where the first image is to be changed."""
    shown = [image for image in images if image.role != InputRole.MASK]
    for index, image in enumerate(shown):
        yield file_part("image" if len(shown) == 1 else "image[]", f"image-{index}", image)
    for mask in images:
        if mask.role == InputRole.MASK:
            yield file_part("mask", "mask", mask)
