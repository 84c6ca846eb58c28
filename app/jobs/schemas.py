"""Job structs: the domain types and their API forms."""

import enum
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

import msgspec

from app.base.clock import iso
from app.base.money import usd
from app.library.schemas import Asset, AssetOut
from app.providers.contract import ErrorCode, Kind, UpstreamJob, Usage

MAX_PREVIEWS: Final = 3  # of one job's image
UNDO_PERIOD: Final = timedelta(minutes=10)  # in which a deleted job can be restored


class JobStatus(enum.StrEnum):
    """`queued → processing → completed | failed | cancelled`; a job that waits for a retry is `queued` with `run_at` in
    the future."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class GenerationType(enum.StrEnum):
    TEXT_TO_TEXT = "text_to_text"
    PROMPT_ENHANCEMENT = "prompt_enhancement"  # a text model rewrites a prompt, which another job then uses
    TEXT_TO_IMAGE = "text_to_image"
    IMAGE_TO_IMAGE = "image_to_image"
    INPAINTING = "inpainting"  # the part of an image that a mask marks
    TEXT_TO_VIDEO = "text_to_video"
    IMAGE_TO_VIDEO = "image_to_video"

    @property
    def has_inputs(self) -> bool:
        """Whether such jobs may have inputs. Those of all others are not even looked up, as that would double the time
        that reading a job takes."""
        return self in (GenerationType.IMAGE_TO_IMAGE, GenerationType.INPAINTING, GenerationType.IMAGE_TO_VIDEO)


class JobInputRole(enum.StrEnum):
    """What an input is for."""

    IMAGE = "image"  # the image that is changed or redrawn
    MASK = "mask"  # the part of it that is changed
    FIRST_FRAME = "first_frame"
    LAST_FRAME = "last_frame"
    REFERENCE = "reference"  # for style, characters or objects
    AUDIO = "audio"


class JobInput(msgspec.Struct, frozen=True):
    """An asset that a job starts from. `weight` is how strongly it counts, None for the model's default."""

    role: JobInputRole
    asset_id: str
    weight: float | None = None


class LateResultPolicy(enum.StrEnum):
    """What happens to a result that arrives after the job was cancelled."""

    KEEP = "keep"
    DISCARD = "discard"


class QueuePosition(NamedTuple):
    """Where a waiting job is: about, among the jobs of all users, and exactly, among those of its own user. 1 is next."""

    overall: int
    own: int
    own_count: int


class QueueEstimate(msgspec.Struct, frozen=True):
    """Where a queued job is and when it will be started, and the median and 90th percentile of how long recent jobs of its model
    took, in seconds. None where unknown; a job that waits for nothing has a `starts_at` in the past."""

    position: QueuePosition | None = None
    starts_at: datetime | None = None
    median: float | None = None
    p90: float | None = None


class QueueStep(enum.StrEnum):
    """How a user moves a job in the queue."""

    FRONT = "front"
    UP = "up"
    DOWN = "down"


class EndedJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a notification says of a job that was completed or has failed; the prompt is shortened."""

    id: str
    kind: Kind
    status: JobStatus
    prompt: str


class EndedJobs(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs that have ended since some time, oldest first, and the time to ask from next time."""

    until: str
    jobs: list[EndedJob]


class CancelFailure(msgspec.Struct, frozen=True):
    """A job that could not be cancelled, and why."""

    id: str
    code: str
    message: str


class CancelledJobs(msgspec.Struct):
    """How many jobs were cancelled, and for how many the provider was asked to stop; and those that could not be cancelled."""

    cancelled: int = 0
    requested: int = 0
    failed: list[CancelFailure] = []


class JobError(msgspec.Struct, frozen=True):
    """Why a job failed. `message` is shown to the user."""

    code: ErrorCode
    message: str


class JobWarning(msgspec.Struct, frozen=True):
    """What the user should know although the job did not fail. `index` is the number of the output, from 0, that it is about; None if
    it is about the inputs. `code` is an ErrorCode, or the code of an UploadWarning; `message` is shown to the user."""

    index: int | None
    code: str
    message: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One generation request and its result. Times are naive UTC; `cost_nano` is in nano-dollars, None if unknown. `enhanced_prompt`
    is what a text model made of `prompt`, and `enhanced_by` the id of the text job in which it did. `estimate` and `preview`, the index of the newest preview, are not stored: only an unfinished job has them."""

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
    enhanced_prompt: str | None = None
    enhanced_by: str | None = None
    system_prompt: str | None = None
    params: dict[str, Any] = {}
    status: JobStatus = JobStatus.QUEUED
    progress: int | None = None
    upstream_state: str | None = None
    attempts: int = 0
    cancel_requested: bool = False
    error: JobError | None = None
    warnings: tuple[JobWarning, ...] = ()
    text: str | None = None
    usage: Usage | None = None
    cost_nano: int | None = None
    inputs: tuple[JobInput, ...] = ()
    retry_of: str | None = None
    batch_id: str | None = None
    batch_position: int | None = None
    clip_id: str | None = None
    plan_id: str | None = None
    parent_asset_id: str | None = None  # the image of which the results are edits
    upstream_job: UpstreamJob | None = None
    run_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    deleted_at: datetime | None = None
    priority: int = 0
    queue_rank: str | None = None
    paused: bool = False
    late_result_policy: LateResultPolicy | None = None
    recovery_count: int = 0
    assets: tuple[Asset, ...] = ()
    estimate: QueueEstimate = QueueEstimate()
    preview: int | None = None

    @property
    def final(self) -> bool:
        return self.status.final

    @property
    def sent_prompt(self) -> str:
        """What the provider is asked for."""
        return self.enhanced_prompt or self.prompt

    @property
    def seconds(self) -> float | None:
        """How long the job ran; None until it has ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    def retried(self, id: str, now: datetime, upstream_job: UpstreamJob | None) -> Self:
        """A new job with the same request; with an upstream job it only fetches that result."""
        return type(self)(
            id=id,
            owner_id=self.owner_id,
            kind=self.kind,
            generation_type=self.generation_type,
            provider=self.provider,
            model=self.model,
            model_name=self.model_name,
            upstream_model=self.upstream_model,
            route=self.route,
            prompt=self.prompt,
            enhanced_prompt=self.enhanced_prompt,
            enhanced_by=self.enhanced_by,
            system_prompt=self.system_prompt,
            params=self.params,
            inputs=self.inputs,
            retry_of=self.id,
            batch_id=self.batch_id,
            batch_position=self.batch_position,
            clip_id=self.clip_id,
            plan_id=self.plan_id,
            parent_asset_id=self.parent_asset_id,
            upstream_job=upstream_job,
            created_at=now,
        )

    @property
    def missing_outputs(self) -> tuple[JobWarning, ...]:
        """The warnings about outputs that could not be had."""
        return tuple(warning for warning in self.warnings if warning.index is not None)

    @property
    def input_asset_id(self) -> str | None:
        """The first input, which pages show."""
        return self.inputs[0].asset_id if self.inputs else None

    @property
    def polling_url(self) -> str | None:
        return f"/api/v1/generate/video/{self.id}/status" if self.kind is Kind.VIDEO else None


class AcceptedJob(msgspec.Struct, frozen=True):
    """The job of a request; `repeated` if an earlier request had already created it."""

    job: Job
    repeated: bool = False


class EventType(enum.StrEnum):
    """What can happen to a job. The comments list the keys of the event's `detail`."""

    QUEUED = "queued"
    STARTED = "started"  # attempt: int
    RESULT_REQUESTED = "result_requested"  # started, only to fetch a result that is already paid for
    SUBMITTED = "submitted"  # state: as the provider names it
    PROGRESSED = "progressed"  # state
    DOWNLOADED = "downloaded"
    RETRY_SCHEDULED = "retry_scheduled"  # run_at: ISO 8601, code: ErrorCode, message
    PAUSED = "paused"
    RESUMED = "resumed"
    MOVED = "moved"  # from_provider, to_provider: nothing was sent to the first, and the second has the same model
    RECOVERED = "recovered"
    COMPLETED = "completed"
    FAILED = "failed"  # code: ErrorCode, message
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"  # stage: CancelStage
    LATE_RESULT_RECORDED = "late_result_recorded"
    FOLLOW_UP_ENDED = "follow_up_ended"  # cancelled job: no more results or costs are expected


class CancelStage(enum.StrEnum):
    """How far a job had got when it was cancelled."""

    NOT_SUBMITTED = "not_submitted"
    SUBMITTED = "submitted"  # the provider may still finish and charge it
    STOPPED = "stopped"  # the provider was asked to stop and has responded
    FINISHED = "finished"  # the result had arrived and was discarded


class JobEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a job's timeline."""

    at: datetime
    event: EventType
    detail: dict[str, Any] = {}


class JobsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs held in memory, by id. They must agree with the database rows."""

    unfinished: dict[str, Job]
    awaiting_late_result: dict[str, Job]  # cancelled; the provider may still send a result or a cost


class JobCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many finished outputs and unfinished jobs a user has."""

    texts: int = 0
    images: int = 0
    videos: int = 0
    running: int = 0


class JobOut(msgspec.Struct, frozen=True, kw_only=True):
    """A job in the API: `enhanced_prompt` is what a text model made of `prompt`, which was sent instead; `progress` is 0 to 100 or
    null, `cost_usd` is a decimal string or null if unknown. `parent_asset_id` is the image of which the results are edits.
    `warnings` say what is missing of the outputs of a completed job, and what was lost of its inputs. `estimated_start` is when a
    queued job will probably be started, and `estimated_seconds` how long an unfinished one will take from then on; null when
    unknown."""

    id: str
    kind: Kind
    generation_type: GenerationType
    provider: str
    model: str
    prompt: str
    enhanced_prompt: str | None
    params: dict[str, Any]
    inputs: list[JobInput]
    status: JobStatus
    progress: int | None
    attempts: int
    cancel_requested: bool
    paused: bool
    estimated_start: str | None
    estimated_seconds: float | None
    error: JobError | None
    warnings: list[JobWarning]
    text: str | None
    polling_url: str | None
    assets: list[AssetOut]
    cost_usd: str | None
    retry_of: str | None
    batch_id: str | None
    parent_asset_id: str | None
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
            enhanced_prompt=job.enhanced_prompt,
            params=job.params,
            inputs=list(job.inputs),
            status=job.status,
            progress=job.progress,
            attempts=job.attempts,
            cancel_requested=job.cancel_requested,
            paused=job.paused and not job.final,
            estimated_start=iso(job.estimate.starts_at) if job.estimate.starts_at else None,
            estimated_seconds=None if job.estimate.median is None else round(job.estimate.median, 1),
            error=job.error,
            warnings=list(job.warnings),
            text=job.text,
            polling_url=job.polling_url,
            assets=[AssetOut.of(asset) for asset in job.assets],
            cost_usd=usd(job.cost_nano),
            retry_of=job.retry_of,
            batch_id=job.batch_id,
            parent_asset_id=job.parent_asset_id,
            created_at=iso(job.created_at),
            started_at=iso(job.started_at) if job.started_at else None,
            completed_at=iso(job.ended_at) if job.ended_at else None,
        )


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """The status of a video job: `video_url` once it is completed, `error` if it failed."""

    id: str
    status: JobStatus
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
