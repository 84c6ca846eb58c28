"""OpenAI's objects, made of ours."""

from typing import Final

import msgspec

from app.base.clock import unix
from app.catalog.schemas import Model
from app.gateway import openai_params
from app.jobs.schemas import Job, Status

_STATES: Final = {
    Status.QUEUED: "queued",
    Status.PROCESSING: "in_progress",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
}


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
            size=f"{clip.width}x{clip.height}" if clip else openai_params.size(job.params),
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


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's model object. When a model appeared is not known here: `created` is 0."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str

    @classmethod
    def of(cls, model: Model) -> "ModelObject":
        return cls(id=model.id, owned_by=model.id.partition("/")[0] if "/" in model.id else model.provider)


class Models(msgspec.Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[ModelObject]
