"""The image endpoint: validates parameters strictly, returns base64, and streams if the model supports it."""

import base64
from collections.abc import AsyncIterator

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import replies, responses, sizes
from app.providers.simulator.faults import faults_in, strip_faults
from app.providers.simulator.openai_format.admission import (
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    read_body,
    record_job,
    reference_image,
    require_key,
    visible_usage,
)
from app.providers.simulator.openai_format.chat_replies import NOT_AN_IMAGE, TOKENS_PER_IMAGE
from app.providers.simulator.openai_format.errors import not_found, provider_failed
from app.providers.simulator.openai_format.models import ImageAbility
from app.providers.simulator.openrouter.errors import PROVIDER_ERROR
from app.providers.simulator.openrouter.image_requests import ability_of, check, prompt_of, reference_urls, size_of
from app.providers.simulator.openrouter.persona import model_for
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import SimulatedJob

SECONDS = 1.5
DEFAULT_FILE_QUALITY = 90
COMMON_FIELDS = {"model", "prompt", "stream", "provider", "user", "session_id", "trace"}
PRICE_FACTORS = {"low": 0.3, "medium": 1.0, "high": 4.0, "auto": 1.0}


class ImageResult(msgspec.Struct, frozen=True):
    """A generated image as sent to the client."""

    b64: str
    media_type: str


@post("/images", guards=[require_key], status_code=200)
async def images(request: PlainRequest, runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Generate images from a prompt and, if the model supports it, reference images."""
    body, digest = await read_body(request, runtime)
    model = model_for(body, "images")
    ability = ability_of(model)
    prompt = prompt_of(body)
    for name, value in body.items():
        if name not in COMMON_FIELDS and value is not None:
            check(model, name, value, ability.parameters.get(name))
    size_of(body)
    accepted = await admit(
        runtime, endpoint="/images", kind="image", model=model, prompt=prompt, body=body, digest=digest
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    return await _respond(runtime, accepted, ability)


@post("/images/generations", guards=[require_key], status_code=200)
async def generations(request: PlainRequest, runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The old OpenAI endpoint. The real service lacks it, so it only works for prompts that request it."""
    body, digest = await read_body(request, runtime)
    prompt = str(body.get("prompt") or "")
    if "generations" not in faults_in(prompt, "image"):
        raise not_found("Not Found")
    model = model_for(body, "images")
    ability = ability_of(model)
    for name in ability.parameters:
        if body.get(name) is not None:
            check(model, name, body[name], ability.parameters[name])
    size_of(body)
    accepted = await admit(
        runtime, endpoint="/images/generations", kind="image", model=model, prompt=prompt, body=body, digest=digest
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    return await _respond(runtime, accepted, ability)


HANDLERS = [images, generations]


def _count(accepted: AcceptedRequest) -> int:
    return 0 if "text-only" in accepted.faults else int(accepted.body.get("n") or 1)


# Responses


async def _respond(runtime: Runtime, accepted: AcceptedRequest, ability: ImageAbility) -> ASGIApp:
    if "ambiguous" in accepted.faults:
        await record_job(runtime, _job(runtime, accepted, ability, _count(accepted)))
        return responses.ClosedConnection()
    if accepted.body.get("stream") is True and ability.streams and not accepted.faults & {"fail", "error-200", "huge"}:
        pieces = _events(runtime, accepted, ability)
        return responses.StreamedResponse(
            responses.trickle(runtime, pieces) if "trickle" in accepted.faults else pieces, responses.EVENTS
        )
    await runtime.sleep(SECONDS, accepted.faults)
    if "stuck" in accepted.faults:
        return responses.NoResponse()
    if "fail" in accepted.faults:
        raise provider_failed(accepted.model.name)  # a failed image is not charged
    if accepted.faults & {"error-200", "error-first", "error-in-stream"}:
        return responses.json_response({"error": PROVIDER_ERROR})
    if "huge" in accepted.faults:
        head = f'{{"created":{int(accepted.created_at)},"data":[{{"b64_json":"'.encode()
        return responses.StreamedResponse(responses.endless(head, b"A" * 64, b'"}]}'), responses.JSON)
    rendered = [await runtime.render(_render, runtime, accepted, index) for index in range(_count(accepted))]
    job = _job(runtime, accepted, ability, len(rendered))
    await record_job(runtime, job)
    whole = responses.json_response(
        {
            "created": int(accepted.created_at),
            "data": [_entry(ability, image) for image in rendered],
            "usage": visible_usage(job.usage, accepted.faults),
        }
    )
    return responses.damaged(runtime, whole, accepted.faults)


async def _events(runtime: Runtime, accepted: AcceptedRequest, ability: ImageAbility) -> AsyncIterator[bytes]:
    yield responses.PROCESSING
    if "error-first" in accepted.faults:
        yield responses.event(_error())
        return
    while "stuck" in accepted.faults:
        await runtime.heartbeat()
        yield responses.PROCESSING
    await runtime.sleep(SECONDS / 2, accepted.faults)
    preview = await runtime.render(_render, runtime, accepted, 0, small=True)
    yield responses.event({"type": "image_generation.partial_image", "b64_json": preview.b64, "partial_image_index": 0})
    await runtime.sleep(SECONDS / 2, accepted.faults)
    if "error-in-stream" in accepted.faults:
        yield responses.event(_error())
        return
    if "cut" in accepted.faults:
        return
    count = _count(accepted)
    if not count:
        yield responses.event(
            {
                "type": "image_generation.text_chunk",
                "phase": "content",
                "text": replies.describe(strip_faults(accepted.prompt)),
            }
        )
    # From here on a client is charged even if it disconnects.
    job = _job(runtime, accepted, ability, count)
    await record_job(runtime, job)
    for index in range(count):
        rendered = await runtime.render(_render, runtime, accepted, index)
        yield responses.event(
            {
                "type": "image_generation.completed",
                "b64_json": rendered.b64,
                "media_type": rendered.media_type,
                "created": int(accepted.created_at),
                "usage": visible_usage(job.usage, accepted.faults),
            }
        )
    yield responses.event("[DONE]")


def _error() -> JsonObject:
    error = {
        "message": PROVIDER_ERROR["message"],
        "code": "server_error",
        "param": None,
        "type": "image_generation_server_error",
    }
    return {"type": "error", "error": error}


def _entry(ability: ImageAbility, rendered: ImageResult) -> JsonObject:
    media_type = {"media_type": rendered.media_type} if ability.returns_media_type else {}
    return {"b64_json": rendered.b64, **media_type}


def _render(runtime: Runtime, accepted: AcceptedRequest, index: int, *, small: bool = False) -> ImageResult:
    from app.providers.simulator import images  # late: it loads Pillow

    format = accepted.body.get("output_format") or "png"
    if "badmedia" in accepted.faults:
        return ImageResult(base64.b64encode(NOT_AN_IMAGE).decode(), f"image/{format}")
    width, height = sizes.STAMP if "stamp" in accepted.faults else size_of(accepted.body)
    compression = accepted.body.get("output_compression")
    data = images.generate(
        strip_faults(accepted.prompt),
        f"{_seed(accepted)}/{index}" if index else _seed(accepted),
        (width // 4, height // 4) if small else (width, height),
        references=[reference_image(runtime.store, url) for url in reference_urls(accepted.body)],
        format=format,
        quality=DEFAULT_FILE_QUALITY if compression is None else compression,
        transparent=accepted.body.get("background") == "transparent" and format != "jpeg",
    )
    return ImageResult(base64.b64encode(data).decode(), f"image/{format}")


def _seed(accepted: AcceptedRequest) -> int | str:
    """The requested seed; without one the request id, so that each request gives a different image."""
    seed = accepted.body.get("seed")
    return accepted.id if seed is None else int(seed)


def _job(runtime: Runtime, accepted: AcceptedRequest, ability: ImageAbility, count: int) -> SimulatedJob:
    width, height = size_of(accepted.body)
    cost = ability.price_per_image * count * PRICE_FACTORS.get(str(accepted.body.get("quality") or "auto"), 1.0)
    cost = round(cost * max(1.0, width * height / 1024**2 / 2), 6)
    prompt_tokens, image_tokens = replies.tokens_of(accepted.prompt), TOKENS_PER_IMAGE * count
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": image_tokens,
        "total_tokens": prompt_tokens + image_tokens,
        "cost": cost,
        "is_byok": False,
        "cost_details": {"upstream_inference_cost": None},
        "completion_tokens_details": {"image_tokens": image_tokens},
    }
    return SimulatedJob(
        id=accepted.id,
        kind="image",
        model=accepted.model.id,
        prompt=accepted.prompt,
        created_at=accepted.created_at,
        starts_at=accepted.created_at,
        ends_at=runtime.clock.now(),
        seed=0,
        cost=cost,
        usage=usage,
        streamed=accepted.body.get("stream") is True,
    )
