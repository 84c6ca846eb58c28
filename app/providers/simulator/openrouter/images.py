"""The dedicated image endpoint: strict about parameters, answers in base64, streams where the model can."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import replies, responses, sizes
from app.providers.simulator.faults import asked, without
from app.providers.simulator.openrouter.catalog import Descriptor, ImageAbility, Model
from app.providers.simulator.openrouter.chat import GARBLED, NOT_A_PICTURE, PICTURE_TOKENS
from app.providers.simulator.openrouter.errors import Refusal, bad, missing
from app.providers.simulator.openrouter.gate import (
    Ask,
    Body,
    Plain,
    admit,
    billed,
    model_for,
    picture_of,
    read,
    settle,
    with_key,
)
from app.providers.simulator.stage import Stage
from app.providers.simulator.state import Job

SECONDS = 1.5
QUALITY_OF_FILE = 90
ALWAYS = {"model", "prompt", "stream", "provider", "user", "session_id", "trace"}
QUALITY = {"low": 0.3, "medium": 1.0, "high": 4.0, "auto": 1.0}


class Drawn(msgspec.Struct, frozen=True):
    """A finished picture as it goes over the wire."""

    b64: str
    media_type: str


@post("/images", guards=[with_key], status_code=200)
async def images(request: Plain, stage: NamedDependency[Stage]) -> ASGIApp:
    """Pictures from a prompt, and from reference pictures where the model takes them."""
    body, digest = await read(request, stage)
    model = model_for(body, "images")
    ability = _ability(model)
    prompt = _prompt(body)
    for name, value in body.items():
        if name not in ALWAYS and value is not None:
            _check(model, name, value, ability.parameters.get(name))
    _size(body)
    ask = await admit(stage, endpoint="/images", kind="image", model=model, prompt=prompt, body=body, digest=digest)
    if not isinstance(ask, Ask):
        return ask
    return await _answer(stage, ask, ability)


@post("/images/generations", guards=[with_key], status_code=200)
async def generations(request: Plain, stage: NamedDependency[Stage]) -> ASGIApp:
    """The old OpenAI address. The service has none; it answers only when the prompt asks for it."""
    body, digest = await read(request, stage)
    prompt = str(body.get("prompt") or "")
    if "generations" not in asked(prompt, "image"):
        raise missing("Not Found")
    model = model_for(body, "images")
    ability = _ability(model)
    for name in ability.parameters:
        if body.get(name) is not None:
            _check(model, name, body[name], ability.parameters[name])
    _size(body)
    ask = await admit(
        stage, endpoint="/images/generations", kind="image", model=model, prompt=prompt, body=body, digest=digest
    )
    if not isinstance(ask, Ask):
        return ask
    return await _answer(stage, ask, ability)


HANDLERS = [images, generations]


# What was asked


def _ability(model: Model) -> ImageAbility:
    if model.image is None:
        raise missing(f"{model.id} is not available on this endpoint")
    return model.image


def _prompt(body: Body) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise bad("prompt: Required", "invalid_prompt")
    return prompt


def _check(model: Model, name: str, value: Any, descriptor: Descriptor | None) -> None:
    """A parameter that the model lacks is refused, not ignored."""
    if descriptor is None:
        raise bad(f"{model.id} does not support the parameter {name}")
    if name == "input_references":
        return _check_references(value, descriptor)
    if descriptor["type"] == "enum" and value not in descriptor["values"]:
        raise bad(f"{name}: expected one of {', '.join(descriptor['values'])}")
    if name == "seed" and (not isinstance(value, int) or isinstance(value, bool)):
        raise bad("seed: expected a whole number")
    if descriptor["type"] == "range":
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not descriptor["min"] <= value <= descriptor["max"]:
            raise bad(f"{name}: expected a whole number from {descriptor['min']} to {descriptor['max']}")
    return None


def _check_references(value: Any, descriptor: Descriptor) -> None:
    if not isinstance(value, list) or len(value) > descriptor["max"]:
        raise bad(f"input_references: expected at most {descriptor['max']} pictures")
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "image_url":
            raise bad("input_references: every entry needs the type image_url")
        url = part.get("image_url")
        if not isinstance(url, dict) or not isinstance(url.get("url"), str):
            raise bad("input_references: image_url needs a url")


def _size(body: Body) -> tuple[int, int]:
    """The pixels asked for. Words about the size that contradict each other are refused."""
    size, ratio, tier = body.get("size"), body.get("aspect_ratio"), body.get("resolution")
    if not all(isinstance(word, str | None) for word in (size, ratio, tier)):
        raise bad("size, aspect_ratio and resolution are text")
    try:
        if size is None or size in sizes.TIERS:
            return sizes.picture_size(ratio, size or tier)
        exact = sizes.pixels(size)
        if exact is None:
            raise bad(f"size: {size} is not a size")
        if ratio not in (None, "auto") and not sizes.same_shape(exact, ratio):
            raise bad(f"size {size} contradicts aspect_ratio {ratio}")
        return exact
    except (ValueError, ZeroDivisionError) as exc:
        raise bad(f"aspect_ratio: {ratio} is not a shape") from exc


def _count(ask: Ask) -> int:
    return 0 if "words-only" in ask.faults else int(ask.body.get("n") or 1)


# What is answered


async def _answer(stage: Stage, ask: Ask, ability: ImageAbility) -> ASGIApp:
    if "ambiguous" in ask.faults:
        await settle(stage, _job(stage, ask, ability, _count(ask)))
        return responses.HungUp()
    if ask.body.get("stream") is True and ability.streams and not ask.faults & {"fail", "error-200", "huge"}:
        pieces = _events(stage, ask, ability)
        return responses.Streamed(
            responses.trickle(stage, pieces) if "trickle" in ask.faults else pieces, responses.EVENTS
        )
    await stage.take(SECONDS, ask.faults)
    if "stuck" in ask.faults:
        return responses.Silent()
    if "fail" in ask.faults:
        # A picture that fails is not charged.
        raise Refusal(
            502,
            "Provider returned error",
            "provider_unavailable",
            provider_name=ask.model.name.partition(":")[0],
            provider_code="internal",
        )
    if ask.faults & {"error-200", "error-first", "error-in-stream"}:
        return responses.json_answer({"error": GARBLED})
    if "huge" in ask.faults:
        head = f'{{"created":{int(ask.created)},"data":[{{"b64_json":"'.encode()
        return responses.Streamed(responses.endless(head, b"A" * 64, b'"}]}'), responses.JSON)
    drawn = [await stage.draw(_draw, stage, ask, place) for place in range(_count(ask))]
    job = _job(stage, ask, ability, len(drawn))
    await settle(stage, job)
    whole = responses.json_answer(
        {
            "created": int(ask.created),
            "data": [_entry(ability, picture) for picture in drawn],
            "usage": billed(job.usage, ask.faults),
        }
    )
    if "cut" in ask.faults:
        return responses.Cut(whole)
    if "trickle" in ask.faults:
        return responses.Streamed(responses.trickle(stage, responses.once(whole.body)), responses.JSON)
    return whole


async def _events(stage: Stage, ask: Ask, ability: ImageAbility) -> AsyncIterator[bytes]:
    yield responses.PROCESSING
    if "error-first" in ask.faults:
        yield responses.event(_error())
        return
    while "stuck" in ask.faults:
        await stage.breathe()
        yield responses.PROCESSING
    await stage.take(SECONDS / 2, ask.faults)
    preview = await stage.draw(_draw, stage, ask, 0, small=True)
    yield responses.event({"type": "image_generation.partial_image", "b64_json": preview.b64, "partial_image_index": 0})
    await stage.take(SECONDS / 2, ask.faults)
    if "error-in-stream" in ask.faults:
        yield responses.event(_error())
        return
    if "cut" in ask.faults:
        return
    count = _count(ask)
    if not count:
        yield responses.event(
            {"type": "image_generation.text_chunk", "phase": "content", "text": replies.describe(without(ask.prompt))}
        )
    # A client that hangs up from here on is charged all the same.
    job = _job(stage, ask, ability, count)
    await settle(stage, job)
    for place in range(count):
        drawn = await stage.draw(_draw, stage, ask, place)
        yield responses.event(
            {
                "type": "image_generation.completed",
                "b64_json": drawn.b64,
                "media_type": drawn.media_type,
                "created": int(ask.created),
                "usage": billed(job.usage, ask.faults),
            }
        )
    yield responses.event("[DONE]")


def _error() -> Body:
    error = {
        "message": GARBLED["message"],
        "code": "server_error",
        "param": None,
        "type": "image_generation_server_error",
    }
    return {"type": "error", "error": error}


def _entry(ability: ImageAbility, drawn: Drawn) -> Body:
    named = {"media_type": drawn.media_type} if ability.names_media_type else {}
    return {"b64_json": drawn.b64, **named}


def _draw(stage: Stage, ask: Ask, place: int, *, small: bool = False) -> Drawn:
    from app.providers.simulator import images

    format = ask.body.get("output_format") or "png"
    if "badmedia" in ask.faults:
        return Drawn(base64.b64encode(NOT_A_PICTURE).decode(), f"image/{format}")
    width, height = sizes.STAMP if "stamp" in ask.faults else _size(ask.body)
    packed = ask.body.get("output_compression")
    data = images.generate(
        without(ask.prompt),
        f"{_seed(ask)}/{place}" if place else _seed(ask),
        (width // 4, height // 4) if small else (width, height),
        references=[picture_of(stage.memory, url) for url in _reference_urls(ask.body)],
        format=format,
        quality=QUALITY_OF_FILE if packed is None else packed,
        transparent=ask.body.get("background") == "transparent" and format != "jpeg",
    )
    return Drawn(base64.b64encode(data).decode(), f"image/{format}")


def _seed(ask: Ask) -> int | str:
    """Without a seed every request is a throw of its own."""
    seed = ask.body.get("seed")
    return ask.id if seed is None else int(seed)


def _reference_urls(body: Body) -> list[str]:
    return [part["image_url"]["url"] for part in body.get("input_references") or []]


def _job(stage: Stage, ask: Ask, ability: ImageAbility, count: int) -> Job:
    width, height = _size(ask.body)
    cost = ability.per_picture * count * QUALITY.get(str(ask.body.get("quality") or "auto"), 1.0)
    cost = round(cost * max(1.0, width * height / 1024**2 / 2), 6)
    prompt_tokens, drawn = replies.tokens_of(ask.prompt), PICTURE_TOKENS * count
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": drawn,
        "total_tokens": prompt_tokens + drawn,
        "cost": cost,
        "is_byok": False,
        "cost_details": {"upstream_inference_cost": None},
        "completion_tokens_details": {"image_tokens": drawn},
    }
    return Job(
        id=ask.id,
        kind="image",
        model=ask.model.id,
        prompt=ask.prompt,
        created=ask.created,
        runs=ask.created,
        ends=stage.clock.now(),
        seed=0,
        cost=cost,
        usage=usage,
        streamed=ask.body.get("stream") is True,
    )
