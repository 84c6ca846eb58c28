"""Chat completions in OpenAI's format: `/v1/chat/completions`.

This is a metering proxy, not a translator: it reads the model, whether to stream, and the images that are ours. Everything else in
the request reaches the provider as it is, and everything in the answer reaches the caller as it came. The provider decides what
its models accept.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from app.base.clock import unix
from app.base.errors import AtelierError
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat.schemas import AnswerFormat, ChatRequest
from app.chat.service import StreamingAnswer
from app.gateway import openai_params
from app.providers.contract import Kind
from app.web import sse
from app.web.errors import openai_problem, to_response

MAX_MESSAGES: Final = 10_000
_MODALITIES: Final = {"image_url": "image", "input_audio": "audio", "video_url": "video"}  # of the types of parts
_ASSET: Final = re.compile(r"/media/([0-9a-f]{32})")


def parse_request(body: Mapping[str, Any], catalog: Catalog, *, streamed: bool) -> ChatRequest:
    """Read what the proxy must know of a request. Raises Invalid or Missing with the name of the invalid field."""
    model = openai_params.require_model(catalog, body, Kind.TEXT)
    messages = body.get("messages")
    if not isinstance(messages, list) or not 1 <= len(messages) <= MAX_MESSAGES:
        raise openai_params.invalid("messages", f"`messages` must be a list of 1 to {MAX_MESSAGES:,} messages.")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise openai_params.invalid(f"messages.{index}", "Each message must be an object with a role.")
    _check_modalities(model, messages)
    return ChatRequest(
        model=model,
        body=dict(body),
        with_usage=_with_usage(body),
        format=AnswerFormat.RAW_STREAM if streamed else AnswerFormat.RAW_WHOLE,
    )


def _check_modalities(model: Model, messages: Sequence[Mapping[str, Any]]) -> None:
    for part in parts(messages):
        modality = _MODALITIES.get(str(part.get("type")))
        if modality and modality not in model.input_modalities:
            raise openai_params.invalid("messages", f"{model.name} does not accept {modality} input.")


def parts(messages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The content parts of all messages."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            yield from (part for part in content if isinstance(part, dict))


def asset_id(part: Mapping[str, Any], origin: str) -> str | None:
    """The id of the asset to which an image part refers with a URL of this server."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    found = _ASSET.fullmatch(url.removeprefix(origin)) if isinstance(url, str) and len(url) < 500 else None
    return found[1] if found else None


def with_images(body: Mapping[str, Any], images: Mapping[str, str], origin: str) -> dict[str, Any]:
    """The request with data URLs (by asset id) in place of the URLs of our own images, which no provider can fetch."""

    def part(given: Any) -> Any:
        id = asset_id(given, origin) if isinstance(given, dict) else None
        if id is None:
            return given
        image = given["image_url"]
        return {**given, "image_url": {**(image if isinstance(image, dict) else {}), "url": images[id]}}

    def message(given: dict[str, Any]) -> dict[str, Any]:
        content = given.get("content")
        return {**given, "content": [part(item) for item in content]} if isinstance(content, list) else given

    return {**body, "messages": [message(item) for item in body["messages"]]}


def _with_usage(body: Mapping[str, Any]) -> bool:
    """Whether a stream may end with an event that has only the token usage."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


async def encoded(answer: StreamingAnswer) -> bytes:
    """The response for a complete answer as JSON. One with images or sound is large, so it is encoded in a thread."""
    response = completion(answer)
    messages = [choice.get("message") for choice in response["choices"]]
    if any(isinstance(message, dict) and (message.get("images") or message.get("audio")) for message in messages):
        return await asyncio.to_thread(msgspec.json.encode, response)
    return msgspec.json.encode(response)


def completion(answer: StreamingAnswer) -> dict[str, Any]:
    """The response for a complete answer: the provider's own. One that was not kept is put together from what was."""
    if answer.reply is not None:
        return answer.reply
    message, usage = answer.message, answer.message.usage
    return {
        "id": f"chatcmpl-{message.id}",
        "object": "chat.completion",
        "created": int(unix(message.created_at)),
        "model": message.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": message.text, "refusal": None},
                "finish_reason": message.finish_reason or "stop",
                "logprobs": None,
            }
        ],
        "usage": usage,
    }


async def chunks(
    answer: StreamingAnswer, first: Sequence[str], events: AsyncGenerator[Sequence[str], None]
) -> AsyncGenerator[bytes, None]:
    """The events of a streamed answer as they came; `first` were read already. Closing the iterator cancels the generation."""
    async with aclosing(events):
        yield _joined(first)
        async for batch in events:
            yield _joined(batch) or b": keep-alive\n\n"
    try:
        answer.require_complete()
    except AtelierError as exc:
        yield sse.data({"error": openai_problem(to_response(exc))})
    yield sse.DONE


def _joined(events: Sequence[str]) -> bytes:
    """Events that arrived together, in one piece."""
    return "".join([f"data: {event}\n\n" for event in events]).encode()
