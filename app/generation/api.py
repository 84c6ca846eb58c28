"""Requests to make something, for programs."""

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
from app.base.errors import Invalid, Upstream
from app.base.money import usd
from app.base.once import Once, once
from app.generation.schemas import GenerationRequest
from app.generation.service import Generation
from app.jobs.schemas import Job, JobOut, Status
from app.providers.contract import ErrorCode, Kind, Usage
from app.web import sse
from app.web.limits import PAID
from app.web.openapi import BEARER, Streamed, error_responses
from app.web.sse import UNCOMPRESSED

Program = Request[Any, Any, State]

DEFAULT_WAIT: Final = 55.0  # seconds
MAX_WAIT: Final = 120.0
TEXT_WAIT: Final = 600.0  # a text is answered in the call itself, however long the provider takes

_OWN: Final = ("model", "prompt", "system_prompt", "image_url", "image_asset_id")
_PROPERTIES: Final[dict[str, Any]] = {
    "model": {"type": "string", "description": "An id from `/ai/models`."},
    "prompt": {"type": "string", "description": "What to make, at most 32,000 characters."},
}
_PICTURE: Final[dict[str, Any]] = {
    "image_url": {"type": "string", "format": "uri", "description": "A picture at a public address."},
    "image_asset_id": {"type": "string", "description": "A picture of your library."},
}
_PARAMS: Final = "Further properties are the model's own `parameters` (see `/ai/models`); others are refused."


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
            "system_prompt": {"type": "string", "description": "How the model should behave."},
            "stream": {"type": "boolean", "description": "Whether the words shall come as they are written."},
        },
        {"model": "anthropic/claude-sonnet-5", "prompt": "Three names for a paper boat"},
        open=True,
    ),
]
ImageBody = Annotated[
    dict[str, Any],
    _body(
        ["model", "prompt"],
        {**_PROPERTIES, **_PICTURE},
        {"model": "openai/gpt-image-2", "prompt": "A lighthouse at dawn", "n": 1},
        open=True,
    ),
]
VideoBody = Annotated[
    dict[str, Any],
    _body(
        ["model", "prompt"],
        _PROPERTIES,
        {"model": "google/veo-3.1", "prompt": "A paper boat in a rain gutter", "duration": 4},
        open=True,
    ),
]
PictureVideoBody = Annotated[
    dict[str, Any],
    _body(
        ["model"],
        {**_PROPERTIES, **_PICTURE},
        {"model": "google/veo-3.1", "prompt": "Slow dolly in", "image_asset_id": "01a1fb00000070000000000000000000"},
        open=True,
    ),
]


REPEATED: Final = {200: ResponseSpec(JobOut, description="What the same `Idempotency-Key` asked for before.")}


class TextOut(msgspec.Struct, frozen=True, kw_only=True):
    """A text, recorded as the job `id`; `cost_usd` is a decimal string, null when unknown."""

    id: str
    model: str
    text: str
    usage: Usage | None
    cost_usd: str | None


@post(
    "/text",
    status_code=200,
    responses=error_responses(400, 401, 403, 409, 413, 502),
    opt={**UNCOMPRESSED, **PAID},
    operation_class=Streamed,
    summary="Write a text",
)
async def text(request: Program, data: TextBody, generation: NamedDependency[Generation]) -> Response[TextOut]:
    """Answers with the text itself; with `stream: true` with server-sent events `data: {"delta": "…"}`, last the whole
    answer and `data: [DONE]`."""
    streamed = data.pop("stream", None)
    if not isinstance(streamed, bool | None):
        raise Invalid("The request is not valid.", fields={"stream": "must be true or false"})
    if streamed:
        job, words = await generation.write(request.user.id, _wish(request, data), limits=request.auth.limits)
        return sse.stream(_said(generation, job, words))  # type: ignore[return-value]
    key = _once(request, data)
    made = await generation.make(
        request.user.id,
        Kind.TEXT,
        _wish(request, data),
        from_picture=False,
        once=key,
        limits=request.auth.limits,
    )
    return Response(await _written(generation, made.job))


@post(
    "/image",
    status_code=200,
    opt=PAID,
    responses={
        **error_responses(400, 401, 403, 409, 413, 415, 502),
        202: ResponseSpec(JobOut, description="Not done within the time that `Prefer` allows; ask `/jobs/{id}`."),
    },
    summary="Make pictures",
)
async def image(request: Program, data: ImageBody, generation: NamedDependency[Generation]) -> Response[JobOut]:
    """Waits for the pictures as long as `Prefer: wait=N` says (55 s by itself, at most 120), not at all with
    `Prefer: respond-async`."""
    made = await generation.make(
        request.user.id,
        Kind.IMAGE,
        _wish(request, data),
        once=_once(request, data),
        limits=request.auth.limits,
    )
    job = await generation.wait(made.job, wait_of(request.headers.get("Prefer", "")))
    _check(job)
    return Response(JobOut.of(job), status_code=200 if job.final else 202)


@post(
    "/video",
    status_code=202,
    opt=PAID,
    responses={**REPEATED, **error_responses(400, 401, 403, 409, 413, 415)},
    summary="Make a clip from words",
)
async def video(request: Program, data: VideoBody, generation: NamedDependency[Generation]) -> Response[JobOut]:
    return await _accepted(request, data, generation, from_picture=False)


@post(
    "/video/from-image",
    status_code=202,
    opt=PAID,
    responses={**REPEATED, **error_responses(400, 401, 403, 409, 413, 415)},
    summary="Make a clip that starts from a picture",
)
async def video_from_image(
    request: Program, data: PictureVideoBody, generation: NamedDependency[Generation]
) -> Response[JobOut]:
    return await _accepted(request, data, generation, from_picture=True)


async def _accepted(
    request: Program, data: Mapping[str, Any], generation: Generation, *, from_picture: bool
) -> Response[JobOut]:
    """202 for a new job; 200 for the one that the same request made before."""
    key = _once(request, data)
    try:
        made = await generation.make(
            request.user.id,
            Kind.VIDEO,
            _wish(request, data),
            from_picture=from_picture,
            once=key,
            limits=request.auth.limits,
        )
    except Invalid as exc:
        raise _api_names(exc) from None
    return Response(JobOut.of(made.job), status_code=200 if made.repeated else 202)


def _once(request: Program, data: Mapping[str, Any]) -> Once | None:
    return once(request.headers.get("Idempotency-Key"), request.url.path, data)


class Delta(msgspec.Struct, frozen=True):
    """A piece of a text that is being written."""

    delta: str


async def _said(generation: Generation, job: Job, words: AsyncIterator[str]) -> AsyncIterator[Delta | TextOut]:
    async for word in words:
        yield Delta(word)
    yield await _written(generation, job)


async def _written(generation: Generation, job: Job) -> TextOut:
    job = await generation.wait(job, TEXT_WAIT)
    _check(job)
    if job.status is not Status.COMPLETED:
        raise Upstream("The provider has not answered yet; look at the job later.", details={"job_id": job.id})
    return TextOut(id=job.id, model=job.model, text=job.text or "", usage=job.usage, cost_usd=usd(job.cost_nano))


def wait_of(prefer: str) -> float:
    """Seconds that a `Prefer` header (RFC 7240) allows to wait."""
    if re.search(r"(?:^|[,;\s])respond-async(?:$|[,;\s])", prefer, re.IGNORECASE):
        return 0.0
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", prefer, re.IGNORECASE)
    return min(float(found[1]), MAX_WAIT) if found else DEFAULT_WAIT


def _wish(request: Program, body: Mapping[str, Any]) -> GenerationRequest:
    """The body taken apart; null means not given. Denied when the API key that asks is not for this model."""
    fields = {name: "must be a text" for name in _OWN if not isinstance(body.get(name), str | None)}
    fields |= {name: "must not be empty" for name in _PICTURE if body.get(name) == ""}
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
        params={name: value for name, value in body.items() if name not in _OWN and value is not None},
    )


def _api_names(problem: Invalid) -> Invalid:
    """`picture` is the form's field for a file; programs have other names for it."""
    fields = {name: message for name, message in problem.fields.items() if name != "picture"}
    return Invalid(problem.message, fields=fields, details={k: v for k, v in problem.details.items() if k != "fields"})


def _check(job: Job) -> None:
    """A job that has failed while the caller waited is the caller's error."""
    if job.status is Status.CANCELLED:
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
        route_handlers=[text, image, video, video_from_image],
        guards=[signed_in],
        security=BEARER,
        tags=["Make"],
    )
]
