"""The models that Atelier knows at fal: one description each, in the files of `models/`.

fal has no list of its models with their parameters that a key may always read, so what is worth offering is chosen and
described here. A model is added by adding a file.
"""

from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from app.providers.contract import InputRole, InputSlot, ModelOffer

FOLDER: Final = Path(__file__).parent / "models"

# What most endpoints call their inputs, for a model that is not described.
_USUAL_INPUTS: Final = (
    InputSlot(role=InputRole.IMAGE, field="image_url"),
    InputSlot(role=InputRole.MASK, field="mask_url"),
    InputSlot(role=InputRole.LAST_FRAME, field="end_image_url"),
)


@cache
def described() -> dict[str, ModelOffer]:
    """The described models by id. Reads files, so call it in a thread the first time."""
    offers = [msgspec.json.decode(path.read_bytes(), type=ModelOffer) for path in sorted(FOLDER.glob("*.json"))]
    return {offer.id: offer for offer in offers}


def description(model: str) -> ModelOffer:
    """The description of a model; a usual one for a model that has none."""
    return described().get(model) or ModelOffer(id=model, name=model, inputs=_USUAL_INPUTS)
