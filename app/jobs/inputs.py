"""Brings the inputs of a job to what its model takes, just before they are sent: a job may have moved to another model since it
was requested."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.base.errors import Missing
from app.catalog.service import Catalog
from app.jobs.schemas import Job, JobInputRole
from app.library.service import Library
from app.providers.contract import InputImage, InputRole, InputSlot, MaskPolarity
from app.storage import fitting, masks
from app.storage.fitting import Fitted, Limits
from app.storage.media import Media

_OTHER_FILES: Final = (InputRole.MASK, InputRole.AUDIO, InputRole.VIDEO)


class InputPreparation:
    """Images are made upright and brought within the limits of the model; a mask gets the size of the first image, and marks what
    is generated as the model expects."""

    def __init__(self, catalog: Catalog, library: Library, media: Media) -> None:
        self._catalog = catalog
        self._library = library
        self._media = media

    async def prepare(self, job: Job, folder: Path) -> tuple[InputImage, ...]:
        """The files to send, in the order of the inputs; new ones are in `folder`. Raises Missing and Invalid."""
        try:
            return await self._prepare(job, folder)
        except FileNotFoundError:
            raise Missing("The file of an input no longer exists.") from None

    async def _prepare(self, job: Job, folder: Path) -> tuple[InputImage, ...]:
        slots = self._slots(job.model)
        sent: dict[int, InputImage] = {}
        first: Fitted | None = None
        # The mask comes last, because it gets the size that the image has then.
        ordered = sorted(enumerate(job.inputs), key=lambda each: each[1].role is JobInputRole.MASK)
        for index, used in ordered:
            path = await self._path(job.owner_id, used.asset_id)
            slot = _slot(slots, InputRole(used.role.value))
            if used.role is JobInputRole.MASK and first is not None:
                polarity = slot.polarity or MaskPolarity.WHITE
                size = first.width, first.height
                path = await self._media.run(
                    masks.for_model, path, size, polarity.value, slot.max_bytes, folder, self._media.max_pixels
                )
                sent[index] = InputImage(path, "image/png", used.role.value)
            else:
                limits = msgspec.convert(slot, Limits, from_attributes=True)
                fitted = await self._media.run(fitting.fit, path, limits, folder, self._media.max_pixels)
                first = first or fitted
                sent[index] = InputImage(fitted.path, fitted.mime, used.role.value)
        return tuple(sent[index] for index in range(len(job.inputs)))

    async def _path(self, owner: str, asset_id: str) -> Path:
        return self._library.path(await self._library.find_including_deleted(owner, asset_id))

    def _slots(self, model: str) -> Sequence[InputSlot]:
        try:
            return self._catalog.known(model).details.inputs
        except Missing:
            return ()


def _slot(slots: Sequence[InputSlot], role: InputRole) -> InputSlot:
    """Where an input of this role belongs; an image may be sent in another role than it was requested in. Without limits for a
    model that does not say what it takes."""
    own = next((slot for slot in slots if slot.role is role), None)
    if own is None and role not in _OTHER_FILES:
        own = next((slot for slot in slots if slot.role not in _OTHER_FILES), None)
    return own or InputSlot(role=role)
