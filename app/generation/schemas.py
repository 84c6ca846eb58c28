"""The data of a generation request."""

from typing import Any

import msgspec

from app.catalog.schemas import CostEstimate
from app.library.schemas import Asset


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a request will cost, and how many seconds it will take (median and 90th percentile); None where unknown."""

    cost: CostEstimate | None
    median: float | None
    p90: float | None


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request from the page or the API, not validated yet. `params` are the model's parameters. At most one of the
    three input image fields may be set. `previews` is how many previews of an image the caller would like to read."""

    model: str
    prompt: str
    system_prompt: str | None = None
    params: dict[str, Any] = {}
    image_url: str | None = None
    image_asset_id: str | None = None
    upload: Asset | None = None
    previews: int = 0

    @property
    def has_image(self) -> bool:
        return bool(self.image_url or self.image_asset_id or self.upload)
