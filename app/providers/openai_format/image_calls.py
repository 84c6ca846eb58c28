"""Image requests: sent, streamed where previews are wanted, and their responses turned into outcomes, whichever of the known
formats a server uses."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from app.base.config import MB
from app.providers import failures
from app.providers.bodies import EncodedBody
from app.providers.coerce import mapping, rows, text, usage
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Outcome, Request
from app.providers.openai_format import chat_responses, error_responses
from app.providers.openai_format.api import Api
from app.providers.openai_format.chat_responses import ParsedMessage
from app.providers.openai_format.image_stream import ImageStream
from app.providers.openai_format.media import ImageSaver, SaveError
from app.providers.responses import JsonResponse

_SUCCESS = (200, 201)
_NO_STREAMING = re.compile(r"(?i)\bstream|partial_images")
_NO_IMAGE = "The provider returned no image. Change the prompt or choose another model."


class ImageCalls:
    """Calls of one API. `max_bytes` limits one image; `unbilled` are the error statuses of which it says that nothing was
    done."""

    def __init__(self, api: Api, max_bytes: int, unbilled: Collection[int] = ()) -> None:
        self._api = api
        self._max_bytes = max_bytes
        self._unbilled = unbilled

    async def send(self, path: str, content: bytes | EncodedBody, request: Request, *, streamed: bool) -> JsonResponse:
        """The response; with `streamed`, the body asks for a stream, which becomes the same response. Raises ClientError."""
        n = request.params.get("n")
        count = n if isinstance(n, int) else 1
        max_bytes = (max(count, 4) * self._max_bytes * 4) // 3 + MB  # base64 is a third larger than the images
        total = self._api.timeouts.image
        if request.on_preview is None or not streamed:
            return await self._api.post(path, content, total=total, max_bytes=max_bytes)
        async with self._api.stream(path, content, total=total, max_bytes=max_bytes) as events:
            if not events.is_stream:
                return await events.json_response()
            return await ImageStream(events, request.on_preview, max_bytes).read()

    async def outcome(self, response: JsonResponse, folder: Path, detail: str, cost: int | None) -> Outcome:
        if response.status not in _SUCCESS:
            return error_responses.failed(response, Kind.IMAGE, detail, unbilled=self._unbilled)
        reply = chat_responses.parse(response.body)
        if (outcome := chat_responses.unusable(reply, cost, detail)) is not None:
            return outcome
        sources = _sources(response.body, reply)
        if not sources:
            return _without_images(response, reply, cost, detail)
        try:
            media, missing = await ImageSaver(self._api, folder, self._max_bytes).save(sources)
        except SaveError as exc:
            return msgspec.structs.replace(exc.outcome, cost_nano=cost, text=reply.text or None)
        return Completed(
            media=media,
            missing=missing,
            text=reply.text or None,
            usage=usage(response.body),
            cost_nano=cost,
            generation_id=chat_responses.generation_id(response),
        )


def rejects_streaming(response: JsonResponse) -> bool:
    return response.status in (400, 422) and bool(_NO_STREAMING.search(error_responses.message_of(response)))


def _sources(body: Any, reply: ParsedMessage) -> list[tuple[str, str | None]]:
    """Each image as base64, data URL or link, with its reported media type."""
    found: list[tuple[str, str | None]] = [(url, None) for url in reply.images]
    for row in map(mapping, rows(mapping(body).get("data"))):
        source = text(row.get("b64_json")) or text(row.get("url"))
        if source:
            found.append((source, text(row.get("media_type")) or None))
    return found


def _without_images(response: JsonResponse, reply: ParsedMessage, cost: int | None, detail: str) -> Failed:
    if reply.text:
        return chat_responses.no_image(reply, cost, detail)
    recognized = isinstance(mapping(response.body).get("data"), list) or bool(reply.finish)
    return Failed(
        code=ErrorCode.PROVIDER_FAILED if recognized else ErrorCode.RESULT_INVALID,
        message=_NO_IMAGE if recognized else failures.UNREADABLE,
        cost_nano=cost,
        detail=detail,
    )
