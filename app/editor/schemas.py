"""The data of the editor."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from app.catalog.schemas import CostEstimate, Field, Model
from app.jobs.schemas import Job
from app.library.schemas import Asset
from app.storage.masks import MaskEdits


class UploadedMask(msgspec.Struct, frozen=True):
    """An uploaded file that has not been read yet, and the hash of its content."""

    chunks: AsyncIterator[bytes]
    content_hash: str


class EditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants to change. The mask is uploaded, or one that the editor has kept; without any it is what `edits` add."""

    model: str
    prompt: str
    params: dict[str, Any] = {}
    edits: MaskEdits = MaskEdits()
    mask: UploadedMask | None = None
    mask_asset_id: str | None = None


class EditorForm(msgspec.Struct, frozen=True, kw_only=True):
    """The models that take a mask, the selected one (None if there is none), the fields of its parameters, and what it costs."""

    models: Sequence[Model]
    model: Model | None
    fields: Sequence[Field] = ()
    cost: CostEstimate | None = None


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The edits of an image, newest first. `shown` is the result that is compared with it, None if there is none yet; `versions` are
    the numbers of all its versions, by asset id."""

    jobs: Sequence[Job] = ()
    shown: Asset | None = None
    versions: dict[str, int] = {}

    @property
    def assets(self) -> list[Asset]:
        """The results of all edits."""
        return [asset for job in self.jobs for asset in job.assets]

    @property
    def unfinished(self) -> list[Job]:
        return [job for job in self.jobs if not job.final]
