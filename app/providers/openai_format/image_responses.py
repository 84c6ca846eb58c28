"""Turns responses with images into outcomes, whichever of the known formats a server uses."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from app.base.config import MB
from app.providers import failures
from app.providers.coerce import mapping, rows, text, usage
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Outcome, Request
from app.providers.openai_format import chat_responses, error_responses
from app.providers.openai_format.api import Api
from app.providers.openai_format.chat_responses import ParsedMessage
from app.providers.openai_format.media import ImageSaver, SaveError
from app.providers.responses import JsonResponse

_SUCCESS = (200, 201)
_NO_IMAGE = "The provider returned no image. Change the prompt or choose another model."


class ImageResponses:
    """Responses of one API. `max_bytes` limits one image; `unbilled` are the error statuses of which it says that nothing was
    done."""

    def __init__(self, api: Api, max_bytes: int, unbilled: Collection[int] = ()) -> None:
        self._api = api
        self._max_bytes = max_bytes
        self._unbilled = unbilled

    def max_bytes(self, request: Request) -> int:
        """The size that a response may have: base64 is a third larger than the images."""
        n = request.params.get("n")
        count = n if isinstance(n, int) else 1
        return (max(count, 4) * self._max_bytes * 4) // 3 + MB

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
            media = await ImageSaver(self._api, folder, self._max_bytes).save(sources)
        except SaveError as exc:
            return msgspec.structs.replace(exc.outcome, cost_nano=cost, text=reply.text or None)
        return Completed(
            media=media,
            text=reply.text or None,
            usage=usage(response.body),
            cost_nano=cost,
            generation_id=chat_responses.generation_id(response),
        )


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
