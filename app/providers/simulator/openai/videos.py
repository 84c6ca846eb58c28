"""Videos as OpenAI had them until September 2026, which other servers still offer: a form, polls, and a download by id."""

import hashlib
import secrets
from pathlib import Path
from typing import Any

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from app.providers.simulator import responses, sizes
from app.providers.simulator.faults import faults_in, strip_faults
from app.providers.simulator.openai.chat import SERVER_ERROR
from app.providers.simulator.openai.errors import envelope
from app.providers.simulator.openai_format.admission import (
    REFERENCE,
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    record_job,
    require_key,
)
from app.providers.simulator.openai_format.errors import ErrorAnswer, bad_request, not_found
from app.providers.simulator.openai_format.forms import read_form
from app.providers.simulator.openai_format.models import VideoAbility
from app.providers.simulator.openai_format.origins import log_visit, other_origin
from app.providers.simulator.openai_format.persona import Persona
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import JobStore, SimulatedJob

WAITING = 2.0
RUNNING = 8.0
POLL_MILLISECONDS = "1000"
KEPT_SECONDS = 3600
PRICE_PER_SECOND = 0.1
DEFAULT_SIZE = "720x1280"
MP4 = "video/mp4"
NOT_A_VIDEO = b"This is not a video. " * 200
MP4_HEAD = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
_FIELDS = ("model", "prompt", "seconds", "size")


@post("/videos", guards=[require_key], status_code=200)
async def closed() -> ASGIApp:
    """OpenAI no longer offers videos. What its host answers today is not established."""
    raise ErrorAnswer(404, "Invalid URL (POST /v1/videos)", "not_found")


CLOSED_HANDLERS = [closed]


@post("/videos", guards=[require_key], status_code=200)
async def submit(
    request: PlainRequest, runtime: NamedDependency[Runtime], persona: NamedDependency[Persona]
) -> ASGIApp:
    """Accept a video job."""
    digest = hashlib.sha256(await request.body()).hexdigest()
    body, files = await read_form(request)
    model = persona.model_for(body, "videos")
    assert model.video is not None  # noqa: S101  (its route says so)
    _check(body, model.video)
    for file in files:
        body[file.field] = REFERENCE + await runtime.run_io(runtime.store.save_input, file.data)
    accepted = await admit(
        runtime, endpoint="/videos", kind="video", model=model, prompt=body["prompt"], body=body, digest=digest
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    job = _job(runtime, accepted)
    await record_job(runtime, job)
    return responses.ClosedConnection() if "ambiguous" in accepted.faults else _state_response(runtime, job)


@get("/videos/{shown_id:str}", guards=[require_key])
async def poll(shown_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The state of a video job."""
    return _state_response(runtime, await _find(runtime, shown_id))


@get("/videos/{shown_id:str}/content", guards=[require_key])
async def content(request: PlainRequest, shown_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Download a completed video."""
    job = await _find(runtime, shown_id)
    faults = faults_in(job.prompt, "video")
    if _status(runtime, job) != "completed":
        raise bad_request("The video is not ready yet.")
    if "gone" in faults:
        raise not_found("The video has expired.")
    if "redirect" in faults:
        target = f"{other_origin(request)}/compatible/v1/redirected/{shown_id}"
        return responses.PlainResponse(b"", "text/plain", 302, {"location": target})
    return await _video_response(runtime, job, faults)


@get("/redirected/{shown_id:str}")
async def redirected(request: PlainRequest, shown_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The target of a redirected download; logs whether the request carried the key."""
    job = await _find(runtime, shown_id)
    await log_visit(request, runtime, job.id)
    return await _video_response(runtime, job, faults_in(job.prompt, "video"))


@delete("/videos/{shown_id:str}", guards=[require_key], status_code=200)
async def remove(shown_id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Delete a video that has ended."""
    job = await _find(runtime, shown_id)
    if job.phase(runtime.clock.now()) != "ended":
        raise bad_request("Only a video that is completed or failed can be deleted.")
    return responses.json_response({"id": shown_id, "object": "video.deleted", "deleted": True})


HANDLERS = [submit, poll, content, redirected, remove]


def _check(body: JsonObject, video: VideoAbility) -> None:
    if not isinstance(body.get("prompt"), str) or not body["prompt"].strip():
        raise bad_request("Missing required parameter: 'prompt'.")
    for name in body:
        if name not in _FIELDS:
            raise bad_request(f"Unknown parameter: '{name}'.")
    allowed: dict[str, list[Any]] = {"seconds": [*map(str, video.durations or [])], "size": video.sizes or []}
    for name, values in allowed.items():
        if body.get(name) is not None and body[name] not in values:
            raise bad_request(f"Invalid value: '{body[name]}'. Supported values are: {', '.join(values)}.")


def _job(runtime: Runtime, accepted: AcceptedRequest) -> SimulatedJob:
    starts_at = accepted.created_at + runtime.scaled(WAITING, accepted.faults)
    seconds = int(accepted.body.get("seconds") or 4)
    failed = "fail" in accepted.faults
    return SimulatedJob(
        id=accepted.id,
        kind="video",
        model=accepted.model.id,
        prompt=accepted.prompt,
        created_at=accepted.created_at,
        starts_at=starts_at,
        ends_at=None if "stuck" in accepted.faults else starts_at + runtime.scaled(RUNNING, accepted.faults),
        outcome="failed" if failed else "completed",
        seed=secrets.randbelow(2**31),
        cost=0.0 if failed else round(PRICE_PER_SECOND * seconds, 6),
        request={"seconds": seconds, "size": DEFAULT_SIZE, **accepted.body},
    )


async def _find(runtime: Runtime, shown_id: str) -> SimulatedJob:
    job = await runtime.run_io(runtime.store.job, shown_id.replace("video_", "gen-vid-", 1))
    if job is None or job.kind != "video" or not shown_id.startswith("video_"):
        raise not_found(f"Video with id '{shown_id}' not found.")
    return job


def _status(runtime: Runtime, job: SimulatedJob) -> str:
    return {"waiting": "queued", "running": "in_progress", "ended": job.outcome}[job.phase(runtime.clock.now())]


def _state_response(runtime: Runtime, job: SimulatedJob) -> responses.PlainResponse:
    status, now = _status(runtime, job), runtime.clock.now()
    ended = status in ("completed", "failed")
    running = (now - job.starts_at) / max(RUNNING, 1.0)
    state = {
        "id": job.id.replace("gen-vid-", "video_", 1),
        "object": "video",
        "model": job.model,
        "status": status,
        "progress": 100 if ended else max(0, min(99, round(100 * running))),
        "created_at": int(job.created_at),
        "completed_at": int(job.ends_at or now) if ended else None,
        "expires_at": int(job.ends_at or now) + KEPT_SECONDS if status == "completed" else None,
        "size": job.request["size"],
        "seconds": str(job.request["seconds"]),
        "prompt": job.prompt,
        "remixed_from_video_id": None,
        "error": envelope(SERVER_ERROR) if status == "failed" else None,
    }
    headers = {} if ended else {"openai-poll-after-ms": POLL_MILLISECONDS}
    return responses.json_response(state, headers=headers)


async def _video_response(runtime: Runtime, job: SimulatedJob, faults: frozenset[str]) -> ASGIApp:
    if "badmedia" in faults:
        return responses.PlainResponse(NOT_A_VIDEO, MP4)
    if "huge" in faults:
        return responses.StreamedResponse(responses.endless(MP4_HEAD, bytes(1024)), MP4)
    path = await runtime.render_once(job.id, _rendered, runtime.store, job, faults)
    if faults & {"cut", "trickle"}:
        whole = responses.PlainResponse(await runtime.run_io(path.read_bytes), MP4)
        return responses.damaged(runtime, whole, faults)
    return await responses.file_response(runtime, path, MP4)


def _rendered(store: JobStore, job: SimulatedJob, faults: frozenset[str]) -> Path:
    from app.providers.simulator import videos  # late: it loads PyAV

    reference = job.request.get("input_reference", "").removeprefix(REFERENCE)
    video = videos.Video(
        prompt=strip_faults(job.prompt),
        seed=job.seed,
        size=sizes.STAMP if "stamp" in faults else sizes.pixels(job.request["size"]) or sizes.STAMP,
        seconds=int(job.request["seconds"]),
        audio=True,
        first=store.read_input(reference) if reference else None,
    )
    return videos.cached(store.videos / f"{job.id}.mp4", video)
