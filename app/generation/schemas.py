"""The shapes of a request to make something."""

from typing import Any

import msgspec

from app.library.schemas import Asset


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person or program asks for, before it has been checked. `params` are the model's own parameters; of the
    three ways to name a picture at most one is used."""

    model: str
    prompt: str
    system_prompt: str | None = None
    params: dict[str, Any] = {}
    image_url: str | None = None
    image_asset_id: str | None = None
    upload: Asset | None = None

    @property
    def names_picture(self) -> bool:
        return bool(self.image_url or self.image_asset_id or self.upload)
