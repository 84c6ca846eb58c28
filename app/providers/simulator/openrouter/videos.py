"""Video jobs: a submit returns at once, the status follows from the clock, and the video is downloaded separately."""

import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Any

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from app.providers.simulator import responses, sizes
from app.providers.simulator.faults import faults_in, strip_faults
from app.providers.simulator.openrouter.account import generation_id
from app.providers.simulator.openrouter.admission import (
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    model_for,
    read_body,
    record_job,
    reference_image,
    require_key,
    visible_usage,
)
from app.providers.simulator.openrouter.catalog import SimulatedModel, VideoAbility
from app.providers.simulator.openrouter.errors import ErrorAnswer, bad_request, not_found
from app.providers.simulator.openrouter.webhooks import WebhookSender
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import SimulatedJob

WAITING = 2.0
RUNNING = 6.0
RUNNING_PER_VIDEO_SECOND = 0.5
LINK_SECONDS = 3600
MAX_FRAME_PIXELS = 2560 * 1080
"""Pixels; a larger frame would keep a small machine busy for minutes."""
MP4 = "video/mp4"
NOT_A_VIDEO = b"This is not a video. " * 200
MP4_HEAD = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
OUTCOMES = {"fail": "failed", "expire": "expired", "cancelled": "cancelled"}
UNKNOWN_STATUS = "awaiting_review"
ERROR_MESSAGES = {
    "failed": "The provider could not generate the video",
    "expired": "The video took too long and expired",
    "cancelled": "The video was cancelled by the provider",
}


class VideoSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of the video that a request asks for."""

    size: tuple[int, int]
    seconds: int
    audio: bool


# Submit


@post("/videos", guards=[require_key], status_code=202)
async def submit(request: PlainRequest, runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Accept a video job; returns 202 with the polling URL."""
    body, digest = await read_body(request, runtime)
    model = model_for(body, "videos")
    video = _ability(model)
    prompt = _prompt(body, video)
    _check(body, video)
    await runtime.run_io(_check_images, runtime, body)
    accepted = await admit(
        runtime, endpoint="/videos", kind="video", model=model, prompt=prompt, body=body, digest=digest
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    job = _job(runtime, accepted, video)
    await record_job(runtime, job)
    webhooks: WebhookSender | None = request.app.state.webhooks
    if webhooks is not None and body.get("callback_url"):
        runtime.run_in_background(webhooks.send(job, body["callback_url"]))
    if "ambiguous" in accepted.faults:
        return responses.ClosedConnection()
    content = {"id": job.id, "polling_url": _polling_url(request, job, accepted.faults), "status": "pending"}
    return responses.json_response(content, 202)


def _ability(model: SimulatedModel) -> VideoAbility:
    if model.video is None:
        raise not_found(f"{model.id} is not available on this endpoint")
    return model.video


def _prompt(body: JsonObject, video: VideoAbility) -> str:
    prompt = body.get("prompt")
    if prompt is None and video.needs_frame:
        return ""
    if not isinstance(prompt, str) or not prompt.strip():
        raise bad_request("prompt: Required", "invalid_prompt")
    return prompt


def _check(body: JsonObject, video: VideoAbility) -> None:
    for name, values in (
        ("resolution", video.resolutions),
        ("aspect_ratio", video.aspect_ratios),
        ("duration", video.durations),
        ("size", video.sizes),
    ):
        value = body.get(name)
        if value is not None and values is not None and value not in values:
            raise bad_request(f"{name}: expected one of {', '.join(map(str, values))}")
    if not all(isinstance(body.get(name), str | None) for name in ("resolution", "aspect_ratio", "size")):
        raise bad_request("resolution, aspect_ratio and size must be strings")
    if body.get("resolution") is not None and body["resolution"] not in sizes.VIDEO_HEIGHTS:
        raise bad_request(f"resolution: expected one of {', '.join(sizes.VIDEO_HEIGHTS)}")
    duration = body.get("duration")
    if duration is not None and (
        not isinstance(duration, int) or isinstance(duration, bool) or not 1 <= duration <= 20
    ):
        raise bad_request("duration: expected a whole number of seconds")
    if body.get("generate_audio") is True and video.audio is False:
        raise bad_request("generate_audio: this model does not generate audio")
    if body.get("seed") is not None and (video.seed is False or not isinstance(body["seed"], int)):
        raise bad_request("seed: not supported, or not a whole number")
    callback = body.get("callback_url")
    if callback is not None and not str(callback).startswith("https://"):
        raise bad_request("callback_url: must be an https URL")
    _check_frames(body, video)
    _spec(body, video)


def _check_frames(body: JsonObject, video: VideoAbility) -> None:
    for part in _parts(body, "frame_images"):
        if part.get("type") != "image_url" or part.get("frame_type") not in ("first_frame", "last_frame"):
            raise bad_request("frame_images: expected type image_url and frame_type first_frame or last_frame")
        if part["frame_type"] not in (video.frame_images or []):
            raise bad_request(f"frame_images: this model does not support {part['frame_type']}")
    for part in _parts(body, "input_references"):
        if part.get("type") not in ("image_url", "audio_url", "video_url"):
            raise bad_request("input_references: each entry must have the type image_url, audio_url or video_url")
        if not video.references:
            raise bad_request("input_references: this model does not support references")
    if video.needs_frame and "first_frame" not in [part["frame_type"] for part in _parts(body, "frame_images")]:
        raise bad_request("frame_images: this model requires a first_frame")


def _parts(body: JsonObject, name: str) -> list[JsonObject]:
    parts = body.get(name) or []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise bad_request(f"{name}: expected a list of objects")
    for part in parts:
        image = part.get("image_url")
        if part.get("type") == "image_url" and not (isinstance(image, dict) and isinstance(image.get("url"), str)):
            raise bad_request(f"{name}: image_url needs a url")
    return parts


def _check_images(runtime: Runtime, body: JsonObject) -> None:
    from app.providers.simulator import images

    for part in [*_parts(body, "frame_images"), *_parts(body, "input_references")]:
        if part.get("type") == "image_url":
            image = reference_image(runtime.store, part["image_url"]["url"])
            if isinstance(image, bytes) and not images.is_readable(image):
                raise bad_request("A reference could not be read as an image", "invalid_image")


def _spec(body: JsonObject, video: VideoAbility) -> VideoSpec:
    size = body.get("size")
    try:
        exact = sizes.pixels(str(size)) if size else None
        if size and exact is None:
            raise bad_request(f"size: {size} is not a valid size")
        exact = exact or sizes.video_size_in_pixels(
            body.get("aspect_ratio"), body.get("resolution") or _default_resolution(video)
        )
    except (ValueError, ZeroDivisionError) as exc:
        raise bad_request(f"aspect_ratio: {body.get('aspect_ratio')} is not an aspect ratio") from exc
    if exact[0] * exact[1] > MAX_FRAME_PIXELS:
        raise bad_request("size: the video is too large")
    audio = body.get("generate_audio")
    return VideoSpec(
        size=(exact[0] // 2 * 2, exact[1] // 2 * 2),
        seconds=body.get("duration") or video.default_duration,
        audio=bool(video.audio if audio is None else audio),
    )


def _default_resolution(video: VideoAbility) -> str:
    return "720p" if video.resolutions is None or "720p" in video.resolutions else video.resolutions[0]


def _job(runtime: Runtime, accepted: AcceptedRequest, video: VideoAbility) -> SimulatedJob:
    spec = _spec(accepted.body, video)
    outcome = next((OUTCOMES[name] for name in OUTCOMES if name in accepted.faults), "completed")
    starts_at = accepted.created_at + runtime.scaled(WAITING, accepted.faults)
    ends_at = starts_at + runtime.scaled(RUNNING + RUNNING_PER_VIDEO_SECOND * spec.seconds, accepted.faults)
    cost = _price(video, spec, accepted.body) if outcome == "completed" else 0.0
    seed = accepted.body.get("seed")
    return SimulatedJob(
        id=accepted.id,
        kind="video",
        model=accepted.model.id,
        prompt=accepted.prompt,
        created_at=accepted.created_at,
        starts_at=starts_at,
        ends_at=None if "stuck" in accepted.faults else ends_at,
        outcome=outcome,
        seed=seed if isinstance(seed, int) else secrets.randbelow(2**31),
        cost=cost,
        usage={"cost": cost, "is_byok": False},
        request=accepted.body,
    )


def _price(video: VideoAbility, spec: VideoSpec, body: JsonObject) -> float:
    skus = video.skus
    if "cents_per_second_output" in skus:
        return round(float(skus["cents_per_second_output"]) / 100 * spec.seconds, 6)
    sound = "with" if spec.audio else "without"
    resolution = body.get("resolution") or _default_resolution(video)
    for name in (f"duration_seconds_{sound}_audio", f"duration_seconds_{resolution}", "duration_seconds"):
        if name in skus:
            return round(float(skus[name]) * spec.seconds, 6)
    return round(max(map(float, skus.values()), default=0.0) * spec.seconds, 6)


# Poll


@get("/videos/{job_id:str}", guards=[require_key])
async def poll(request: PlainRequest, job_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The status of a video job."""
    job = await _find(runtime, job_id)
    return responses.json_response(await _state(request, runtime, job))


async def _find(runtime: Runtime, job_id: str) -> SimulatedJob:
    job = await runtime.run_io(runtime.store.job, job_id)
    if job is None or job.kind != "video":
        raise not_found(f"Video job {job_id} not found")
    return job


async def _state(request: PlainRequest, runtime: Runtime, job: SimulatedJob) -> JsonObject:
    faults = faults_in(job.prompt, "video")
    status = status_of(job, runtime.clock.now())
    if "odd-state" in faults and (
        status == "in_progress"
        or (status == "completed" and await runtime.run_io(runtime.store.first_time, "odd-state", job.id))
    ):
        status = UNKNOWN_STATUS
    state: JsonObject = {"id": job.id, "polling_url": _polling_url(request, job, faults), "status": status}
    if status == "completed":
        state["generation_id"] = generation_id(job.id)
        state.update(_links(request, runtime, job, faults))
        state["usage"] = visible_usage(job.usage, faults)
    elif status in ERROR_MESSAGES:
        state["generation_id"] = generation_id(job.id)
        state["error"] = ERROR_MESSAGES[status]
    return state


def status_of(job: SimulatedJob, now: float) -> str:
    """The status of a job as this service names it, derived from the job and the clock."""
    return {"waiting": "pending", "running": "in_progress", "ended": job.outcome}[job.phase(now)]


def _polling_url(request: PlainRequest, job: SimulatedJob, faults: frozenset[str]) -> str:
    path = f"/api/v1/videos/{job.id}"
    if "foreign-poll" in faults:
        return f"{_other_origin(request)}/simulator/openrouter/foreign/{job.id}"
    return f"{_own_origin(request)}{path}" if "absolute" in faults else path


def _links(request: PlainRequest, runtime: Runtime, job: SimulatedJob, faults: frozenset[str]) -> JsonObject:
    content = f"{_own_origin(request)}/api/v1/videos/{job.id}/content?index=0"
    if "no-urls" in faults:
        return {}
    if "video_url" in faults:
        return {"video_url": content}
    links: JsonObject = {"unsigned_urls": [content]}
    if "urls" in faults:
        expires_at = int(job.ends_at or job.created_at) + LINK_SECONDS
        token = _token(runtime, job.id, expires_at)
        signed = f"{_own_origin(request)}/simulator/openrouter/signed/{job.id}?token={token}&expires_at={expires_at}"
        links.update(urls=[signed], expires_at=expires_at)
    return links


def _own_origin(request: PlainRequest) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _other_origin(request: PlainRequest) -> str:
    """This server under another host name, which makes it a different origin."""
    host, port = request.url.hostname or "", request.url.port
    other = "127.0.0.1" if host == "localhost" else "localhost"
    return f"{request.url.scheme}://{other}{f':{port}' if port else ''}"


def _token(runtime: Runtime, job_id: str, expires_at: int) -> str:
    return hmac.new(runtime.store.secret, f"{job_id} {expires_at}".encode(), hashlib.sha256).hexdigest()


# Download


@get("/videos/{job_id:str}/content", guards=[require_key])
async def content(request: PlainRequest, job_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Download a completed video."""
    job = await _find(runtime, job_id)
    if request.query_params.get("index", "0") != "0":
        raise not_found("There is no video with this index")
    faults = faults_in(job.prompt, "video")
    _check_fetchable(runtime, job, faults)
    if "notyet" in faults and await runtime.run_io(runtime.store.first_time, "notyet", job.id):
        raise ErrorAnswer(409, "The video is not ready yet")
    if "redirect" in faults:
        target = f"{_other_origin(request)}/simulator/openrouter/redirected/{job.id}"
        return responses.PlainResponse(b"", "text/plain", 302, {"location": target})
    return await _video_response(runtime, job, faults)


def _check_fetchable(runtime: Runtime, job: SimulatedJob, faults: frozenset[str]) -> None:
    status = status_of(job, runtime.clock.now())
    if status in ("pending", "in_progress"):
        raise ErrorAnswer(409, f"The video is not ready: {status}")
    if status == "expired" or "gone" in faults:
        raise ErrorAnswer(410, "The video is gone")
    if status != "completed":
        raise not_found("This job has no video")


async def _video_response(runtime: Runtime, job: SimulatedJob, faults: frozenset[str]) -> ASGIApp:
    if "badmedia" in faults:
        return responses.PlainResponse(NOT_A_VIDEO, MP4)
    if "huge" in faults:
        return responses.StreamedResponse(responses.endless(MP4_HEAD, bytes(1024)), MP4)
    path = await runtime.render_once(job.id, _render, runtime, job)
    if "cut" in faults:
        return responses.TruncatedResponse(responses.PlainResponse(await runtime.run_io(path.read_bytes), MP4))
    if "trickle" in faults:
        return responses.StreamedResponse(
            responses.trickle(runtime, responses.single_chunk(await runtime.run_io(path.read_bytes))), MP4
        )
    return await responses.file_response(runtime, path, MP4)


def _render(runtime: Runtime, job: SimulatedJob) -> Path:
    """Path of the video, rendered if it is missing. It depends only on the job, so the file may be deleted at any time."""
    from app.providers.simulator import videos

    def frame(kind: str) -> bytes | str | None:
        for part in _parts(job.request, "frame_images"):
            if part["frame_type"] == kind:
                return reference_image(runtime.store, part["image_url"]["url"])
        return None

    first = frame("first_frame")
    spec = _spec(_with_frame_ratio(job.request, first), _ability(model_for(job.request, "videos")))
    references = [
        reference_image(runtime.store, part["image_url"]["url"])
        for part in _parts(job.request, "input_references")
        if part["type"] == "image_url"
    ]
    video = videos.Video(
        prompt=strip_faults(job.prompt),
        seed=job.seed,
        size=sizes.STAMP if "stamp" in faults_in(job.prompt, "video") else spec.size,
        seconds=spec.seconds,
        audio=spec.audio,
        first=first or (references[0] if references else None),
        last=frame("last_frame"),
    )
    return videos.cached(runtime.store.videos / f"{job.id}.mp4", video)


def _with_frame_ratio(request: JsonObject, first: bytes | str | None) -> JsonObject:
    """The request with the aspect ratio of the first frame, if it has no size or aspect ratio."""
    from app.providers.simulator import images

    if not isinstance(first, bytes) or request.get("size") or request.get("aspect_ratio"):
        return request
    width, height = images.size_of(first)
    across = min(21 / 9, max(9 / 21, width / height))
    return {**request, "aspect_ratio": f"{across:.4f}:1"}


# Other origins, without an API key


@get("/signed/{job_id:str}")
async def signed(request: PlainRequest, job_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Download a video by its signed URL."""
    await _log_visit(request, runtime, job_id)
    expires_at = request.query_params.get("expires_at", "")
    valid = expires_at.isdigit() and hmac.compare_digest(
        _token(runtime, job_id, int(expires_at)).encode(), request.query_params.get("token", "").encode()
    )
    if not valid or int(expires_at) < runtime.clock.now():
        raise ErrorAnswer(403, "This URL is invalid or has expired", "permission_denied")
    job = await _find(runtime, job_id)
    faults = faults_in(job.prompt, "video")
    _check_fetchable(runtime, job, faults)
    return await _video_response(runtime, job, faults)


@get("/redirected/{job_id:str}")
async def redirected(request: PlainRequest, job_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The target of a redirected download; logs whether the request carried the API key."""
    await _log_visit(request, runtime, job_id)
    job = await _find(runtime, job_id)
    faults = faults_in(job.prompt, "video")
    _check_fetchable(runtime, job, faults)
    return await _video_response(runtime, job, faults)


@get("/foreign/{job_id:str}")
async def foreign(request: PlainRequest, job_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The target of a foreign polling URL."""
    await _log_visit(request, runtime, job_id)
    return responses.json_response(await _state(request, runtime, await _find(runtime, job_id)))


async def _log_visit(request: PlainRequest, runtime: Runtime, job_id: str) -> None:
    visit: dict[str, Any] = {
        "time": time.time(),
        "id": job_id,
        "host": request.url.netloc,
        "path": request.url.path,
        "authorization": "authorization" in request.headers,
    }
    await runtime.run_io(runtime.store.log_visit, visit)


HANDLERS = [submit, poll, content]
OTHER_ORIGIN_HANDLERS = [signed, redirected, foreign]
