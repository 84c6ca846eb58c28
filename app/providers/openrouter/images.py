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

from app.providers import failures
from app.providers.coerce import cost_nano
from app.providers.contract import ErrorCode, Failed, Outcome, Request
from app.providers.errors import ClientError
from app.providers.openai_format import chat_requests, error_responses
from app.providers.openai_format.api import Api
from app.providers.openai_format.image_calls import ImageCalls, rejects_streaming
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
_UNBILLED = (502,)  # as documented for images
_CHAT_SLUGS = ("flux", "gpt-5-image-mini")
_WRONG_MODALITIES = re.compile(r"(?i)modalit")
_WRONG_ROUTE = re.compile(r"(?i)not (available|supported|served) (on|at|by|via|through) this (endpoint|route|api)")
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
        self._calls = ImageCalls(api, max_bytes, _UNBILLED)
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
            if _is_streamed(request, route) and rejects_streaming(response):
                request = msgspec.structs.replace(request, on_preview=None)
                continue
            next_route = _next_route(response, route, remaining)
            if next_route is None:
                break
            remaining.remove(next_route)
            route = next_route
        if response.status < 300:
            self._learned[request.model] = route
        detail = self._api.detail(f"{route.name}: {response.status} {error_responses.message_of(response)}")
        return await self._calls.outcome(response, folder, detail, cost_nano(response.body))

    def _first_route(self, request: Request) -> ImageRoute:
        if request.route == "images":
            return IMAGES
        if request.route == "chat-image" or "image" in request.output_modalities:
            return ImageRoute("chat-image", chat_requests.modalities_of(request))
        slug = request.model.lower()
        return CHAT_IMAGE if any(part in slug for part in _CHAT_SLUGS) else self._last_resort

    async def _send(self, request: Request, route: ImageRoute) -> JsonResponse:
        path, content = await asyncio.to_thread(_body, request, route)
        return await self._calls.send(path, content, request, streamed=_is_streamed(request, route))


def _is_streamed(request: Request, route: ImageRoute) -> bool:
    """Whether previews are wanted, and this route can have them."""
    return request.on_preview is not None and route in (IMAGES, GENERATIONS)


def _next_route(response: JsonResponse, route: ImageRoute, remaining: list[ImageRoute]) -> ImageRoute | None:
    """The route to try after this response; None when the response is final."""
    message = error_responses.message_of(response)
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
