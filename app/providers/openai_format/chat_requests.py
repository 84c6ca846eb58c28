"""The JSON bodies of `POST /chat/completions`: text, and images from models that are served on this route."""

import asyncio
import base64
from typing import Any

import msgspec

from app.providers.coerce import mapping
from app.providers.contract import InputImage, Request

PATH = "/chat/completions"
_INLINE = 256 * 1024  # characters of a conversation that are encoded on the event loop; longer ones in a thread


class ChatDialect(msgspec.Struct, frozen=True, kw_only=True):
    """In what servers differ. `max_tokens` is the name of the token limit; with `asks_for_usage`, a stream has the usage only when
    the request asks for it."""

    max_tokens: str = "max_tokens"
    asks_for_usage: bool = False


async def text_body(request: Request, dialect: ChatDialect, *, stream: bool) -> bytes:
    """The body of a text request. Encoded in a thread when it is large: images or a long conversation."""
    if sum(map(_length, _contents(request))) < _INLINE:
        return _text_body(request, dialect, stream=stream)
    return await asyncio.to_thread(_text_body, request, dialect, stream=stream)


def image_body(request: Request, modalities: tuple[str, ...]) -> bytes:
    """The body of an image request. Reads image files, so call it in a thread. This route has no `n` and no negative prompt."""
    names = ("aspect_ratio", "image_size", "strength", "style")
    config = {name: request.params[name] for name in names if name in request.params}
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": "user", "content": _content(request)}],
        "modalities": list(modalities),
    }
    if config:
        body["image_config"] = config
    if "seed" in request.params:
        body["seed"] = request.params["seed"]
    return msgspec.json.encode(body)


def modalities_of(request: Request) -> tuple[str, ...]:
    """The model's exact output modalities: any other set is answered with 404."""
    return tuple(name for name in ("image", "text") if name in request.output_modalities) or ("image",)


def image_part(image: InputImage) -> dict[str, Any]:
    """An image part with a data URL: every route accepts this form, and it needs no public URL."""
    encoded = base64.b64encode(image.path.read_bytes()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{image.mime};base64,{encoded}"}}


def _text_body(request: Request, dialect: ChatDialect, *, stream: bool) -> bytes:
    body = _own_body(request, dialect) if request.body is None else request.body
    body = {**body, "model": request.model}
    if stream:
        body["stream"] = True
    if stream and dialect.asks_for_usage:
        body["stream_options"] = {**mapping(body.get("stream_options")), "include_usage": True}
    return msgspec.json.encode(body)


def _own_body(request: Request, dialect: ChatDialect) -> dict[str, Any]:
    params = {dialect.max_tokens if name == "max_tokens" else name: value for name, value in request.params.items()}
    if request.messages:
        return {**params, "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages]}
    return {**params, "messages": [{"role": "user", "content": _content(request)}]}


def _contents(request: Request) -> list[Any]:
    """What makes a request large. The messages of a whole request count as large unless they are plain text."""
    if request.body is not None:
        return [message.get("content") for message in request.body["messages"]]
    return [turn.content for turn in request.messages] if request.messages else [[]]


def _length(content: object) -> int:
    """Characters of text content. Other content counts as large, so that it is encoded in a thread."""
    return len(content) if isinstance(content, str) else 0 if content is None else _INLINE


def _content(request: Request) -> str | list[dict[str, Any]]:
    if not request.images:
        return request.prompt
    return [{"type": "text", "text": request.prompt}, *(image_part(image) for image in request.images)]
