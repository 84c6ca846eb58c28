"""The shapes of a job."""

import enum
from datetime import datetime
from typing import Any, Self

import msgspec

from app.base.clock import iso
from app.base.money import usd
from app.library.schemas import Asset, AssetOut
from app.providers.contract import ErrorCode, Kind, UpstreamJob, Usage


class Status(enum.StrEnum):
    """`queued → processing → completed | failed | cancelled`; waiting for a retry is `queued` with `due` ahead."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class GenerationType(enum.StrEnum):
    TEXT_TO_TEXT = "text_to_text"
    TEXT_TO_IMAGE = "text_to_image"
    IMAGE_TO_IMAGE = "image_to_image"
    TEXT_TO_VIDEO = "text_to_video"
    IMAGE_TO_VIDEO = "image_to_video"


class LateResultPolicy(enum.StrEnum):
    """What becomes of a result that comes after a cancel."""

    KEEP = "keep"
    DISCARD = "discard"


class QueueEstimate(msgspec.Struct, frozen=True):
    """Where a waiting job stands in line (1 is next), and how many seconds such jobs took before: half of them, and nine
    of ten; None where nothing is known."""

    place: int | None = None
    median: float | None = None
    most: float | None = None


class JobError(msgspec.Struct, frozen=True):
    """Why it failed; `message` is one sentence for people."""

    code: ErrorCode
    message: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One request and what became of it. Times are UTC without a zone; `cost_nano` is in nano-dollars, None = unknown."""

    id: str
    owner_id: str
    kind: Kind
    generation_type: GenerationType
    provider: str
    model: str
    model_name: str
    upstream_model: str = ""
    route: str = ""
    prompt: str
    system_prompt: str | None = None
    params: dict[str, Any] = {}
    status: Status = Status.QUEUED
    progress: int | None = None
    upstream_state: str | None = None
    attempts: int = 0
    cancel_requested: bool = False
    error: JobError | None = None
    text: str | None = None
    usage: Usage | None = None
    cost_nano: int | None = None
    input_asset_id: str | None = None
    retry_of: str | None = None
    upstream_job: UpstreamJob | None = None
    run_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    deleted_at: datetime | None = None
    priority: int = 0
    late_result_policy: LateResultPolicy | None = None
    recovery_count: int = 0
    assets: tuple[Asset, ...] = ()
    estimate: QueueEstimate = QueueEstimate()

    @property
    def final(self) -> bool:
        return self.status.final

    @property
    def seconds(self) -> float | None:
        """How long it took, once it has ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def polling_url(self) -> str | None:
        return f"/api/v1/generate/video/{self.id}/status" if self.kind is Kind.VIDEO else None


class Accepted(msgspec.Struct, frozen=True):
    """The job that a request made; `repeated` when the same request had made it before."""

    job: Job
    repeated: bool = False


class EventType(enum.StrEnum):
    """What can happen to a job. The comments name the keys of the event's detail."""

    QUEUED = "queued"
    STARTED = "started"  # attempt: int
    RESULT_REQUESTED = "result_requested"  # started in order to fetch a result that has been paid for
    SUBMITTED = "submitted"  # state: the provider's word for it
    PROGRESSED = "progressed"  # state
    DOWNLOADED = "downloaded"
    RETRY_SCHEDULED = "retry_scheduled"  # run_at: ISO 8601, code: ErrorCode, message
    RECOVERED = "recovered"
    COMPLETED = "completed"
    FAILED = "failed"  # code: ErrorCode, message
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"  # stage: CancelStage
    LATE_RESULT_RECORDED = "late_result_recorded"
    FOLLOW_UP_ENDED = "follow_up_ended"  # of a cancelled job: neither a result nor a cost can arrive any more


class CancelStage(enum.StrEnum):
    """How far a job had got when it was cancelled."""

    NOT_SUBMITTED = "not_submitted"
    SUBMITTED = "submitted"  # the provider may still finish and charge it
    STOPPED = "stopped"  # the provider was asked to stop, and has answered
    FINISHED = "finished"  # the result had arrived and was discarded


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a job's timeline."""

    at: datetime
    event: EventType
    detail: dict[str, Any] = {}


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs that memory holds at one moment, by id. It must agree with the rows."""

    unfinished: dict[str, Job]
    late_result_policy: dict[str, Job]  # cancelled; their provider may still send a result or a cost


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """A person's work in figures."""

    texts: int = 0
    images: int = 0
    videos: int = 0
    running: int = 0


class JobOut(msgspec.Struct, frozen=True, kw_only=True):
    """A job as programs see it: `progress` 0 to 100 or null, `cost_usd` a decimal string or null when unknown."""

    id: str
    kind: Kind
    generation_type: GenerationType
    provider: str
    model: str
    prompt: str
    params: dict[str, Any]
    status: Status
    progress: int | None
    attempts: int
    cancel_requested: bool
    error: JobError | None
    text: str | None
    polling_url: str | None
    assets: list[AssetOut]
    cost_usd: str | None
    retry_of: str | None
    created_at: str
    started_at: str | None
    completed_at: str | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            id=job.id,
            kind=job.kind,
            generation_type=job.generation_type,
            provider=job.provider,
            model=job.model,
            prompt=job.prompt,
            params=job.params,
            status=job.status,
            progress=job.progress,
            attempts=job.attempts,
            cancel_requested=job.cancel_requested,
            error=job.error,
            text=job.text,
            polling_url=job.polling_url,
            assets=[AssetOut.of(asset) for asset in job.assets],
            cost_usd=usd(job.cost_nano),
            retry_of=job.retry_of,
            created_at=iso(job.created_at),
            started_at=iso(job.started_at) if job.started_at else None,
            completed_at=iso(job.ended_at) if job.ended_at else None,
        )


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """What a poll asks for; `video_url` once there is one, `error` when it failed."""

    id: str
    status: Status
    progress: int | None
    video_url: str | None
    error: JobError | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            id=job.id,
            status=job.status,
            progress=job.progress,
            video_url=job.assets[0].url if job.assets else None,
            error=job.error,
        )
