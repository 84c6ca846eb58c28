"""Routes of the OpenAI-compatible API under `/v1`."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import State, UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import Stream

from app.accounts.guards import may_use, signed_in
from app.base.errors import AtelierError, Missing
from app.chat.schemas import ChatRequest
from app.gateway import chat, openai_params, operations
from app.gateway.schemas import DeletedVideo, ModelObject, ModelObjects, VideoObject, VideoObjects
from app.gateway.service import Gateway, UploadedImage
from app.jobs.schemas import Job
from app.providers.contract import Operation
from app.web import forms, sse
from app.web.disconnect import cancel_on_disconnect
from app.web.errors import openai_problem, to_response
from app.web.limits import FILES, PAID
from app.web.ranges import file_response
from app.web.result_headers import result_headers

ApiRequest = Request[Any, Any, State]

MAX_CHAT: Final = 24 * 1024 * 1024  # bytes; messages may contain images
MAX_TEXT: Final = 8 * 1024 * 1024  # bytes of texts to embed
MAX_RECORDING: Final = 36 * 1024 * 1024  # bytes; 25 MB of audio, also in base64
POLL_MS: Final = "2000"  # interval at which a client should poll a video
MAX_PAGE_SIZE: Final = 100
JSON: Final = "application/json"


@get("/models", summary="List models for OpenAI-compatible clients")
async def models(request: ApiRequest, gateway: NamedDependency[Gateway]) -> ModelObjects:
    return ModelObjects(data=[ModelObject.of(model) for model in gateway.models(request.auth.limits)])


@get("/models/{id:path}", summary="Get a model for OpenAI-compatible clients")
async def model(request: ApiRequest, id: FromPath[str], gateway: NamedDependency[Gateway]) -> ModelObject:
    return ModelObject.of(gateway.model(id.lstrip("/"), request.auth.limits))


@post(
    "/chat/completions",
    status_code=200,
    opt=PAID,
    request_max_body_size=MAX_CHAT,
    summary="Create a chat completion, optionally streamed",
)
async def complete(
    request: ApiRequest, data: JSONBody[dict[str, Any]], gateway: NamedDependency[Gateway]
) -> Response[bytes] | Stream:
    """Stops the generation if the client disconnects."""
    streamed = openai_params.flag(data, "stream")
    _check_model(request, data)
    if streamed:
        chat_request = await gateway.parse_chat(request.user.id, data, streamed=True)
        return await _stream(request, gateway, chat_request)
    key = request.headers.get("Idempotency-Key")
    answer = await cancel_on_disconnect(request, gateway.complete(request.user.id, data, key, request.auth.limits))
    message = answer.message
    headers = result_headers(request.scope, message.model or "", answer.provider_seconds, message.cost_nano)
    return Response(await chat.encoded(answer), media_type=JSON, headers=headers)


async def _stream(request: ApiRequest, gateway: Gateway, chat_request: ChatRequest) -> Stream:
    """Wait for the first event before sending headers, so that an early failure gets its own HTTP status."""
    answer, events = await gateway.stream_raw(request.user.id, chat_request, request.auth.limits)
    first = await cancel_on_disconnect(request, anext(events, None))
    if first is None:
        answer.require_complete()
    return Stream(
        chat.chunks(answer, first or (), events),
        media_type="text/event-stream",
        headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            **result_headers(request.scope, chat_request.model.id, answer.first_chunk_seconds, None),
        },
    )


@post("/embeddings", status_code=200, opt=PAID, request_max_body_size=MAX_TEXT, summary="Create embeddings")
async def embed(
    request: ApiRequest, data: JSONBody[dict[str, Any]], gateway: NamedDependency[Gateway]
) -> Response[bytes] | Stream:
    return await _operate(request, gateway, Operation.EMBEDDINGS, data)


@post("/moderations", status_code=200, opt=PAID, request_max_body_size=MAX_CHAT, summary="Classify content")
async def moderate(
    request: ApiRequest, data: JSONBody[dict[str, Any]], gateway: NamedDependency[Gateway]
) -> Response[bytes] | Stream:
    return await _operate(request, gateway, Operation.MODERATIONS, data)


@post("/audio/speech", status_code=200, opt=PAID, summary="Read a text aloud")
async def speak(
    request: ApiRequest, data: JSONBody[dict[str, Any]], gateway: NamedDependency[Gateway]
) -> Response[bytes] | Stream:
    """The audio is streamed as the provider sends it."""
    return await _operate(request, gateway, Operation.SPEECH, data)


@post(
    "/audio/transcriptions",
    status_code=200,
    opt=PAID,
    request_max_body_size=MAX_RECORDING,
    summary="Transcribe a recording",
)
async def transcribe(request: ApiRequest, gateway: NamedDependency[Gateway]) -> Response[bytes] | Stream:
    """Accepts a form with a `file`, or JSON with `input_audio`."""
    if request.content_type[0] == JSON:
        data = await request.json()
        if not isinstance(data, dict):
            raise openai_params.invalid("body", "The request body must be a JSON object.")
        return await _operate(request, gateway, Operation.TRANSCRIPTIONS, data)
    try:
        form = await forms.parsed(request)
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise openai_params.invalid("file", "`file` must be an audio file.")
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        recording = operations.UploadedRecording(await file.read(), file.filename, file.content_type)
        body = await operations.transcription_body(fields, recording)
    finally:
        await forms.close(request)
    return await _operate(request, gateway, Operation.TRANSCRIPTIONS, body)


async def _operate(
    request: ApiRequest, gateway: Gateway, operation: Operation, data: dict[str, Any]
) -> Response[bytes] | Stream:
    """Stops the operation if the client disconnects."""
    body = operations.with_defaults(operation, data)
    _check_model(request, body)
    answer, pieces = await gateway.operate(request.user.id, operation, body, request.auth.limits)
    first = await cancel_on_disconnect(request, operations.first_piece(pieces))
    media_type = operations.media_type_of(answer)
    if first is None or media_type == JSON:  # complete, or only the cost is missing
        await answer.ended.wait()
        message = answer.require_complete()
        headers = result_headers(request.scope, message.model or "", answer.provider_seconds, message.cost_nano)
        return Response(first or b"", media_type=media_type, headers=headers)
    headers = result_headers(request.scope, answer.message.model or "", answer.first_chunk_seconds, None)
    return Stream(operations.rest(answer, first, pieces), media_type=media_type, headers=headers)


@post("/images/generations", status_code=200, opt=PAID, summary="Generate images")
async def generate(
    request: ApiRequest, data: JSONBody[dict[str, Any]], gateway: NamedDependency[Gateway]
) -> Response[bytes] | Stream:
    """Cancels the job if the client disconnects."""
    return await _generate_images(request, data, gateway, None, "image_generation")


@post("/images/edits", status_code=200, opt=PAID, request_max_body_size=FILES, summary="Edit an image")
async def edit(request: ApiRequest, gateway: NamedDependency[Gateway]) -> Response[bytes] | Stream:
    """Generate an image from an uploaded one, which is saved to the library, too."""
    try:
        form = await forms.parsed(request)
        if form.get("mask") is not None:
            raise openai_params.invalid("mask", "`mask` is not supported. Describe the change in the prompt.")
        values = [value for name, value in form.multi_items() if name in ("image", "image[]")]
        files = [value for value in values if isinstance(value, UploadFile)]
        if not files or len(files) < len(values):
            raise openai_params.invalid("image", "`image` must be a file.")
        if len(files) > 1:
            raise openai_params.invalid("image", "Send exactly one input image.")
        upload = await _upload("image", files[0])
        return await _generate_images(request, await forms.read(request), gateway, upload, "image_edit")
    finally:
        await forms.close(request)


async def _generate_images(
    request: ApiRequest, data: dict[str, Any], gateway: Gateway, upload: UploadedImage | None, event: str
) -> Response[bytes] | Stream:
    """`event` is what the types of the events of a streamed answer begin with."""
    _check_model(request, data)
    key, limits = request.headers.get("Idempotency-Key"), request.auth.limits
    if openai_params.flag(data, "stream"):
        started = await cancel_on_disconnect(request, gateway.start_images(request.user.id, data, key, limits, upload))
        return Stream(
            _image_events(gateway, event, started),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Atelier-Model": started.model},
        )
    job = await cancel_on_disconnect(request, gateway.generate_images(request.user.id, data, key, limits, upload))
    content = await gateway.image_response(job, data)
    headers = result_headers(request.scope, job.model, job.seconds or 0.0, job.cost_nano)
    return Response(content, media_type=JSON, headers=headers)


async def _image_events(gateway: Gateway, kind: str, started: Job) -> AsyncGenerator[bytes, None]:
    """Closing the iterator cancels the job."""
    try:
        async with aclosing(gateway.image_events(kind, started)) as events:
            async for event in events:
                yield await asyncio.to_thread(sse.data, event, event=event["type"]) if event else sse.KEEP_ALIVE
    except AtelierError as exc:
        yield sse.data({"type": "error", "error": openai_problem(to_response(exc))}, event="error")


@post("/videos", status_code=200, opt=PAID, request_max_body_size=FILES, summary="Create a video")
async def create(request: ApiRequest, gateway: NamedDependency[Gateway]) -> Response[VideoObject]:
    """Accepts a form or JSON. Returns the job at once; clients poll for the result."""
    if request.content_type[0] == JSON:
        data = await request.json()
        if not isinstance(data, dict):
            raise openai_params.invalid("body", "The request body must be a JSON object.")
        return await _create_video(request, data, gateway, None)
    try:
        file = await forms.file(request, "input_reference")
        upload = await _upload("input_reference", file) if file else None
        return await _create_video(request, await forms.read(request), gateway, upload)
    finally:
        await forms.close(request)


async def _create_video(
    request: ApiRequest, data: dict[str, Any], gateway: Gateway, upload: UploadedImage | None
) -> Response[VideoObject]:
    _check_model(request, data)
    key, limits = request.headers.get("Idempotency-Key"), request.auth.limits
    return _video_response((await gateway.create_video(request.user.id, data, key, limits, upload)).job)


@get("/videos", summary="List videos for OpenAI-compatible clients")
async def list_videos(
    request: ApiRequest,
    gateway: NamedDependency[Gateway],
    after: FromQuery[str | None] = None,
    limit: FromQuery[int] = 20,
    order: FromQuery[str] = "desc",
) -> VideoObjects:
    """Newest first, unless `order` is asc."""
    if order not in ("asc", "desc"):
        raise openai_params.invalid("order", "`order` must be asc or desc.")
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise openai_params.invalid("limit", f"`limit` must be from 1 to {MAX_PAGE_SIZE}.")
    page = await gateway.videos(request.user.id, after, limit, oldest_first=order == "asc")
    data = [VideoObject.of(job) for job in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return VideoObjects(data=data, has_more=page.next is not None, first_id=first, last_id=last)


@get("/videos/{id:str}", summary="Get a video for OpenAI-compatible clients")
async def video(request: ApiRequest, id: FromPath[str], gateway: NamedDependency[Gateway]) -> Response[VideoObject]:
    return _video_response(await gateway.video(request.user.id, id))


@get("/videos/{id:str}/content", summary="Download a video, or its thumbnail with `variant=thumbnail`")
async def video_content(
    request: ApiRequest, id: FromPath[str], gateway: NamedDependency[Gateway], variant: FromQuery[str] = "video"
) -> Response[Any] | Stream:
    if variant not in ("video", "thumbnail"):
        raise openai_params.invalid("variant", "`variant` must be video or thumbnail.")
    small = variant == "thumbnail"
    asset, path = await gateway.content(request.user.id, id, thumbnail=small)
    mime = "image/webp" if small else asset.mime
    try:
        return await file_response(request, path, mime=mime, name=f"{asset.id}{path.suffix}", attachment=True)
    except FileNotFoundError:
        raise Missing("The file has been deleted.") from None


@delete("/videos/{id:str}", status_code=200, summary="Delete a video that is not in progress")
async def delete_video(request: ApiRequest, id: FromPath[str], gateway: NamedDependency[Gateway]) -> DeletedVideo:
    await gateway.delete(request.user.id, id)
    return DeletedVideo(id)


def _check_model(request: ApiRequest, data: dict[str, Any]) -> None:
    """Check the key's access to the model before a file is stored. A missing model is reported later."""
    if isinstance(name := data.get("model"), str) and name.strip():
        may_use(request.auth, name.strip())


async def _upload(field: str, file: UploadFile) -> UploadedImage:
    return UploadedImage(field, forms.chunks(file), file.filename, await forms.content_hash(file))


def _video_response(job: Job) -> Response[VideoObject]:
    headers = {"X-Atelier-Model": job.model, **({} if job.final else {"OpenAI-Poll-After-Ms": POLL_MS})}
    return Response(VideoObject.of(job), headers=headers)


routes = [
    Router(
        "/v1",
        route_handlers=[
            models,
            model,
            complete,
            embed,
            moderate,
            speak,
            transcribe,
            generate,
            edit,
            create,
            list_videos,
            video,
            video_content,
            delete_video,
        ],
        guards=[signed_in],
        include_in_schema=False,
    )
]
