"""The data of a generation request."""

from typing import Any, Final, Self

import msgspec

from app.base.errors import Invalid
from app.catalog.schemas import CostEstimate
from app.jobs.schemas import Job, JobInput, JobInputRole
from app.library.schemas import Asset
from app.providers.contract import Kind

WEIGHTS: Final = (0.0, 2.0)  # bounds of the weight of an input


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a request will cost, and how many seconds it will take (median and 90th percentile); None where unknown."""

    cost: CostEstimate | None
    median: float | None
    p90: float | None


class FormSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a job was asked for, as it fills a form again. `enhanced_by` is the text job that made `enhanced_prompt` of `prompt`."""

    kind: Kind
    model: str
    prompt: str
    enhanced_prompt: str | None = None
    enhanced_by: str | None = None
    system_prompt: str | None = None
    params: dict[str, Any] = {}
    inputs: tuple[JobInput, ...] = ()

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            kind=job.kind,
            model=job.model,
            prompt=job.prompt,
            enhanced_prompt=job.enhanced_prompt,
            enhanced_by=job.enhanced_by or job.id,
            system_prompt=job.system_prompt,
            params=job.params,
            inputs=job.inputs,
        )


class RequestedInput(msgspec.Struct, frozen=True, kw_only=True):
    """An input file: an image of the library, the public URL of one, or one that was uploaded with the request. `weight` is how
    strongly it counts, None for the model's default; `field` names it in errors."""

    role: JobInputRole
    asset_id: str | None = None
    url: str | None = None
    upload: Asset | None = None
    weight: float | None = None
    field: str


class InputIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input file in the API: either the id of an image in the library or a public URL."""

    role: JobInputRole
    asset_id: str | None = None
    url: str | None = None
    weight: float | None = None

    def requested(self, field: str) -> RequestedInput:
        """The input, which errors call `field`. Raises Invalid."""
        if bool(self.asset_id) == bool(self.url):
            raise Invalid("The request is not valid.", fields={field: "must have either asset_id or url"})
        if self.weight is not None and not WEIGHTS[0] <= self.weight <= WEIGHTS[1]:
            raise Invalid(
                "The request is not valid.", fields={field: f"weight must be {WEIGHTS[0]:g} to {WEIGHTS[1]:g}"}
            )
        return RequestedInput(role=self.role, asset_id=self.asset_id, url=self.url, weight=self.weight, field=field)


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request from the page or the API, not validated yet. `params` are the model's parameters. At most one of the
    three input image fields may be set; `inputs` are further files in their roles. `previews` is how many previews of an image the caller would like to read.
    `literal_prompt` leaves choices and wildcards in the prompt as they are. `enhance` asks a text model to rewrite the prompt first. If
    the prompt has been rewritten before, by the text job `enhanced_by`, `original_prompt` is what it was.
    The results are versions of `parent_asset_id`; if a mask is given, of the first image by default."""

    model: str
    prompt: str
    system_prompt: str | None = None
    params: dict[str, Any] = {}
    image_url: str | None = None
    image_asset_id: str | None = None
    upload: Asset | None = None
    inputs: tuple[RequestedInput, ...] = ()
    previews: int = 0
    literal_prompt: bool = False
    enhance: bool = False
    original_prompt: str | None = None
    enhanced_by: str | None = None
    parent_asset_id: str | None = None
