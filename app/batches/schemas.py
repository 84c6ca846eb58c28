"""Batch structs."""

import enum
from collections import Counter
from datetime import datetime
from typing import Any, Final

import msgspec

from app.generation.schemas import RequestedInput
from app.jobs.schemas import Job, JobStatus
from app.providers.contract import Kind

MAX_JOBS: Final = 500  # of one batch
COMPARED: Final = range(2, 7)  # how many models can be compared side by side
PROMPT, MODEL = "prompt", "model"  # names of axes; all other axes have the name of a parameter


class BatchStatus(enum.StrEnum):
    """`completed` if any job was completed, `failed` if none was."""

    PROCESSING = "processing"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Choices(enum.StrEnum):
    """What becomes of the choices and wildcards in a prompt: one job for each combination, or for each job one by its seed."""

    ALL = "all"
    RANDOM = "random"


class NewBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a batch, not validated yet: each prompt with each model and each combination of the values in `matrix`. A value
    of None stands for the model's default. `params` are the same for all jobs, like the inputs; `image_asset_id` is an input
    image in the role that fits each model."""

    kind: Kind
    models: tuple[str, ...]
    prompts: tuple[str, ...]
    system_prompt: str | None = None
    matrix: dict[str, list[Any]] = {}
    params: dict[str, Any] = {}
    inputs: tuple[RequestedInput, ...] = ()
    image_asset_id: str | None = None
    choices: Choices = Choices.ALL


class Axis(msgspec.Struct, frozen=True):
    """What varies in a batch, with a label for each value; the last axis varies fastest."""

    name: str
    labels: tuple[str, ...]

    @property
    def titles(self) -> tuple[str, ...]:
        """The labels as they stand beside results: those of a parameter begin with its name."""
        if self.name in (PROMPT, MODEL):
            return self.labels
        name = "Outputs" if self.name == "n" else self.name.replace("_", " ").capitalize()
        return tuple(f"{name} {label}" for label in self.labels)


class BatchEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs a batch has and what they will cost, in nano-dollars; for `unknown` jobs that is not known, and they are
    not part of the sums."""

    jobs: int
    least: int
    most: int
    unknown: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch with the number of its jobs by status. `request` is what was asked for, as JSON; costs are in nano-dollars, None
    when unknown."""

    id: str
    owner_id: str
    kind: Kind
    request: dict[str, Any]
    axes: tuple[Axis, ...]
    total: int
    estimated_nano: int | None
    created_at: datetime
    paused_at: datetime | None = None
    cancelled_at: datetime | None = None
    counters: Counter[JobStatus] = msgspec.field(default_factory=Counter)
    spent_nano: int | None = None

    @property
    def unfinished(self) -> int:
        return self.counters[JobStatus.QUEUED] + self.counters[JobStatus.PROCESSING]

    @property
    def status(self) -> BatchStatus:
        if self.unfinished:
            return BatchStatus.PROCESSING if self.paused_at is None else BatchStatus.PAUSED
        if self.cancelled_at is not None or self.counters[JobStatus.CANCELLED] == self.total:
            return BatchStatus.CANCELLED
        return BatchStatus.COMPLETED if self.counters[JobStatus.COMPLETED] else BatchStatus.FAILED

    @property
    def varied(self) -> tuple[Axis, ...]:
        """The axes with more than one value."""
        return tuple(axis for axis in self.axes if len(axis.labels) > 1)

    @property
    def compared(self) -> bool:
        """Whether the batch is one prompt for several models, and few enough to be shown side by side."""
        return self.total in COMPARED and [axis.name for axis in self.varied] == [MODEL]


class AcceptedBatch(msgspec.Struct, frozen=True):
    """The batch of a request; `repeated` if an earlier request had already created it."""

    batch: Batch
    repeated: bool = False


class Place(msgspec.Struct, frozen=True):
    """A place in a batch: its titles, one for each axis that varies, and its newest job; None if that was deleted."""

    labels: tuple[str, ...]
    job: Job | None
