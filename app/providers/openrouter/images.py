"""Image generation, on whichever of three routes serves the model.

The catalog names the route. If the model is not listed or the route is wrong, the request is rejected before it reaches
the vendor, so trying the next route costs nothing. The route that worked is remembered for each model.

Only a request that wants previews is streamed. Models without previews ignore this, and servers without streaming reject it.
"""

import asyncio
import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from app.base.config import MB
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Outcome, Request
from app.providers.errors import ClientError
from app.providers.openrouter import chat_requests, chat_responses, failures
from app.providers.openrouter.api import Api
from app.providers.openrouter.chat_responses import ParsedMessage
from app.providers.openrouter.coerce import cost_nano, mapping, rows, text, usage
from app.providers.openrouter.image_stream import ImageStream
from app.providers.openrouter.media import ImageSaver, SaveError
from app.providers.responses import JsonResponse

# Our parameter names -> the names on this route.
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
_SUCCESS = (200, 201)
_CHAT_SLUGS = ("flux", "gpt-5-image-mini")
_WRONG_MODALITIES = re.compile(r"(?i)modalit")
_NO_STREAMING = re.compile(r"(?i)\bstream|partial_images")
_WRONG_ROUTE = re.compile(r"(?i)not (available|supported|served) (on|at|by|via|through) this (endpoint|route|api)")
_NO_IMAGE = "The provider returned no image. Change the prompt or choose another model."
_NO_REFERENCES = "This model does not accept reference images. Remove the image or choose another model."


class ImageRoute(NamedTuple):
    """A route and, for the chat route, the requested output modalities."""

    name: str  # images | chat-image | generations
    modalities: tuple[str, ...] = ()


IMAGES = ImageRoute("images")
GENERATIONS = ImageRoute("generations")
CHAT_IMAGE = ImageRoute("chat-image", ("image",))
CHAT_BOTH = ImageRoute("chat-image", ("image", "text"))


class ImageClient:
    """Image generation through one API."""

    def __init__(self, api: Api, max_bytes: int, *, is_openrouter: bool) -> None:
        self._api = api
        self._max_bytes = max_bytes
        # OpenRouter does not have the /images/generations route, so it is not tried there.
        self._routes = (
            (IMAGES, CHAT_IMAGE, CHAT_BOTH) if is_openrouter else (CHAT_IMAGE, CHAT_BOTH, IMAGES, GENERATIONS)
        )
        self._last_resort = IMAGES if is_openrouter else GENERATIONS
        self._learned: dict[str, ImageRoute] = {}

    async def submit(self, request: Request, folder: Path) -> Outcome:
        route = self._learned.get(request.model) or self._first_route(request)
        remaining = [other for other in self._routes if other != route]
        while True:
            if route == GENERATIONS and request.images:
                return Failed(code=ErrorCode.PROVIDER_FAILED, message=_NO_REFERENCES)
            try:
                response = await self._send(request, route)
            except ClientError as exc:
                return failures.no_response(exc)
            if _is_streamed(request, route) and _rejects_streaming(response):
                request = msgspec.structs.replace(request, on_preview=None)
                continue
            next_route = _next_route(response, route, remaining)
            if next_route is None:
                break
            remaining.remove(next_route)
            route = next_route
        if response.status in _SUCCESS:
            self._learned[request.model] = route
        return await self._outcome(response, route, folder)

    def _first_route(self, request: Request) -> ImageRoute:
        if request.route == "images":
            return IMAGES
        if request.route == "chat-image" or "image" in request.output_modalities:
            return ImageRoute("chat-image", chat_requests.modalities_of(request))
        slug = request.model.lower()
        return CHAT_IMAGE if any(part in slug for part in _CHAT_SLUGS) else self._last_resort

    async def _send(self, request: Request, route: ImageRoute) -> JsonResponse:
        path, content = await asyncio.to_thread(_body, request, route)
        n = request.params.get("n")
        count = n if isinstance(n, int) else 1
        max_bytes = (max(count, 4) * self._max_bytes * 4) // 3 + MB  # base64 is a third larger than the images
        total = self._api.timeouts.image
        if request.on_preview is None or not _is_streamed(request, route):
            return await self._api.post(path, content, total=total, max_bytes=max_bytes)
        async with self._api.stream(path, content, total=total, max_bytes=max_bytes) as events:
            if not events.is_stream:
                return await events.json_response()
            return await ImageStream(events, request.on_preview, max_bytes).read()

    async def _outcome(self, response: JsonResponse, route: ImageRoute, folder: Path) -> Outcome:
        detail = self._api.detail(f"{route.name}: {response.status} {failures.message_of(response)}")
        if response.status not in _SUCCESS:
            return failures.failed(response, Kind.IMAGE, detail)
        cost = cost_nano(response.body)
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


def _is_streamed(request: Request, route: ImageRoute) -> bool:
    """Whether previews are wanted, and this route can have them."""
    return request.on_preview is not None and route in (IMAGES, GENERATIONS)


def _rejects_streaming(response: JsonResponse) -> bool:
    return response.status in (400, 422) and bool(_NO_STREAMING.search(failures.message_of(response)))


def _next_route(response: JsonResponse, route: ImageRoute, remaining: list[ImageRoute]) -> ImageRoute | None:
    """The route to try after this response; None when the response is final."""
    message = failures.message_of(response)
    wrong_modalities = response.status == 404 and bool(_WRONG_MODALITIES.search(message))
    wrong_route = response.status in (400, 404) and bool(_WRONG_ROUTE.search(message))
    if not (wrong_modalities or wrong_route):
        return None
    same_route_first = wrong_modalities and not wrong_route
    return min(remaining, key=lambda other: (other.name == route.name) != same_route_first, default=None)


def _body(request: Request, route: ImageRoute) -> tuple[str, bytes]:
    """The path and JSON body. Reads image files, so call it in a thread."""
    if route.name == "chat-image":
        return chat_requests.PATH, chat_requests.image_body(request, route.modalities)
    body: dict[str, Any] = {"model": request.model, "prompt": request.prompt}
    if _is_streamed(request, route):
        body["stream"] = True
    if route == GENERATIONS:
        body |= {name: request.params[name] for name in _GENERATIONS if name in request.params}
        body |= {"partial_images": request.previews} if _is_streamed(request, route) else {}
        return "/images/generations", msgspec.json.encode(body)
    body |= {upstream: request.params[name] for name, upstream in _IMAGES.items() if name in request.params}
    if request.images:
        body["input_references"] = [chat_requests.image_part(image) for image in request.images]
    return "/images", msgspec.json.encode(body)


def _sources(body: Any, reply: ParsedMessage) -> list[tuple[str, str | None]]:
    """Each image as base64, data URL or link, with its reported media type. Both response formats are read, because
    compatible servers may use either."""
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
