"""Clips: a submit is answered at once, its state follows from the clock, the bytes are fetched separately."""

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
from app.providers.simulator.faults import asked, without
from app.providers.simulator.openrouter.account import generation_id
from app.providers.simulator.openrouter.catalog import Model, VideoAbility
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
from app.providers.simulator.openrouter.webhooks import Caller
from app.providers.simulator.stage import Stage
from app.providers.simulator.state import Job

WAITING = 2.0
RUNNING = 6.0
RUNNING_A_SECOND = 0.5
LINK_LIVES = 3600
LARGEST = 2560 * 1080
"""Pixels of a frame: more would keep a small machine busy for minutes."""
MP4 = "video/mp4"
NOT_A_CLIP = b"This was never a clip. " * 200
MP4_HEAD = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
OUTCOMES = {"fail": "failed", "expire": "expired", "cancelled": "cancelled"}
ODD = "awaiting_review"
SAID = {
    "failed": "The provider could not generate the video",
    "expired": "The video took too long and was given up",
    "cancelled": "The video was cancelled by the provider",
}


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's request means for the one who films it."""

    size: tuple[int, int]
    seconds: int
    audio: bool


# Submit


@post("/videos", guards=[with_key], status_code=202)
async def submit(request: Plain, stage: NamedDependency[Stage]) -> ASGIApp:
    """Take on a clip. 202 with the address to ask at."""
    body, digest = await read(request, stage)
    model = model_for(body, "videos")
    video = _ability(model)
    prompt = _prompt(body, video)
    _check(body, video)
    await stage.disk(_check_pictures, stage, body)
    ask = await admit(stage, endpoint="/videos", kind="video", model=model, prompt=prompt, body=body, digest=digest)
    if not isinstance(ask, Ask):
        return ask
    job = _job(stage, ask, video)
    await settle(stage, job)
    caller: Caller | None = request.app.state.caller
    if caller is not None and body.get("callback_url"):
        stage.follow_up(caller.tell(job, body["callback_url"]))
    if "ambiguous" in ask.faults:
        return responses.HungUp()
    content = {"id": job.id, "polling_url": _polling_url(request, job, ask.faults), "status": "pending"}
    return responses.json_answer(content, 202)


def _ability(model: Model) -> VideoAbility:
    if model.video is None:
        raise missing(f"{model.id} is not available on this endpoint")
    return model.video


def _prompt(body: Body, video: VideoAbility) -> str:
    prompt = body.get("prompt")
    if prompt is None and video.needs_frame:
        return ""
    if not isinstance(prompt, str) or not prompt.strip():
        raise bad("prompt: Required", "invalid_prompt")
    return prompt


def _check(body: Body, video: VideoAbility) -> None:
    for name, values in (
        ("resolution", video.resolutions),
        ("aspect_ratio", video.aspect_ratios),
        ("duration", video.durations),
        ("size", video.sizes),
    ):
        value = body.get(name)
        if value is not None and values is not None and value not in values:
            raise bad(f"{name}: expected one of {', '.join(map(str, values))}")
    if not all(isinstance(body.get(name), str | None) for name in ("resolution", "aspect_ratio", "size")):
        raise bad("resolution, aspect_ratio and size are text")
    if body.get("resolution") is not None and body["resolution"] not in sizes.LINES:
        raise bad(f"resolution: expected one of {', '.join(sizes.LINES)}")
    duration = body.get("duration")
    if duration is not None and (
        not isinstance(duration, int) or isinstance(duration, bool) or not 1 <= duration <= 20
    ):
        raise bad("duration: expected a whole number of seconds")
    if body.get("generate_audio") is True and video.audio is False:
        raise bad("generate_audio: this model makes no sound")
    if body.get("seed") is not None and (video.seed is False or not isinstance(body["seed"], int)):
        raise bad("seed: not supported, or not a whole number")
    callback = body.get("callback_url")
    if callback is not None and not str(callback).startswith("https://"):
        raise bad("callback_url: must be an https address")
    _check_frames(body, video)
    _shot(body, video)


def _check_frames(body: Body, video: VideoAbility) -> None:
    for part in _parts(body, "frame_images"):
        if part.get("type") != "image_url" or part.get("frame_type") not in ("first_frame", "last_frame"):
            raise bad("frame_images: expected type image_url and frame_type first_frame or last_frame")
        if part["frame_type"] not in (video.frame_images or []):
            raise bad(f"frame_images: this model takes no {part['frame_type']}")
    for part in _parts(body, "input_references"):
        if part.get("type") not in ("image_url", "audio_url", "video_url"):
            raise bad("input_references: expected typed parts")
        if not video.references:
            raise bad("input_references: this model takes no references")
    if video.needs_frame and "first_frame" not in [part["frame_type"] for part in _parts(body, "frame_images")]:
        raise bad("frame_images: this model needs a first_frame")


def _parts(body: Body, name: str) -> list[Body]:
    parts = body.get(name) or []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise bad(f"{name}: expected a list of typed parts, not bare text")
    for part in parts:
        image = part.get("image_url")
        if part.get("type") == "image_url" and not (isinstance(image, dict) and isinstance(image.get("url"), str)):
            raise bad(f"{name}: image_url needs a url")
    return parts


def _check_pictures(stage: Stage, body: Body) -> None:
    from app.providers.simulator import images

    for part in [*_parts(body, "frame_images"), *_parts(body, "input_references")]:
        if part.get("type") == "image_url":
            given = picture_of(stage.memory, part["image_url"]["url"])
            if isinstance(given, bytes) and not images.is_readable(given):
                raise bad("A reference could not be read as a picture", "invalid_image")


def _shot(body: Body, video: VideoAbility) -> Shot:
    size = body.get("size")
    try:
        exact = sizes.pixels(str(size)) if size else None
        if size and exact is None:
            raise bad(f"size: {size} is not a size")
        exact = exact or sizes.clip_size(body.get("aspect_ratio"), body.get("resolution") or _usual(video))
    except (ValueError, ZeroDivisionError) as exc:
        raise bad(f"aspect_ratio: {body.get('aspect_ratio')} is not a shape") from exc
    if exact[0] * exact[1] > LARGEST:
        raise bad("size: no clip is that large")
    audio = body.get("generate_audio")
    return Shot(
        size=(exact[0] // 2 * 2, exact[1] // 2 * 2),
        seconds=body.get("duration") or video.usual_duration,
        audio=bool(video.audio if audio is None else audio),
    )


def _usual(video: VideoAbility) -> str:
    return "720p" if video.resolutions is None or "720p" in video.resolutions else video.resolutions[0]


def _job(stage: Stage, ask: Ask, video: VideoAbility) -> Job:
    shot = _shot(ask.body, video)
    outcome = next((OUTCOMES[name] for name in OUTCOMES if name in ask.faults), "completed")
    runs = ask.created + stage.delay(WAITING, ask.faults)
    ends = runs + stage.delay(RUNNING + RUNNING_A_SECOND * shot.seconds, ask.faults)
    cost = _price(video, shot, ask.body) if outcome == "completed" else 0.0
    seed = ask.body.get("seed")
    return Job(
        id=ask.id,
        kind="video",
        model=ask.model.id,
        prompt=ask.prompt,
        created=ask.created,
        runs=runs,
        ends=None if "stuck" in ask.faults else ends,
        outcome=outcome,
        seed=seed if isinstance(seed, int) else secrets.randbelow(2**31),
        cost=cost,
        usage={"cost": cost, "is_byok": False},
        request=ask.body,
    )


def _price(video: VideoAbility, shot: Shot, body: Body) -> float:
    skus = video.skus
    if "cents_per_second_output" in skus:
        return round(float(skus["cents_per_second_output"]) / 100 * shot.seconds, 6)
    sound = "with" if shot.audio else "without"
    resolution = body.get("resolution") or _usual(video)
    for name in (f"duration_seconds_{sound}_audio", f"duration_seconds_{resolution}", "duration_seconds"):
        if name in skus:
            return round(float(skus[name]) * shot.seconds, 6)
    return round(max(map(float, skus.values()), default=0.0) * shot.seconds, 6)


# Poll


@get("/videos/{job_id:str}", guards=[with_key])
async def poll(request: Plain, job_id: FromPath[str], stage: NamedDependency[Stage]) -> ASGIApp:
    """Where a clip stands."""
    job = await _find(stage, job_id)
    return responses.json_answer(await _state(request, stage, job))


async def _find(stage: Stage, job_id: str) -> Job:
    job = await stage.disk(stage.memory.job, job_id)
    if job is None or job.kind != "video":
        raise missing(f"Video job {job_id} not found")
    return job


async def _state(request: Plain, stage: Stage, job: Job) -> Body:
    faults = asked(job.prompt, "video")
    status = status_of(job, stage.clock.now())
    if "odd-state" in faults and (
        status == "in_progress"
        or (status == "completed" and await stage.disk(stage.memory.first_time, "odd-state", job.id))
    ):
        status = ODD
    state: Body = {"id": job.id, "polling_url": _polling_url(request, job, faults), "status": status}
    if status == "completed":
        state["generation_id"] = generation_id(job.id)
        state.update(_links(request, stage, job, faults))
        state["usage"] = billed(job.usage, faults)
    elif status in SAID:
        state["generation_id"] = generation_id(job.id)
        state["error"] = SAID[status]
    return state


def status_of(job: Job, now: float) -> str:
    """The job's state in this service's words; nothing but the job and the clock decides."""
    return {"waiting": "pending", "running": "in_progress", "ended": job.outcome}[job.phase(now)]


def _polling_url(request: Plain, job: Job, faults: frozenset[str]) -> str:
    path = f"/api/v1/videos/{job.id}"
    if "foreign-poll" in faults:
        return f"{_elsewhere(request)}/simulator/openrouter/foreign/{job.id}"
    return f"{_here(request)}{path}" if "absolute" in faults else path


def _links(request: Plain, stage: Stage, job: Job, faults: frozenset[str]) -> Body:
    content = f"{_here(request)}/api/v1/videos/{job.id}/content?index=0"
    if "no-urls" in faults:
        return {}
    if "video_url" in faults:
        return {"video_url": content}
    links: Body = {"unsigned_urls": [content]}
    if "urls" in faults:
        dies = int(job.ends or job.created) + LINK_LIVES
        token = _token(stage, job.id, dies)
        signed = f"{_here(request)}/simulator/openrouter/signed/{job.id}?token={token}&expires_at={dies}"
        links.update(urls=[signed], expires_at=dies)
    return links


def _here(request: Plain) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _elsewhere(request: Plain) -> str:
    """This very server under another name, which makes it another origin for everybody who is careful."""
    host, port = request.url.hostname or "", request.url.port
    other = "127.0.0.1" if host == "localhost" else "localhost"
    return f"{request.url.scheme}://{other}{f':{port}' if port else ''}"


def _token(stage: Stage, job_id: str, dies: int) -> str:
    return hmac.new(stage.memory.secret, f"{job_id} {dies}".encode(), hashlib.sha256).hexdigest()


# Fetch


@get("/videos/{job_id:str}/content", guards=[with_key])
async def content(request: Plain, job_id: FromPath[str], stage: NamedDependency[Stage]) -> ASGIApp:
    """The bytes of a finished clip."""
    job = await _find(stage, job_id)
    if request.query_params.get("index", "0") != "0":
        raise missing("There is no clip with this index")
    faults = asked(job.prompt, "video")
    _check_fetchable(stage, job, faults)
    if "notyet" in faults and await stage.disk(stage.memory.first_time, "notyet", job.id):
        raise Refusal(409, "The video is not ready yet")
    if "redirect" in faults:
        target = f"{_elsewhere(request)}/simulator/openrouter/redirected/{job.id}"
        return responses.Whole(b"", "text/plain", 302, {"location": target})
    return await _bytes(stage, job, faults)


def _check_fetchable(stage: Stage, job: Job, faults: frozenset[str]) -> None:
    status = status_of(job, stage.clock.now())
    if status in ("pending", "in_progress"):
        raise Refusal(409, f"The video is not ready: {status}")
    if status == "expired" or "gone" in faults:
        raise Refusal(410, "The video is gone")
    if status != "completed":
        raise missing("This job has no video")


async def _bytes(stage: Stage, job: Job, faults: frozenset[str]) -> ASGIApp:
    if "badmedia" in faults:
        return responses.Whole(NOT_A_CLIP, MP4)
    if "huge" in faults:
        return responses.Streamed(responses.endless(MP4_HEAD, bytes(1024)), MP4)
    path = await stage.draw_once(job.id, _film, stage, job)
    if "cut" in faults:
        return responses.Cut(responses.Whole(await stage.disk(path.read_bytes), MP4))
    if "trickle" in faults:
        return responses.Streamed(responses.trickle(stage, responses.once(await stage.disk(path.read_bytes))), MP4)
    return await responses.file_answer(stage, path, MP4)


def _film(stage: Stage, job: Job) -> Path:
    """The video's file, made when it is not there: it follows from the job alone, so it may be deleted at any time."""
    from app.providers.simulator import videos

    def frame(kind: str) -> bytes | str | None:
        for part in _parts(job.request, "frame_images"):
            if part["frame_type"] == kind:
                return picture_of(stage.memory, part["image_url"]["url"])
        return None

    first = frame("first_frame")
    shot = _shot(_shaped(job.request, first), _ability(model_for(job.request, "videos")))
    references = [
        picture_of(stage.memory, part["image_url"]["url"])
        for part in _parts(job.request, "input_references")
        if part["type"] == "image_url"
    ]
    video = videos.Video(
        prompt=without(job.prompt),
        seed=job.seed,
        size=sizes.STAMP if "stamp" in asked(job.prompt, "video") else shot.size,
        seconds=shot.seconds,
        audio=shot.audio,
        first=first or (references[0] if references else None),
        last=frame("last_frame"),
    )
    return videos.cached(stage.memory.clips / f"{job.id}.mp4", video)


def _shaped(request: Body, first: bytes | str | None) -> Body:
    """The request with the first frame's shape, where it names no shape of its own."""
    from app.providers.simulator import images

    if not isinstance(first, bytes) or request.get("size") or request.get("aspect_ratio"):
        return request
    width, height = images.size_of(first)
    across = min(21 / 9, max(9 / 21, width / height))
    return {**request, "aspect_ratio": f"{across:.4f}:1"}


# Other origins, without a key


@get("/signed/{job_id:str}")
async def signed(request: Plain, job_id: FromPath[str], stage: NamedDependency[Stage]) -> ASGIApp:
    """The service's own copy behind a signed link."""
    await _note(request, stage, job_id)
    dies = request.query_params.get("expires_at", "")
    right = dies.isdigit() and hmac.compare_digest(
        _token(stage, job_id, int(dies)).encode(), request.query_params.get("token", "").encode()
    )
    if not right or int(dies) < stage.clock.now():
        raise Refusal(403, "This link is not valid, or not any more", "permission_denied")
    job = await _find(stage, job_id)
    faults = asked(job.prompt, "video")
    _check_fetchable(stage, job, faults)
    return await _bytes(stage, job, faults)


@get("/redirected/{job_id:str}")
async def redirected(request: Plain, job_id: FromPath[str], stage: NamedDependency[Stage]) -> ASGIApp:
    """Where a redirected fetch arrives; it writes down whether the key came along."""
    await _note(request, stage, job_id)
    job = await _find(stage, job_id)
    faults = asked(job.prompt, "video")
    _check_fetchable(stage, job, faults)
    return await _bytes(stage, job, faults)


@get("/foreign/{job_id:str}")
async def foreign(request: Plain, job_id: FromPath[str], stage: NamedDependency[Stage]) -> ASGIApp:
    """Where whoever trusts a foreign polling address arrives."""
    await _note(request, stage, job_id)
    return responses.json_answer(await _state(request, stage, await _find(stage, job_id)))


async def _note(request: Plain, stage: Stage, job_id: str) -> None:
    visit: dict[str, Any] = {
        "time": time.time(),
        "id": job_id,
        "host": request.url.netloc,
        "path": request.url.path,
        "authorization": "authorization" in request.headers,
    }
    await stage.disk(stage.memory.log_visit, visit)


HANDLERS = [submit, poll, content]
ELSEWHERE = [signed, redirected, foreign]
