"""The data of a generation request."""

from typing import Any

import msgspec

from app.catalog.schemas import CostEstimate
from app.jobs.schemas import JobInputRole
from app.library.schemas import Asset


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a request will cost, and how many seconds it will take (median and 90th percentile); None where unknown."""

    cost: CostEstimate | None
    median: float | None
    p90: float | None


class RequestedInput(msgspec.Struct, frozen=True, kw_only=True):
    """An input file: an image of the library, the public URL of one, or one that was uploaded with the request. `weight` is how
    strongly it counts, None for the model's default; `field` names it in errors."""

    role: JobInputRole
    asset_id: str | None = None
    url: str | None = None
    upload: Asset | None = None
    weight: float | None = None
    field: str


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request from the page or the API, not validated yet. `params` are the model's parameters. At most one of the
    three input image fields may be set; `inputs` are further files in their roles. `previews` is how many previews of an image the caller would like to read.
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
    parent_asset_id: str | None = None
