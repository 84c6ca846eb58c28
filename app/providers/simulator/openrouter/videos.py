"""Video jobs: a submit returns at once, the status follows from the clock, and the video is downloaded separately."""

import hashlib
import hmac
import secrets

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from app.providers.simulator import responses
from app.providers.simulator.faults import faults_in
from app.providers.simulator.openai_format.admission import (
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    read_body,
    record_job,
    require_key,
    visible_usage,
)
from app.providers.simulator.openai_format.errors import ErrorAnswer, not_found
from app.providers.simulator.openai_format.models import VideoAbility
from app.providers.simulator.openai_format.origins import log_visit, other_origin, own_origin
from app.providers.simulator.openrouter.account import generation_id
from app.providers.simulator.openrouter.persona import model_for
from app.providers.simulator.openrouter.video_files import render
from app.providers.simulator.openrouter.video_requests import (
    ability_of,
    check,
    check_images,
    price_of,
    prompt_of,
    spec_of,
)
from app.providers.simulator.openrouter.webhooks import WebhookSender
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import SimulatedJob

WAITING = 2.0
RUNNING = 6.0
RUNNING_PER_VIDEO_SECOND = 0.5
LINK_SECONDS = 3600
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


# Submit


@post("/videos", guards=[require_key], status_code=202)
async def submit(request: PlainRequest, runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Accept a video job; returns 202 with the polling URL."""
    body, digest = await read_body(request, runtime)
    model = model_for(body, "videos")
    video = ability_of(model)
    prompt = prompt_of(body, video)
    check(body, video)
    await runtime.run_io(check_images, runtime.store, body)
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


def _job(runtime: Runtime, accepted: AcceptedRequest, video: VideoAbility) -> SimulatedJob:
    spec = spec_of(accepted.body, video)
    outcome = next((OUTCOMES[name] for name in OUTCOMES if name in accepted.faults), "completed")
    starts_at = accepted.created_at + runtime.scaled(WAITING, accepted.faults)
    ends_at = starts_at + runtime.scaled(RUNNING + RUNNING_PER_VIDEO_SECOND * spec.seconds, accepted.faults)
    cost = price_of(video, spec, accepted.body) if outcome == "completed" else 0.0
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
        return f"{other_origin(request)}/simulator/openrouter/foreign/{job.id}"
    return f"{own_origin(request)}{path}" if "absolute" in faults else path


def _links(request: PlainRequest, runtime: Runtime, job: SimulatedJob, faults: frozenset[str]) -> JsonObject:
    content = f"{own_origin(request)}/api/v1/videos/{job.id}/content?index=0"
    if "no-urls" in faults:
        return {}
    if "video_url" in faults:
        return {"video_url": content}
    links: JsonObject = {"unsigned_urls": [content]}
    if "urls" in faults:
        expires_at = int(job.ends_at or job.created_at) + LINK_SECONDS
        token = _token(runtime, job.id, expires_at)
        signed = f"{own_origin(request)}/simulator/openrouter/signed/{job.id}?token={token}&expires_at={expires_at}"
        links.update(urls=[signed], expires_at=expires_at)
    return links


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
        target = f"{other_origin(request)}/simulator/openrouter/redirected/{job.id}"
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
    path = await runtime.render_once(job.id, render, runtime.store, job)
    if faults & {"cut", "trickle"}:
        whole = responses.PlainResponse(await runtime.run_io(path.read_bytes), MP4)
        return responses.damaged(runtime, whole, faults)
    return await responses.file_response(runtime, path, MP4)


# Other origins, without an API key


@get("/signed/{job_id:str}")
async def signed(request: PlainRequest, job_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Download a video by its signed URL."""
    await log_visit(request, runtime, job_id)
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
    await log_visit(request, runtime, job_id)
    job = await _find(runtime, job_id)
    faults = faults_in(job.prompt, "video")
    _check_fetchable(runtime, job, faults)
    return await _video_response(runtime, job, faults)


@get("/foreign/{job_id:str}")
async def foreign(request: PlainRequest, job_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The target of a foreign polling URL."""
    await log_visit(request, runtime, job_id)
    return responses.json_response(await _state(request, runtime, await _find(runtime, job_id)))


HANDLERS = [submit, poll, content]
OTHER_ORIGIN_HANDLERS = [signed, redirected, foreign]
