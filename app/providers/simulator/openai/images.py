"""Images as OpenAI answers them: from a prompt, or from images with an optional mask, in base64 or with links."""

import base64
import hashlib
import io
from collections.abc import AsyncIterator

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from app.providers.simulator import replies, responses, sizes
from app.providers.simulator.faults import strip_faults
from app.providers.simulator.openai.chat import SERVER_ERROR
from app.providers.simulator.openai.image_requests import EditInput, check, edit_input, number, size_of
from app.providers.simulator.openai_format.admission import (
    REFERENCE,
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    read_body,
    record_job,
    require_key,
)
from app.providers.simulator.openai_format.chat_replies import NOT_AN_IMAGE
from app.providers.simulator.openai_format.errors import not_found
from app.providers.simulator.openai_format.forms import read_form
from app.providers.simulator.openai_format.origins import log_visit, other_origin
from app.providers.simulator.openai_format.persona import Persona
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import SimulatedJob

SECONDS = 1.5
TOKENS = {"low": 272, "medium": 1056, "high": 4160, "xhigh": 8000, "max": 16000}
TOKENS_PER_INPUT = 300


@post("/images/generations", guards=[require_key], status_code=200)
async def generations(
    request: PlainRequest, runtime: NamedDependency[Runtime], persona: NamedDependency[Persona]
) -> ASGIApp:
    """Generate images from a prompt."""
    body, digest = await read_body(request, runtime)
    return await _answer(request, runtime, persona, "/images/generations", body, digest, EditInput([], None))


@post("/images/edits", guards=[require_key], status_code=200)
async def edits(request: PlainRequest, runtime: NamedDependency[Runtime], persona: NamedDependency[Persona]) -> ASGIApp:
    """Generate images from images."""
    digest = hashlib.sha256(await request.body()).hexdigest()
    body, files = await read_form(request)
    given = await runtime.render(edit_input, files)
    for file in files:
        await runtime.run_io(runtime.store.save_input, file.data)
    return await _answer(request, runtime, persona, "/images/edits", body, digest, given)


async def _answer(
    request: PlainRequest,
    runtime: Runtime,
    persona: Persona,
    endpoint: str,
    body: JsonObject,
    digest: str,
    given: EditInput,
) -> ASGIApp:
    model = persona.model_for(body, "images")
    own = ("response_format",) if persona.image_links else ()
    check(body, *own, *(("input_fidelity",) if given.images else ()))
    logged = {**body, "images": [_reference(image) for image in given.images]}
    if given.mask is not None:
        logged["mask"] = _reference(given.mask)
    accepted = await admit(
        runtime, endpoint=endpoint, kind="image", model=model, prompt=body["prompt"], body=logged, digest=digest
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    if "ambiguous" in accepted.faults:
        await record_job(runtime, _job(runtime, accepted, given))
        return responses.ClosedConnection()
    await runtime.sleep(SECONDS, accepted.faults)
    return _failed(persona, accepted) or await _generated(request, runtime, persona, accepted, given)


def _reference(image: bytes) -> str:
    return REFERENCE + hashlib.sha256(image).hexdigest()


def _failed(persona: Persona, accepted: AcceptedRequest) -> ASGIApp | None:
    """The response without an image that the prompt requests, if any."""
    if "stuck" in accepted.faults:
        return responses.NoResponse()
    if "fail" in accepted.faults:
        raise SERVER_ERROR
    if accepted.faults & {"error-200", "error-first", "error-in-stream"}:
        return responses.json_response({"error": persona.error(SERVER_ERROR)})
    if "huge" in accepted.faults:
        endless = responses.endless(b'{"data":[{"b64_json":"', b"A" * 64, b'"}]}')
        return responses.StreamedResponse(endless, responses.JSON)
    return None


async def _generated(
    request: PlainRequest, runtime: Runtime, persona: Persona, accepted: AcceptedRequest, given: EditInput
) -> ASGIApp:
    job = _job(runtime, accepted, given)
    await record_job(runtime, job)
    rendered = [await runtime.render(_render, accepted, given, index) for index in range(_count(accepted))]
    if accepted.body.get("stream") in (True, "true"):
        return responses.StreamedResponse(_events(accepted, given, rendered, job.usage), responses.EVENTS)
    with_links = persona.image_links and accepted.body.get("response_format") != "b64_json"
    data = [await _entry(request, runtime, image, with_links=with_links) for image in rendered]
    head = {"created": int(accepted.created_at), **_settings(accepted)}
    whole = responses.json_response({**head, "data": data, "usage": job.usage})
    return responses.damaged(runtime, whole, accepted.faults)


HANDLERS = [generations, edits]


@get("/files/{digest:str}")
async def linked_file(request: PlainRequest, digest: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """An image under its link, on another origin than the service; logs whether the request carried the key."""
    await log_visit(request, runtime, digest)
    try:
        data = await runtime.run_io(runtime.store.read_input, digest)
    except (FileNotFoundError, ValueError):
        raise not_found("The link is invalid or has expired") from None
    return responses.PlainResponse(data, "image/png")


OTHER_ORIGIN_HANDLERS = [linked_file]


async def _entry(request: PlainRequest, runtime: Runtime, image: bytes, *, with_links: bool) -> JsonObject:
    if not with_links:
        return {"b64_json": base64.b64encode(image).decode()}
    digest = await runtime.run_io(runtime.store.save_input, image)
    return {"url": f"{other_origin(request)}/simulator/openai/files/{digest}"}


async def _events(
    accepted: AcceptedRequest, given: EditInput, rendered: list[bytes], usage: JsonObject
) -> AsyncIterator[bytes]:
    name = "image_edit" if given.images else "image_generation"
    head = {"created_at": int(accepted.created_at), **_settings(accepted)}
    for image in rendered:
        content = {"b64_json": base64.b64encode(image).decode(), **head}
        for index in range(number(accepted.body, "partial_images", 0, 0, 3)):
            yield _event({"type": f"{name}.partial_image", "partial_image_index": index, **content})
        if "cut" in accepted.faults:
            return
        yield _event({"type": f"{name}.completed", **content, "usage": usage})


def _event(content: JsonObject) -> bytes:
    return f"event: {content['type']}\n".encode() + responses.event(content)


def _settings(accepted: AcceptedRequest) -> JsonObject:
    body = accepted.body
    width, height = size_of(body)
    return {
        "background": body.get("background") or "opaque",
        "output_format": body.get("output_format") or "png",
        "quality": _quality(body),
        "size": f"{width}x{height}",
    }


def _quality(body: JsonObject) -> str:
    quality = body.get("quality")
    return "medium" if quality in (None, "auto") else str(quality)


def _count(accepted: AcceptedRequest) -> int:
    return 0 if "text-only" in accepted.faults else number(accepted.body, "n", 1, 1, 10)


def _render(accepted: AcceptedRequest, given: EditInput, index: int) -> bytes:
    from app.providers.simulator import images  # late: it loads Pillow

    if "badmedia" in accepted.faults:
        return NOT_AN_IMAGE
    format = accepted.body.get("output_format") or "png"
    data = images.generate(
        strip_faults(accepted.prompt),
        f"{accepted.id}/{index}",
        sizes.STAMP if "stamp" in accepted.faults else size_of(accepted.body),
        references=list(given.images),
        format=format,
        quality=number(accepted.body, "output_compression", 100, 0, 100),
        transparent=accepted.body.get("background") == "transparent" and format != "jpeg",
    )
    return data if given.mask is None else _masked(data, given.images[0], given.mask, format)


def _masked(edited: bytes, original: bytes, mask: bytes, format: str) -> bytes:
    """The edit where the mask is transparent, the original elsewhere."""
    from PIL import Image  # late: it takes a while

    from app.providers.simulator import images

    new = Image.open(io.BytesIO(edited)).convert("RGB")
    kept = Image.open(io.BytesIO(mask)).getchannel("A").resize(new.size)
    out = io.BytesIO()
    Image.composite(images.open_reference(original, new.size), new, kept).save(out, format.upper())
    return out.getvalue()


def _job(runtime: Runtime, accepted: AcceptedRequest, given: EditInput) -> SimulatedJob:
    width, height = size_of(accepted.body)
    output = round(TOKENS[_quality(accepted.body)] * width * height / 1024**2) * _count(accepted)
    text, image = replies.tokens_of(accepted.prompt), TOKENS_PER_INPUT * len(given.images)
    price = {name: float(value) for name, value in accepted.model.pricing.items()}
    cost = text * price["prompt"] + image * price["image"] + output * price["image_output"]
    return SimulatedJob(
        id=accepted.id,
        kind="image",
        model=accepted.model.id,
        prompt=accepted.prompt,
        created_at=accepted.created_at,
        starts_at=accepted.created_at,
        ends_at=runtime.clock.now(),
        seed=0,
        cost=round(cost, 10),
        usage={
            "input_tokens": text + image,
            "input_tokens_details": {"text_tokens": text, "image_tokens": image},
            "output_tokens": output,
            "total_tokens": text + image + output,
        },
    )
