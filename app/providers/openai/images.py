"""Images: `/images/generations`, or `/images/edits` for a request with images.

An error of 500 or more does not say that nothing was done, so an image is sent again only after a 503.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app.providers import failures
from app.providers.bodies import EncodedBody, FilePart, form_body, json_body
from app.providers.contract import InputImage, InputRole, Outcome, Request
from app.providers.errors import ClientError
from app.providers.openai.requests import file_part
from app.providers.openai_format import error_responses
from app.providers.openai_format.api import Api
from app.providers.openai_format.image_responses import ImageResponses

_EDITS_ONLY = ("input_fidelity",)


class OpenAIImages:
    """Image generation through one API."""

    def __init__(
        self, api: Api, max_bytes: int, cost: Callable[[str, Any], int | None], *, asks_for_base64: bool
    ) -> None:
        """`cost` returns the cost in nano-dollars of a model's answer."""
        self._api = api
        self._cost = cost
        self._responses = ImageResponses(api, max_bytes)
        self._format = {"response_format": "b64_json"} if asks_for_base64 else {}

    async def submit(self, request: Request, folder: Path) -> Outcome:
        path = "/images/edits" if request.images else "/images/generations"
        content = await asyncio.to_thread(self._body, request)
        max_bytes = self._responses.max_bytes(request)
        try:
            response = await self._api.post(path, content, total=self._api.timeouts.image, max_bytes=max_bytes)
        except ClientError as exc:
            return failures.no_response(exc)
        detail = self._api.detail(f"{response.status} {error_responses.message_of(response)}")
        return await self._responses.outcome(response, folder, detail, self._cost(request.model, response.body))

    def _body(self, request: Request) -> EncodedBody:
        """Reads image files, so call it in a thread."""
        params = {**self._format, **request.params}
        if request.images:
            return form_body({**params, **_basics(request)}, _files(request.images))
        generation = {name: value for name, value in params.items() if name not in _EDITS_ONLY}
        return json_body({**generation, **_basics(request)})


def _basics(request: Request) -> dict[str, Any]:
    return {"model": request.model, "prompt": request.prompt}


def _files(images: tuple[InputImage, ...]) -> Iterator[FilePart]:
    """The mask is transparent where the first image is to be changed."""
    shown = [image for image in images if image.role != InputRole.MASK]
    for index, image in enumerate(shown):
        yield file_part("image" if len(shown) == 1 else "image[]", f"image-{index}", image)
    for mask in images:
        if mask.role == InputRole.MASK:
            yield file_part("mask", "mask", mask)
