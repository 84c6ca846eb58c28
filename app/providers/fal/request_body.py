"""Builds the input object of a model from its description alone; no model is treated in a way of its own."""

from collections.abc import Iterable
from typing import Any, Final

from app.providers.contract import ErrorCode, Failed, Failure, InputRole, InputSlot, ModelOffer, Request

COUNT: Final = "n"  # our parameter for the number of results; each model has its own name for it

# A file in one of these roles may be used in the other, where a model has only that one.
_EQUIVALENT: Final = {
    InputRole.REFERENCE: InputRole.IMAGE,
    InputRole.FIRST_FRAME: InputRole.IMAGE,
    InputRole.IMAGE: InputRole.FIRST_FRAME,
}
_NAMES: Final = {
    InputRole.IMAGE: "an input image",
    InputRole.MASK: "a mask",
    InputRole.FIRST_FRAME: "a first frame",
    InputRole.LAST_FRAME: "a last frame",
    InputRole.REFERENCE: "a reference image",
    InputRole.AUDIO: "an audio file",
    InputRole.VIDEO: "a video",
}


def slots(offer: ModelOffer, roles: Iterable[str]) -> list[InputSlot]:
    """Where each input file, named by its role, belongs. Raises Failure when the model does not take these files."""
    found = [_slot(offer, InputRole(role)) for role in roles]
    for slot in offer.inputs:
        if slot.required and slot not in found:
            raise _rejected(f"This model requires {_NAMES[slot.role]}. Add one and try again.")
        if found.count(slot) > slot.max:
            raise _rejected(f"Too many files as {_NAMES[slot.role]}: this model accepts at most {slot.max}.")
    return found


def body(request: Request, offer: ModelOffer, inputs: Iterable[tuple[InputSlot, str]]) -> dict[str, Any]:
    """The input object. `inputs` are the files' URLs."""
    content = {name: value for name, value in request.params.items() if name != COUNT}
    if offer.outputs.field:
        content[offer.outputs.field] = request.params.get(COUNT, offer.outputs.default)
    if request.prompt:
        content["prompt"] = request.prompt
    for slot, url in inputs:
        if _is_list(slot):
            content.setdefault(slot.field, []).append(url)
        else:
            content[slot.field] = url
    return content


def endpoint(offer: ModelOffer, *, has_inputs: bool) -> str:
    """The endpoint that serves a request. A model that works with and without an image can have one for each: the
    description's `route` is the one for requests with an image."""
    return offer.route if has_inputs and offer.route else offer.id


def _slot(offer: ModelOffer, role: InputRole) -> InputSlot:
    by_role = {slot.role: slot for slot in offer.inputs}
    found = by_role.get(role) or by_role.get(_EQUIVALENT.get(role, role))
    if found is None:
        raise _rejected(f"This model does not accept {_NAMES[role]}. Remove it or choose another model.")
    return found


def _is_list(slot: InputSlot) -> bool:
    return slot.max > 1 or slot.field.endswith("_urls")


def _rejected(message: str) -> Failure:
    return Failure(Failed(code=ErrorCode.REQUEST_REJECTED, message=message, cost_nano=0, carried_out=False))
