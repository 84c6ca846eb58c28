"""The doors of `/v1`."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import State, UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import Stream

from app.accounts.guards import may_use, signed_in
from app.base.errors import Missing
from app.base.money import usd
from app.chat.schemas import ChatRequest
from app.gateway import chat, openai_params
from app.gateway.schemas import Deleted, ModelObject, Models, Video, Videos
from app.gateway.service import Gateway, Upload
from app.jobs.schemas import Job
from app.web import forms, sse
from app.web.disconnect import cancel_on_disconnect
from app.web.headers import seconds_since
from app.web.limits import FILES, PAID
from app.web.ranges import file_response

Program = Request[Any, Any, State]

MAX_CHAT: Final = 24 * 1024 * 1024  # bytes: pictures come in it
POLL_MS: Final = "2000"  # how long a client shall wait between two looks at a clip
MAX_LISTED: Final = 100
JSON: Final = "application/json"


@get("/models", summary="The models, for OpenAI's clients")
async def models(request: Program, gateway: NamedDependency[Gateway]) -> Models:
    return Models(data=[ModelObject.of(model) for model in gateway.models(request.auth.limits)])


@get("/models/{id:path}", summary="One model, for OpenAI's clients")
async def model(request: Program, id: FromPath[str], gateway: NamedDependency[Gateway]) -> ModelObject:
    return ModelObject.of(gateway.model(id.lstrip("/"), request.auth.limits))


@post(
    "/chat/completions",
    status_code=200,
    opt={**sse.UNCOMPRESSED, **PAID},
    request_max_body_size=MAX_CHAT,
    summary="OpenAI's chat completions, whole or streamed",
)
async def complete(
    request: Program, data: JSONBody[dict[str, Any]], gateway: NamedDependency[Gateway]
) -> Response[bytes] | Stream:
    """Hanging up stops the model."""
    streamed = openai_params.flag(data, "stream")
    ask = gateway.ask(data, streamed=streamed)
    may_use(request.auth, ask.model.id)
    if streamed:
        return await _stream(request, gateway, ask, with_usage=chat.with_usage(data))
    key = request.headers.get("Idempotency-Key")
    live = await cancel_on_disconnect(request, gateway.complete(request.user.id, ask, data, key, request.auth.limits))
    headers = _told(request, ask.model.id, live.waited, live.message.cost_nano)
    return Response(msgspec.json.encode(chat.completion(live)), media_type=JSON, headers=headers)


async def _stream(request: Program, gateway: Gateway, ask: ChatRequest, *, with_usage: bool) -> Stream:
    """Begun before the answer's headers are sent: what fails at once is an error with a status of its own."""
    live, choices = await gateway.stream_raw(request.user.id, ask, request.auth.limits)
    first = await cancel_on_disconnect(request, _first(choices))
    if first is None:
        chat.check(live)
    return Stream(
        chat.chunks(live, first, choices, with_usage=with_usage),
        media_type="text/event-stream",
        headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            **_told(request, ask.model.id, live.until_first, None),
        },
    )


async def _first(choices: AsyncGenerator[Sequence[dict[str, Any]], None]) -> Sequence[dict[str, Any]] | None:
    async for come in choices:
        return come
    return None


@post("/images/generations", status_code=200, opt=PAID, summary="OpenAI's image generation")
async def generate(
    request: Program, data: JSONBody[dict[str, Any]], gateway: NamedDependency[Gateway]
) -> Response[bytes]:
    """Hanging up cancels the job."""
    return await _drawn(request, data, gateway, None)


@post("/images/edits", status_code=200, opt=PAID, request_max_body_size=FILES, summary="OpenAI's image edits")
async def edit(request: Program, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """A new picture that starts from the one that is sent; that one lands in the library too."""
    try:
        form = await forms.parsed(request)
        if form.get("mask") is not None:
            raise openai_params.wrong("mask", "No model here takes a mask: say in the prompt what shall change.")
        given = [value for name, value in form.multi_items() if name in ("image", "image[]")]
        files = [value for value in given if isinstance(value, UploadFile)]
        if not files or len(files) < len(given):
            raise openai_params.wrong("image", "`image` must be a file.")
        if len(files) > 1:
            raise openai_params.wrong("image", "One picture to start from is taken at a time.")
        return await _drawn(request, await forms.read(request), gateway, _upload("image", files[0]))
    finally:
        await forms.close(request)


async def _drawn(request: Program, data: dict[str, Any], gateway: Gateway, upload: Upload | None) -> Response[bytes]:
    if openai_params.flag(data, "stream"):
        raise openai_params.wrong("stream", "Pictures are not streamed: leave `stream` out.")
    _check_model(request, data)
    key, limits = request.headers.get("Idempotency-Key"), request.auth.limits
    job = await cancel_on_disconnect(request, gateway.draw(request.user.id, data, key, limits, upload))
    content = await gateway.pictures(job, data)
    headers = _told(request, job.model, job.seconds or 0.0, job.cost_nano)
    return Response(content, media_type=JSON, headers=headers)


@post("/videos", status_code=200, opt=PAID, request_max_body_size=FILES, summary="OpenAI's video creation")
async def create(request: Program, gateway: NamedDependency[Gateway]) -> Response[Video]:
    """As a form or as JSON; answers at once, the clip is made meanwhile."""
    if request.content_type[0] == JSON:
        data = await request.json()
        if not isinstance(data, dict):
            raise openai_params.wrong("body", "The body must be an object.")
        return await _filmed(request, data, gateway, None)
    try:
        file = await forms.file(request, "input_reference")
        return await _filmed(
            request, await forms.read(request), gateway, _upload("input_reference", file) if file else None
        )
    finally:
        await forms.close(request)


async def _filmed(request: Program, data: dict[str, Any], gateway: Gateway, upload: Upload | None) -> Response[Video]:
    _check_model(request, data)
    key, limits = request.headers.get("Idempotency-Key"), request.auth.limits
    return _shown((await gateway.film(request.user.id, data, key, limits, upload)).job)


@get("/videos", summary="Own clips, for OpenAI's clients")
async def index(
    request: Program,
    gateway: NamedDependency[Gateway],
    after: FromQuery[str | None] = None,
    limit: FromQuery[int] = 20,
    order: FromQuery[str] = "desc",
) -> Videos:
    """Newest first, unless `order` is asc."""
    if order not in ("asc", "desc"):
        raise openai_params.wrong("order", "`order` must be asc or desc.")
    if not 1 <= limit <= MAX_LISTED:
        raise openai_params.wrong("limit", f"`limit` must be from 1 to {MAX_LISTED}.")
    part = await gateway.videos(request.user.id, after, limit, oldest_first=order == "asc")
    data = [Video.of(job) for job in part.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return Videos(data=data, has_more=part.next is not None, first_id=first, last_id=last)


@get("/videos/{id:str}", summary="One own clip, for OpenAI's clients")
async def one(request: Program, id: FromPath[str], gateway: NamedDependency[Gateway]) -> Response[Video]:
    return _shown(await gateway.video(request.user.id, id))


@get("/videos/{id:str}/content", summary="The clip itself, or with `variant=thumbnail` a picture of it")
async def content(
    request: Program, id: FromPath[str], gateway: NamedDependency[Gateway], variant: FromQuery[str] = "video"
) -> Response[Any] | Stream:
    if variant not in ("video", "thumbnail"):
        raise openai_params.wrong("variant", "`variant` must be video or thumbnail.")
    small = variant == "thumbnail"
    clip, path = await gateway.content(request.user.id, id, thumbnail=small)
    mime = "image/webp" if small else clip.mime
    try:
        return await file_response(request, path, mime=mime, name=f"{clip.id}{path.suffix}", attachment=True)
    except FileNotFoundError:
        raise Missing("The file is not there any more.") from None


@delete("/videos/{id:str}", status_code=200, summary="Delete an own clip that is not being made")
async def remove(request: Program, id: FromPath[str], gateway: NamedDependency[Gateway]) -> Deleted:
    await gateway.delete(request.user.id, id)
    return Deleted(id)


def _check_model(request: Program, data: dict[str, Any]) -> None:
    """Before a file is taken; that a model is named at all is checked with everything else."""
    if isinstance(name := data.get("model"), str) and name.strip():
        may_use(request.auth, name.strip())


def _upload(field: str, file: UploadFile) -> Upload:
    return Upload(field, forms.chunks(file), file.filename)


def _shown(job: Job) -> Response[Video]:
    headers = {"X-Atelier-Model": job.model, **({} if job.final else {"OpenAI-Poll-After-Ms": POLL_MS})}
    return Response(Video.of(job), headers=headers)


def _told(request: Program, model: str, upstream: float, cost_nano: int | None) -> dict[str, str]:
    """The model, what it cost when that is known by now, and the milliseconds that were ours and not the provider's."""
    cost = usd(cost_nano)
    return {
        "X-Atelier-Model": model,
        "X-Atelier-Overhead-Ms": f"{max(0.0, seconds_since(request.scope) - upstream) * 1000:.1f}",
        **({"X-Atelier-Cost-Usd": cost} if cost is not None else {}),
    }


routes = [
    Router(
        "/v1",
        route_handlers=[models, model, complete, generate, edit, create, index, one, content, remove],
        guards=[signed_in],
        include_in_schema=False,
    )
]
