"""API routes that generate text, images and videos."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, Router, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body

from app.accounts.guards import may_use, signed_in
from app.base import clock
from app.base.errors import Invalid, Upstream
from app.base.money import usd
from app.catalog.schemas import CostBasis
from app.generation.schemas import GenerationRequest, InputIn, RequestedInput
from app.generation.service import Generation
from app.idempotency.schemas import IdempotencyKey
from app.jobs.schemas import Job, JobInputRole, JobOut, JobStatus
from app.providers.contract import ErrorCode, Kind, Usage
from app.web import sse
from app.web.limits import PAID
from app.web.openapi import BEARER, StreamedOperation, error_responses

ApiRequest = Request[Any, Any, State]

DEFAULT_WAIT: Final = 55.0  # seconds
MAX_WAIT: Final = 120.0
TEXT_WAIT: Final = 600.0  # text is returned in the response itself, however long the provider takes

_OWN_FIELDS: Final = ("model", "prompt", "system_prompt", "image_url", "image_asset_id", "mask_asset_id")
_PROPERTIES: Final[dict[str, Any]] = {
    "model": {"type": "string", "description": "A model id from `/ai/models`."},
    "prompt": {"type": "string", "description": "The prompt, at most 32,000 characters."},
}
_ENHANCE: Final[dict[str, Any]] = {
    "enhance": {
        "type": "boolean",
        "description": "Whether a text model rewrites the prompt first. Both prompts are kept, and its cost is that of a text job.",
    }
}
_IMAGE: Final[dict[str, Any]] = {
    "image_url": {"type": "string", "format": "uri", "description": "The public URL of the input image."},
    "image_asset_id": {"type": "string", "description": "The id of an image in your library."},
    "mask_asset_id": {
        "type": "string",
        "description": "The id of a mask in your library, of the size of the image: short for an input with the role `mask`."
        " White is generated, or else what is transparent; it is converted to what the model expects.",
    },
    "inputs": {
        "type": "array",
        "description": "Input files in the roles that the model takes (`inputs` in `/ai/models`), at most 16.",
        "items": {
            "type": "object",
            "properties": {
                "role": {"enum": [role.value for role in JobInputRole]},
                "asset_id": {"type": "string"},
                "url": {"type": "string", "format": "uri"},
                "weight": {"type": "number"},
            },
            "required": ["role"],
        },
    },
}
_NOT_PARAMS: Final = (*_OWN_FIELDS, "inputs")
_PARAMS: Final = (
    "Additional properties are the model's `parameters` (see `/ai/models`). Unknown properties are rejected."
)


def _body(required: list[str], properties: dict[str, Any], example: dict[str, Any], *, open: bool) -> Any:
    return Body(
        description=_PARAMS if open else None,
        schema_extra={
            "type": "object",
            "properties": properties,
            "required": required,
            "additional_properties": open,
            "examples": [example],
        },
    )


TextBody = Annotated[
    dict[str, Any],
    _body(
        ["model", "prompt"],
        {
            **_PROPERTIES,
            "system_prompt": {"type": "string", "description": "Instructions for the model."},
            "stream": {"type": "boolean", "description": "Stream the text as server-sent events."},
        },
        {"model": "anthropic/claude-sonnet-5", "prompt": "Three names for a paper boat"},
        open=True,
    ),
]
ImageBody = Annotated[
    dict[str, Any],
    _body(
        ["model", "prompt"],
        {**_PROPERTIES, **_ENHANCE, **_IMAGE},
        {"model": "openai/gpt-image-2", "prompt": "A lighthouse at dawn", "n": 1},
        open=True,
    ),
]
VideoBody = Annotated[
    dict[str, Any],
    _body(
        ["model", "prompt"],
        {**_PROPERTIES, **_ENHANCE},
        {"model": "google/veo-3.1", "prompt": "A paper boat in a rain gutter", "duration": 4},
        open=True,
    ),
]
ImageToVideoBody = Annotated[
    dict[str, Any],
    _body(
        ["model"],
        {**_PROPERTIES, **_ENHANCE, **_IMAGE},
        {"model": "google/veo-3.1", "prompt": "Slow dolly in", "image_asset_id": "01a1fb00000070000000000000000000"},
        open=True,
    ),
]


EstimateBody = Annotated[
    dict[str, Any],
    _body(
        ["model"],
        {**_PROPERTIES, **_ENHANCE, **_IMAGE},
        {"model": "google/veo-3.1", "duration": 4},
        open=True,
    ),
]


REPEATED: Final = {200: ResponseSpec(JobOut, description="The existing job of this `Idempotency-Key`.")}


class TextOut(msgspec.Struct, frozen=True, kw_only=True):
    """Generated text and the `id` of its job; `cost_usd` is a decimal string, null when unknown."""

    id: str
    model: str
    text: str
    usage: Usage | None
    cost_usd: str | None


@post(
    "/text",
    status_code=200,
    responses=error_responses(400, 401, 403, 409, 413, 502),
    opt=PAID,
    operation_class=StreamedOperation,
    summary="Generate text",
)
async def text(request: ApiRequest, data: TextBody, generation: NamedDependency[Generation]) -> Response[TextOut]:
    """Returns the text. With `stream: true` it is sent as server-sent events `data: {"delta": "…"}`, followed by the
    complete response and `data: [DONE]`."""
    stream = data.pop("stream", None)
    if not isinstance(stream, bool | None):
        raise Invalid("The request is not valid.", fields={"stream": "must be true or false"})
    if stream:
        job, deltas = await generation.stream_text(
            request.user.id, _generation_request(request, data, may_enhance=False), limits=request.auth.limits
        )
        return sse.stream(_events(generation, job, deltas))  # type: ignore[return-value]
    key = _key(request, data)
    accepted = await generation.submit(
        request.user.id,
        Kind.TEXT,
        _generation_request(request, data, may_enhance=False),
        from_image=False,
        key=key,
        limits=request.auth.limits,
    )
    return Response(await _text_out(generation, accepted.job))


@post(
    "/image",
    status_code=200,
    opt=PAID,
    responses={
        **error_responses(400, 401, 403, 409, 413, 415, 502),
        202: ResponseSpec(JobOut, description="The job has not ended within the requested wait. Poll `/jobs/{id}`."),
    },
    summary="Generate images",
)
async def image(request: ApiRequest, data: ImageBody, generation: NamedDependency[Generation]) -> Response[JobOut]:
    """Text to image, or image to image with an input image. Waits up to `Prefer: wait=N` seconds for the result (default
    55, at most 120); `Prefer: respond-async` does not wait."""
    accepted = await generation.submit(
        request.user.id,
        Kind.IMAGE,
        _generation_request(request, data),
        key=_key(request, data),
        limits=request.auth.limits,
    )
    job = await generation.wait(accepted.job, parse_wait(request.headers.get("Prefer", "")))
    _check(job)
    return Response(JobOut.of(job), status_code=200 if job.final else 202)


@post(
    "/video",
    status_code=202,
    opt=PAID,
    responses={**REPEATED, **error_responses(400, 401, 403, 409, 413, 415, 502)},
    summary="Text to video",
)
async def video(request: ApiRequest, data: VideoBody, generation: NamedDependency[Generation]) -> Response[JobOut]:
    return await _accepted(request, data, generation, from_image=False)


@post(
    "/video/from-image",
    status_code=202,
    opt=PAID,
    responses={**REPEATED, **error_responses(400, 401, 403, 409, 413, 415, 502)},
    summary="Image to video",
)
async def video_from_image(
    request: ApiRequest, data: ImageToVideoBody, generation: NamedDependency[Generation]
) -> Response[JobOut]:
    return await _accepted(request, data, generation, from_image=True)


async def _accepted(
    request: ApiRequest, data: Mapping[str, Any], generation: Generation, *, from_image: bool
) -> Response[JobOut]:
    """202 with a new job, or 200 with the existing job of a repeated request."""
    key = _key(request, data)
    try:
        accepted = await generation.submit(
            request.user.id,
            Kind.VIDEO,
            _generation_request(request, data),
            from_image=from_image,
            key=key,
            limits=request.auth.limits,
        )
    except Invalid as exc:
        raise _without_form_fields(exc) from None
    return Response(JobOut.of(accepted.job), status_code=200 if accepted.repeated else 202)


def _key(request: ApiRequest, data: Mapping[str, Any]) -> IdempotencyKey | None:
    return IdempotencyKey.of(request.user.id, request.headers.get("Idempotency-Key"), request.url.path, data)


class CostOut(msgspec.Struct, frozen=True, kw_only=True):
    """Decimal strings in USD; both are the same where the cost is certain."""

    min: str
    max: str


class SecondsOut(msgspec.Struct, frozen=True, kw_only=True):
    """Median and 90th percentile of past jobs."""

    p50: float
    p90: float


class EstimateOut(msgspec.Struct, frozen=True, kw_only=True):
    """`cost_usd` and `seconds` are null when unknown. `basis` of the cost: `formula` of the model, `history` of jobs with the same
    settings, or the provider's `prices`."""

    cost_usd: CostOut | None
    seconds: SecondsOut | None
    basis: CostBasis | None


@post(
    "/estimate",
    status_code=200,
    responses=error_responses(400, 401, 403, 413),
    summary="Estimate the cost and time of a request",
)
async def estimate(request: ApiRequest, data: EstimateBody, generation: NamedDependency[Generation]) -> EstimateOut:
    """The body of any of the requests above; nothing is generated. Unknown is null, never 0."""
    wanted = _generation_request(request, data)
    model = generation.choose_model(wanted.model)
    found = await generation.estimate(model, generation.check(model, wanted.params))
    cost, known = found.cost, found.median is not None and found.p90 is not None
    return EstimateOut(
        cost_usd=CostOut(min=usd(cost.least) or "0", max=usd(cost.most) or "0") if cost else None,
        seconds=SecondsOut(p50=round(found.median or 0, 1), p90=round(found.p90 or 0, 1)) if known else None,
        basis=cost.basis if cost else None,
    )


class Delta(msgspec.Struct, frozen=True):
    """A piece of text."""

    delta: str


async def _events(generation: Generation, job: Job, deltas: AsyncIterator[str]) -> AsyncIterator[Delta | TextOut]:
    async for delta in deltas:
        yield Delta(delta)
    yield await _text_out(generation, job)


async def _text_out(generation: Generation, job: Job) -> TextOut:
    job = await generation.wait(job, TEXT_WAIT)
    _check(job)
    if job.status is not JobStatus.COMPLETED:
        wait = (job.run_at - clock.now()).total_seconds() if job.run_at and job.status is JobStatus.QUEUED else None
        message = "The provider has not responded yet. Check the job later."
        raise Upstream(message, details={"job_id": job.id}, retry_after=wait)
    return TextOut(id=job.id, model=job.model, text=job.text or "", usage=job.usage, cost_usd=usd(job.cost_nano))


def parse_wait(prefer: str) -> float:
    """Seconds to wait, from a `Prefer` header (RFC 7240)."""
    if re.search(r"(?:^|[,;\s])respond-async(?:$|[,;\s])", prefer, re.IGNORECASE):
        return 0.0
    match = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", prefer, re.IGNORECASE)
    return min(float(match[1]), MAX_WAIT) if match else DEFAULT_WAIT


def _generation_request(request: ApiRequest, body: Mapping[str, Any], *, may_enhance: bool = True) -> GenerationRequest:
    """The validated body; null means not given. Raises Denied when the API key does not allow the model."""
    enhance = body.get("enhance") if may_enhance else None
    not_params = (*_NOT_PARAMS, "enhance") if may_enhance else _NOT_PARAMS
    fields = {name: "must be a string" for name in _OWN_FIELDS if not isinstance(body.get(name), str | None)}
    fields |= {name: "must not be empty" for name in _IMAGE if body.get(name) == ""}
    if not isinstance(enhance, bool | None):
        fields["enhance"] = "must be true or false"
    if fields:
        raise Invalid("The request is not valid.", fields=fields)
    model = (body.get("model") or "").strip()
    if model:
        may_use(request.auth, model)
    return GenerationRequest(
        model=model,
        prompt=body.get("prompt") or "",
        system_prompt=body.get("system_prompt"),
        image_url=body.get("image_url"),
        image_asset_id=body.get("image_asset_id"),
        inputs=_inputs(body),
        enhance=bool(enhance),
        params={name: value for name, value in body.items() if name not in not_params and value is not None},
    )


def _inputs(body: Mapping[str, Any]) -> tuple[RequestedInput, ...]:
    """The files in `inputs`, and the mask of `mask_asset_id`."""
    given = body.get("inputs") or []
    if not isinstance(given, list):
        raise Invalid("The request is not valid.", fields={"inputs": "must be a list"})
    found = tuple(_input(each, f"inputs.{index}") for index, each in enumerate(given))
    if mask := body.get("mask_asset_id"):
        found += (RequestedInput(role=JobInputRole.MASK, asset_id=mask, field="mask_asset_id"),)
    return found


def _input(given: Any, field: str) -> RequestedInput:
    try:
        found = msgspec.convert(given, InputIn)
    except msgspec.ValidationError as exc:
        raise Invalid("The request is not valid.", fields={field: str(exc)}) from None
    return found.requested(field)


def _without_form_fields(error: Invalid) -> Invalid:
    """The error without `image`, which is a field of the page's form only."""
    fields = {name: message for name, message in error.fields.items() if name != "image"}
    return Invalid(error.message, fields=fields, details={k: v for k, v in error.details.items() if k != "fields"})


def _check(job: Job) -> None:
    """Raises the error of a job that failed or was cancelled while the request waited."""
    if job.status is JobStatus.CANCELLED:
        raise Upstream("The job was cancelled.", details={"job_id": job.id, "code": "CANCELLED"})
    if job.error is None:
        return
    details = {"job_id": job.id, "code": job.error.code.value}
    if job.error.code is ErrorCode.PROVIDER_REFUSED:
        raise Invalid(job.error.message, details=details)
    raise Upstream(job.error.message, details=details)


routes = [
    Router(
        "/api/v1/generate",
        route_handlers=[text, image, video, video_from_image, estimate],
        guards=[signed_in],
        security=BEARER,
        tags=["Generation"],
    )
]
