"""`/v1/videos`: clips are jobs, and their ids are the jobs'."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import State, UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from app.accounts.guards import signed_in
from app.base.clock import unix
from app.base.errors import Missing
from app.base.once import once
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.gateway import wire
from app.generation.schemas import Wish
from app.generation.service import Generation
from app.jobs.schemas import Job, Status
from app.jobs.service import Jobs
from app.library.service import Library
from app.providers.contract import Kind
from app.web import forms
from app.web.limits import FILES, PAID
from app.web.ranges import file_response

Program = Request[Any, Any, State]

POLL_MS: Final = "2000"  # how long a client shall wait between two looks
MOST: Final = 100
LARGEST_JSON: Final = 1024 * 1024

_STATES: Final = {
    Status.QUEUED: "queued",
    Status.PROCESSING: "in_progress",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
}
_OWN: Final = frozenset({"model", "prompt", "seconds", "size", "input_reference", *wire.SILENT})


class Trouble(msgspec.Struct, frozen=True):
    code: str
    message: str


class Video(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's video object: moments in unix seconds, `progress` 0 to 100, `seconds` and `size` as text."""

    id: str
    object: str = "video"
    model: str
    status: str
    progress: int
    prompt: str
    seconds: str
    size: str
    created_at: int
    completed_at: int | None
    expires_at: None = None
    remixed_from_video_id: None = None
    error: Trouble | None

    @classmethod
    def of(cls, job: Job) -> "Video":
        clip = job.assets[0] if job.assets else None
        length = job.params.get("duration") or (clip and clip.duration)
        error = Trouble(job.error.code.value.lower(), job.error.message) if job.error else None
        if job.status is Status.CANCELLED:
            error = Trouble("cancelled", "The video was cancelled.")
        return cls(
            id=job.id,
            model=job.model,
            status=_STATES[job.status],
            progress=100 if job.status is Status.COMPLETED else job.progress or 0,
            prompt=job.prompt,
            seconds=f"{length:g}" if length else "",
            size=f"{clip.width}x{clip.height}" if clip else str(job.params.get("size") or ""),
            created_at=int(unix(job.created_at)),
            completed_at=int(unix(job.ended_at)) if job.ended_at and job.status is Status.COMPLETED else None,
            error=error,
        )


class Videos(msgspec.Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[Video]
    has_more: bool
    first_id: str | None
    last_id: str | None


class Deleted(msgspec.Struct, frozen=True):
    id: str
    object: str = "video.deleted"
    deleted: bool = True


@post("/videos", status_code=200, guards=[signed_in], opt=PAID, request_max_body_size=FILES)
async def create(
    request: Program, catalog: NamedDependency[Catalog], generation: NamedDependency[Generation]
) -> Response[Video]:
    """As a form or as JSON; answers at once, the clip is made meanwhile."""
    try:
        data, file = await _read(request)
        model = wire.choose(catalog, data, Kind.VIDEO)
        reference = data.get("input_reference")
        link = _link(reference) if file is None and reference is not None else None
        wish = Wish(
            model=model.id, prompt=wire.text(data, "prompt") or "", params=_params(data, model, catalog), image_url=link
        )
        if file is not None:
            picture = await generation.upload(request.user.id, forms.chunks(file), file.filename)
            wish = msgspec.structs.replace(wish, upload=picture)
    finally:
        await forms.close(request)
    asked = {**data, "input_reference": wish.upload.key if wish.upload else link}
    key = once(request.headers.get("Idempotency-Key"), request.url.path, asked)
    made = await generation.make(request.user.id, Kind.VIDEO, wish, from_picture=wish.names_picture, once=key)
    return _shown(made.job)


async def _read(request: Program) -> tuple[dict[str, Any], UploadFile | None]:
    if request.content_type[0] == "application/json":
        data = await request.json()
        if not isinstance(data, dict):
            raise wire.wrong("body", "The body must be an object.")
        return data, None
    form = await forms.parsed(request)
    found = form.get("input_reference")
    texts = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    return texts, found if isinstance(found, UploadFile) else None


def _link(reference: Any) -> str:
    url = reference.get("image_url") if isinstance(reference, dict) else None
    if not isinstance(url, str) or not url:
        raise wire.wrong("input_reference", "`input_reference` must be a file, or an object with `image_url`.")
    return url


def _params(data: Mapping[str, Any], model: Model, catalog: Catalog) -> dict[str, Any]:
    properties = frozenset(model.parameters.get("properties", {}))
    wire.only(data, _OWN | properties)
    typed = catalog.read_form(model, {name: value for name, value in data.items() if isinstance(value, str)})
    params = {
        name: typed.get(name, data[name])
        for name in properties - {"size", "duration"}
        if data.get(name) not in (None, "", "auto")
    }
    seconds = wire.whole(data, "seconds", least=1, most=600) or wire.whole(data, "duration", least=1, most=600)
    if seconds is not None:
        params["duration"] = seconds
    return params | wire.frame(model, wire.text(data, "size"))


@get("/videos", guards=[signed_in])
async def index(
    request: Program,
    jobs: NamedDependency[Jobs],
    after: FromQuery[str | None] = None,
    limit: FromQuery[int] = 20,
    order: FromQuery[str] = "desc",
) -> Videos:
    """Newest first."""
    if order != "desc":
        raise wire.wrong("order", "`order` must be desc: the newest come first.")
    if not 1 <= limit <= MOST:
        raise wire.wrong("limit", f"`limit` must be from 1 to {MOST}.")
    part = await jobs.newest(request.user.id, kinds=[Kind.VIDEO], before=after, limit=limit)
    data = [Video.of(job) for job in part.items]
    return Videos(
        data=data,
        has_more=part.next is not None,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )


@get("/videos/{id:str}", guards=[signed_in])
async def one(request: Program, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[Video]:
    return _shown(await _find(request, id, jobs))


@get("/videos/{id:str}/content", guards=[signed_in])
async def content(
    request: Program,
    id: FromPath[str],
    jobs: NamedDependency[Jobs],
    library: NamedDependency[Library],
    variant: FromQuery[str] = "video",
) -> Response[Any] | Stream:
    """The clip as MP4, or with `variant=thumbnail` a picture of it."""
    if variant not in ("video", "thumbnail"):
        raise wire.wrong("variant", "`variant` must be video or thumbnail.")
    job = await _find(request, id, jobs)
    if not job.assets:
        raise Missing("This video has no content: it is not completed.")
    clip = await library.find(request.user.id, job.assets[0].id)
    path = library.path(clip, thumbnail=variant == "thumbnail")
    mime = "image/webp" if variant == "thumbnail" else clip.mime
    try:
        return await file_response(request, path, mime=mime, name=f"{clip.id}{path.suffix}", attachment=True)
    except FileNotFoundError:
        raise Missing("The file is not there any more.") from None


@delete("/videos/{id:str}", status_code=200, guards=[signed_in])
async def remove(request: Program, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Deleted:
    job = await _find(request, id, jobs)
    await jobs.delete(request.user.id, job.id)
    return Deleted(job.id)


async def _find(request: Program, id: str, jobs: Jobs) -> Job:
    job = await jobs.find(request.user.id, id)
    if job.kind is not Kind.VIDEO:
        raise Missing("There is no such video.")
    return job


def _shown(job: Job) -> Response[Video]:
    headers = {"X-Atelier-Model": job.model}
    if not job.final:
        headers["OpenAI-Poll-After-Ms"] = POLL_MS
    return Response(Video.of(job), headers=headers)
