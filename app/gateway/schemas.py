"""Responses in OpenAI's format."""

from typing import Final

import msgspec

from app.base.clock import unix
from app.catalog.schemas import Model
from app.gateway import openai_params
from app.jobs.schemas import Job, JobStatus

_STATUSES: Final = {
    JobStatus.QUEUED: "queued",
    JobStatus.PROCESSING: "in_progress",
    JobStatus.COMPLETED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "failed",
}


class VideoError(msgspec.Struct, frozen=True):
    code: str
    message: str


class VideoObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's video object: times in Unix seconds, `progress` from 0 to 100, `seconds` and `size` as strings."""

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
    error: VideoError | None

    @classmethod
    def of(cls, job: Job) -> "VideoObject":
        asset = job.assets[0] if job.assets else None
        duration = job.params.get("duration") or (asset and asset.duration)
        error = VideoError(job.error.code.value.lower(), job.error.message) if job.error else None
        if job.status is JobStatus.CANCELLED:
            error = VideoError("cancelled", "The video was cancelled.")
        return cls(
            id=job.id,
            model=job.model,
            status=_STATUSES[job.status],
            progress=100 if job.status is JobStatus.COMPLETED else job.progress or 0,
            prompt=job.prompt,
            seconds=f"{duration:g}" if duration else "",
            size=f"{asset.width}x{asset.height}" if asset else openai_params.size(job.params),
            created_at=int(unix(job.created_at)),
            completed_at=int(unix(job.ended_at)) if job.ended_at and job.status is JobStatus.COMPLETED else None,
            error=error,
        )


class VideoObjects(msgspec.Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[VideoObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedVideo(msgspec.Struct, frozen=True):
    id: str
    object: str = "video.deleted"
    deleted: bool = True


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's model object. `created` is 0 because the catalogue does not know when a model was created."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str

    @classmethod
    def of(cls, model: Model) -> "ModelObject":
        return cls(id=model.id, owned_by=model.id.partition("/")[0] if "/" in model.id else model.provider)


class ModelObjects(msgspec.Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[ModelObject]
