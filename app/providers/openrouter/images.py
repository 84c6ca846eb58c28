"""Pictures, over whichever of three routes the model is served on.

The catalogue says which; where it does not know the model or is wrong, a route that is not the model's is answered with an
error before any maker is called, so trying the next one costs nothing. What was learned so is remembered per model.
"""

import asyncio
import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from app.providers.client import MB, Answer, ClientError
from app.providers.contract import Completed, Failed, Kind, Outcome, Request
from app.providers.contract import ErrorCode as Code
from app.providers.openrouter import chat, failures
from app.providers.openrouter.api import Api
from app.providers.openrouter.coerce import cost_nano, mapping, rows, text, usage
from app.providers.openrouter.media import Pictures, Unsaved

# Ours and theirs: what the contract calls `image_size` is `resolution` on this route.
_IMAGES = {
    "n": "n",
    "aspect_ratio": "aspect_ratio",
    "image_size": "resolution",
    "size": "size",
    "quality": "quality",
    "background": "background",
    "output_format": "output_format",
    "output_compression": "output_compression",
    "negative_prompt": "negative_prompt",
    "seed": "seed",
}
_GENERATIONS = ("n", "size", "quality", "background", "output_format", "output_compression")
_DONE = (200, 201)
_CHAT_SLUGS = ("flux", "gpt-5-image-mini")
_WRONG_MODALITIES = re.compile(r"(?i)modalit")
_WRONG_ROUTE = re.compile(r"(?i)not (available|supported|served) (on|at|by|via|through) this (endpoint|route|api)")
_EMPTY = "The provider sent no picture. Change the prompt, or choose another model."
_NO_REFERENCES = "This model takes no reference pictures here. Remove the picture or choose another model."


class ImageRoute(NamedTuple):
    """A route, and on the chat route the outputs that are asked for."""

    route: str  # images | chat-image | generations
    modalities: tuple[str, ...] = ()


IMAGES = ImageRoute("images")
GENERATIONS = ImageRoute("generations")
CHAT_IMAGE = ImageRoute("chat-image", ("image",))
CHAT_BOTH = ImageRoute("chat-image", ("image", "text"))


class Images:
    """Pictures over one API."""

    def __init__(self, api: Api, max_bytes: int, *, is_openrouter: bool) -> None:
        self._api = api
        self._max_bytes = max_bytes
        # OpenRouter answers 404 on the old route, so there it is not even tried.
        self._ways = (IMAGES, CHAT_IMAGE, CHAT_BOTH) if is_openrouter else (CHAT_IMAGE, CHAT_BOTH, IMAGES, GENERATIONS)
        self._last_resort = IMAGES if is_openrouter else GENERATIONS
        self._learned: dict[str, ImageRoute] = {}

    async def submit(self, request: Request, folder: Path) -> Outcome:
        way = self._learned.get(request.model) or self._first(request)
        left = [other for other in self._ways if other != way]
        while True:
            if way == GENERATIONS and request.pictures:
                return Failed(code=Code.PROVIDER_FAILED, message=_NO_REFERENCES)
            try:
                answer = await self._send(request, way)
            except ClientError as exc:
                return failures.unanswered(exc)
            following = _next(answer, way, left)
            if following is None:
                break
            left.remove(following)
            way = following
        if answer.status in _DONE:
            self._learned[request.model] = way
        return await self._outcome(answer, way, folder)

    def _first(self, request: Request) -> ImageRoute:
        if request.route == "images":
            return IMAGES
        if request.route == "chat-image" or "image" in request.output_modalities:
            return ImageRoute("chat-image", chat.modalities_of(request))
        slug = request.model.lower()
        return CHAT_IMAGE if any(part in slug for part in _CHAT_SLUGS) else self._last_resort

    async def _send(self, request: Request, way: ImageRoute) -> Answer:
        path, content = await asyncio.to_thread(_body, request, way)
        pictures = request.params.get("n")
        count = pictures if isinstance(pictures, int) else 1
        room = (max(count, 4) * self._max_bytes * 4) // 3 + MB  # base64 is a third larger than the pictures
        return await self._api.post(path, content, total=self._api.patience.image, max_bytes=room)

    async def _outcome(self, answer: Answer, way: ImageRoute, folder: Path) -> Outcome:
        detail = self._api.detail(f"{way.route}: {answer.status} {failures.message_of(answer)}")
        if answer.status not in _DONE:
            return failures.failed(answer, Kind.IMAGE, detail)
        cost = cost_nano(answer.body)
        reply = chat.read(answer.body)
        if (outcome := chat.unusable(reply, cost, detail)) is not None:
            return outcome
        sources = _sources(answer.body, reply)
        if not sources:
            return _nothing(answer, reply, cost, detail)
        try:
            media = await Pictures(self._api, folder, self._max_bytes).keep(sources)
        except Unsaved as exc:
            return exc.outcome(cost, reply.text or None)
        return Completed(
            media=media,
            text=reply.text or None,
            usage=usage(answer.body),
            cost_nano=cost,
            generation_id=chat.generation_id(answer),
        )


def _next(answer: Answer, way: ImageRoute, left: list[ImageRoute]) -> ImageRoute | None:
    """The way to try after this answer; None when the answer is to be taken as it is."""
    message = failures.message_of(answer)
    modalities = answer.status == 404 and bool(_WRONG_MODALITIES.search(message))
    route = answer.status in (400, 404) and bool(_WRONG_ROUTE.search(message))
    if not (modalities or route):
        return None
    same_route_first = modalities and not route
    return min(left, key=lambda other: (other.route == way.route) != same_route_first, default=None)


def _body(request: Request, way: ImageRoute) -> tuple[str, bytes]:
    """Path and JSON; reads the pictures, so it belongs in a thread."""
    if way.route == "chat-image":
        return chat.PATH, chat.picture_body(request, way.modalities)
    body: dict[str, Any] = {"model": request.model, "prompt": request.prompt}
    if way == GENERATIONS:
        body |= {name: request.params[name] for name in _GENERATIONS if name in request.params}
        return "/images/generations", msgspec.json.encode(body)
    body |= {theirs: request.params[ours] for ours, theirs in _IMAGES.items() if ours in request.params}
    if request.pictures:
        body["input_references"] = [chat.image_part(picture) for picture in request.pictures]
    return "/images", msgspec.json.encode(body)


def _sources(body: Any, reply: chat.Reply) -> list[tuple[str, str | None]]:
    """Each picture as base64, a data URL or a link, and what it is said to be. Both shapes of answer are looked through:
    a server that is only compatible may use either."""
    found: list[tuple[str, str | None]] = [(url, None) for url in reply.pictures]
    for row in map(mapping, rows(mapping(body).get("data"))):
        source = text(row.get("b64_json")) or text(row.get("url"))
        if source:
            found.append((source, text(row.get("media_type")) or None))
    return found


def _nothing(answer: Answer, reply: chat.Reply, cost: int | None, detail: str) -> Failed:
    if reply.text:
        return chat.no_picture(reply, cost, detail)
    understood = isinstance(mapping(answer.body).get("data"), list) or bool(reply.finish)
    return Failed(
        code=Code.PROVIDER_FAILED if understood else Code.RESULT_INVALID,
        message=_EMPTY if understood else failures.UNREADABLE,
        cost_nano=cost,
        detail=detail,
    )
