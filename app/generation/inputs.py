"""The input files of a request: which roles a model takes, and the assets that are meant.

A request may name a single input image without a role; it gets the role that fits the model. The roles and numbers of all inputs
are checked, and those of the library found, before anything is downloaded.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from app.base.errors import Invalid, Missing
from app.catalog.schemas import Model
from app.generation.schemas import GenerationRequest, RequestedInput
from app.jobs.schemas import JobInputRole
from app.library.schemas import Asset, AssetKind, Origin
from app.library.service import Library
from app.providers.contract import InputRole, InputSlot, Kind

MAX_INPUTS: Final = 16  # of one request
_MAX_UNDESCRIBED: Final = 1  # input images of a model that does not say what it takes
_NAMES: Final = {
    InputRole.IMAGE: "an input image",
    InputRole.MASK: "a mask",
    InputRole.FIRST_FRAME: "a first frame",
    InputRole.LAST_FRAME: "a last frame",
    InputRole.REFERENCE: "a reference image",
    InputRole.AUDIO: "audio",
    InputRole.VIDEO: "a video",
}
# The roles that a single image can have, the likeliest first.
_SINGLE: Final = {
    Kind.IMAGE: (InputRole.IMAGE, InputRole.REFERENCE),
    Kind.VIDEO: (InputRole.FIRST_FRAME, InputRole.IMAGE, InputRole.REFERENCE, InputRole.LAST_FRAME),
}


def slots_of(model: Model, kind: Kind) -> Sequence[InputSlot]:
    """What the model takes: as described, or else one image if its modalities include images."""
    if model.details.inputs or not model.accepts_image or kind not in _SINGLE:
        return model.details.inputs
    return [InputSlot(role=_SINGLE[kind][0], required=model.requires_image, max=_MAX_UNDESCRIBED)]


def single_role(model: Model, kind: Kind) -> InputRole:
    """The role of a single image."""
    roles = {slot.role for slot in slots_of(model, kind)}
    return next((role for role in _SINGLE.get(kind, ()) if role in roles), InputRole.IMAGE)


def further_slots(model: Model, kind: Kind) -> list[InputSlot]:
    """What the model takes beside the single image."""
    single = single_role(model, kind)
    slots = [
        msgspec.structs.replace(slot, max=slot.max - 1, required=False) if slot.role is single else slot
        for slot in slots_of(model, kind)
    ]
    return [slot for slot in slots if slot.max > 0 and slot.role is not InputRole.AUDIO]


def mask_slot(model: Model) -> InputSlot | None:
    """How the model takes a mask; None if it takes none."""
    return next((slot for slot in model.details.inputs if slot.role is InputRole.MASK), None)


def edited(inputs: Sequence[RequestedInput], assets: Sequence[Asset]) -> str | None:
    """The image of which the results are versions: with a mask, the first one. An enlarged copy stands for its original."""
    if not any(each.role is JobInputRole.MASK for each in inputs):
        return None
    image = next((asset for each, asset in zip(inputs, assets, strict=True) if each.role is JobInputRole.IMAGE), None)
    if image is None:
        return None
    return image.parent_asset_id if image.origin is Origin.PREPARED else image.id


def requested(request: GenerationRequest, model: Model, kind: Kind) -> list[RequestedInput]:
    """All inputs of a request. The single image comes first, in the role that fits the model. Raises Invalid."""
    single = sum(map(bool, (request.image_url, request.image_asset_id, request.upload)))
    if single > 1:
        raise _invalid("image", "Choose only one input image: an upload, a library image or a URL.", "image_url")
    found = list(request.inputs)
    if single:
        image = RequestedInput(
            role=JobInputRole(single_role(model, kind).value),
            asset_id=request.image_asset_id,
            url=request.image_url,
            upload=request.upload,
            field="image_asset_id" if request.image_asset_id else "image_url" if request.image_url else "image",
        )
        found.insert(0, image)
    return found


def check(inputs: Sequence[RequestedInput], model: Model, kind: Kind, *, from_image: bool | None) -> None:
    """Raises Invalid when the model does not take these inputs, or requires others. `from_image`: True requires an input."""
    slots = {slot.role.value: slot for slot in slots_of(model, kind)}
    if from_image and not inputs:
        raise _invalid("image", "Choose an input image.", "image_url")
    if (inputs or from_image) and not slots:
        raise _invalid("model", f"{model.name} does not accept an input image. Choose another model.")
    if len(inputs) > MAX_INPUTS:
        raise _invalid("inputs", f"There can be at most {MAX_INPUTS} inputs.")
    counts = Counter(each.role.value for each in inputs)
    for each in inputs:
        name = _NAMES[InputRole(each.role.value)]
        slot = slots.get(each.role.value)
        if slot is None:
            takes = ", ".join(sorted(slots))
            raise _invalid(each.field, f"{model.name} does not take {name}. It takes: {takes}.")
        if counts[each.role.value] > slot.max:
            raise _invalid(each.field, f"{model.name} takes {name} at most {slot.max} times.")
    for slot in slots.values():
        if slot.required and not counts[slot.role.value]:
            raise _invalid("image", f"{model.name} requires {_NAMES[slot.role]}.", "inputs")


async def resolve(library: Library, owner: str, inputs: Sequence[RequestedInput]) -> list[Asset]:
    """The assets, in the same order; those of URLs are downloaded into the library. Raises Invalid."""
    own = [await _own(library, owner, each) for each in inputs]
    found = [asset or await library.fetch(owner, each.url or "") for each, asset in zip(inputs, own, strict=True)]
    images = [asset for each, asset in zip(inputs, found, strict=True) if each.role is JobInputRole.IMAGE]
    for each, mask in zip(inputs, found, strict=True):
        if (
            each.role is JobInputRole.MASK
            and images
            and (mask.width, mask.height) != (images[0].width, images[0].height)
        ):
            sizes = f"{mask.width} × {mask.height}", f"{images[0].width} × {images[0].height}"
            raise _invalid(
                each.field, f"The mask is {sizes[0]} pixels, but the image is {sizes[1]}. They must be equal."
            )
    return found


async def _own(library: Library, owner: str, each: RequestedInput) -> Asset | None:
    """The asset that was uploaded or is in the library; None for a URL."""
    if each.upload is not None or each.asset_id is None:
        return each.upload
    try:
        asset = await library.find(owner, each.asset_id)
    except Missing:
        raise _invalid(each.field, "This image is not in your library.") from None
    if asset.kind is not AssetKind.IMAGE:
        raise _invalid(each.field, "This is a video. Choose an image.")
    return asset


def _invalid(field: str, message: str, *more: str) -> Invalid:
    return Invalid(message, fields=dict.fromkeys((field, *more), message))
