"""Turns a painted, uploaded or numbered mask into a generation request whose results are versions of the image."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from app.base.errors import Invalid, Missing
from app.editor.schemas import EditorForm, EditRequest, Results, UploadedMask
from app.generation.schemas import GenerationRequest, RequestedInput
from app.generation.service import Generation
from app.idempotency.schemas import IdempotencyKey
from app.jobs.schemas import MAX_PREVIEWS, AcceptedJob, Job, JobInputRole
from app.jobs.service import Jobs
from app.library.schemas import Asset, AssetKind
from app.library.service import Library
from app.providers.contract import Kind
from app.storage import masks
from app.storage.files import Files
from app.storage.masks import MAX_FEATHER, MAX_MARGIN, MaskEdits
from app.storage.media import Media

MAX_EDITS: Final = 20  # latest edits of an image that its page shows
NOTHING_MARKED: Final = "Paint what should change."


class Editor:
    """Edits of images; has no data of its own."""

    def __init__(self, generation: Generation, library: Library, jobs: Jobs, files: Files, media: Media) -> None:
        self._generation = generation
        self._library = library
        self._jobs = jobs
        self._files = files
        self._media = media

    async def image(self, owner: str, id: str) -> Asset:
        """The image to edit. Raises Missing, also for a video."""
        asset = await self._library.find(owner, id)
        if asset.kind is not AssetKind.IMAGE:
            raise Missing("Only images can be edited.")
        return asset

    async def kept_mask(self, owner: str, id: str, image: Asset) -> Asset | None:
        """A mask that fits the image; None if it is gone or has another size."""
        try:
            mask = await self._library.find(owner, id)
        except Missing:
            return None
        fits = (mask.width, mask.height) == (image.width, image.height)
        return mask if mask.kind is AssetKind.IMAGE and fits else None

    async def find_job(self, owner: str, job_id: str) -> Job:
        """An earlier edit whose settings fill the form."""
        return await self._jobs.find(owner, job_id)

    async def form(
        self, model: str | None, values: Mapping[str, str], errors: Mapping[str, str] | None = None
    ) -> EditorForm:
        models = self._generation.inpainting_models()
        selected = next((one for one in models if one.id == model), models[0] if models else None)
        if selected is None:
            return EditorForm(models=models, model=None)
        params = self._generation.read_form(Kind.IMAGE, {**values, "model": selected.id})
        return EditorForm(
            models=models,
            model=selected,
            fields=self._generation.fields(selected, dict(values), dict(errors or {})),
            cost=(await self._generation.estimate(selected, params)).cost,
        )

    def read_params(self, form: dict[str, str]) -> dict[str, Any]:
        """The parameters of the form's model."""
        return self._generation.read_form(Kind.IMAGE, form)

    async def results(self, owner: str, image: Asset, shown: str | None = None) -> Results:
        """`shown` is the id of the result to compare; by default it is the newest one."""
        jobs = await self._jobs.edits(owner, image.id, MAX_EDITS)
        assets = [asset for job in jobs for asset in job.assets]
        versions = await self._library.versions(owner, image)
        return Results(
            jobs=jobs,
            shown=next((asset for asset in assets if asset.id == shown), assets[0] if assets else None),
            versions={asset.id: number for number, asset in enumerate(versions, 1)},
        )

    async def submit(self, owner: str, image: Asset, wanted: EditRequest, key: IdempotencyKey | None) -> AcceptedJob:
        """Enqueue an edit. Raises Invalid with the wrong fields: `mask` for a mask of another size, and one that marks nothing."""
        _check(wanted.edits, image, self._media.max_pixels)

        async def prepare() -> GenerationRequest:
            async with self._files.folder() as folder:
                inputs = await self._inputs(owner, image, wanted, folder)
            return GenerationRequest(
                model=wanted.model,
                prompt=wanted.prompt,
                params=wanted.params,
                inputs=tuple(
                    RequestedInput(role=role, upload=asset, field=role.value) for role, asset in inputs.items()
                ),
                previews=MAX_PREVIEWS,
                parent_asset_id=image.id,
            )

        return await self._generation.submit(owner, Kind.IMAGE, prepare, key=key, interactive=True)

    async def keep_mask(self, owner: str, image: Asset, mask: UploadedMask) -> Asset | None:
        """Store an uploaded mask for the next attempt; None if it cannot be used."""
        async with self._files.folder() as folder:
            try:
                path = await self._uploaded(mask, image, folder)
                drawn = await self._media.run(
                    masks.draw, path, (image.width, image.height), MaskEdits(), folder, self._media.max_pixels
                )
                return await self._library.add_prepared(owner, drawn.path, folder, image)
            except Invalid:
                return None

    async def _inputs(self, owner: str, image: Asset, wanted: EditRequest, folder: Path) -> dict[JobInputRole, Asset]:
        """The image, enlarged if there are margins, and its mask."""
        size, edits, most = (image.width, image.height), wanted.edits, self._media.max_pixels
        path = await self._mask_file(owner, image, wanted, folder)
        drawn = await self._media.run(masks.draw, path, size, edits, folder, most)
        if drawn.empty:
            raise Invalid(NOTHING_MARKED, fields={"mask": NOTHING_MARKED})
        mask = await self._library.add_prepared(owner, drawn.path, folder, image)
        if not edits.margins:
            return {JobInputRole.IMAGE: image, JobInputRole.MASK: mask}
        enlarged = await self._media.run(masks.enlarge, self._library.path(image), edits.margins, folder, most)
        return {
            JobInputRole.IMAGE: await self._library.add_prepared(owner, enlarged, folder, image),
            JobInputRole.MASK: mask,
        }

    async def _mask_file(self, owner: str, image: Asset, wanted: EditRequest, folder: Path) -> Path | None:
        if wanted.mask is not None:
            return await self._uploaded(wanted.mask, image, folder)
        if wanted.mask_asset_id is None:
            return None
        kept = await self.kept_mask(owner, wanted.mask_asset_id, image)
        if kept is None:
            raise _wrong_mask("This mask no longer exists. Upload it again.")
        return self._library.path(kept)

    async def _uploaded(self, mask: UploadedMask, image: Asset, folder: Path) -> Path:
        """The file of a mask that has the size of the image. Raises Invalid."""
        path = folder / "mask"
        try:
            await self._files.write_upload(mask.chunks, path, self._library.max_upload_bytes)
            width, height = await self._media.run(masks.size_of, path, self._media.max_pixels)
        except Invalid as exc:
            raise type(exc)(exc.message, fields={"mask": exc.message}) from None
        if (width, height) != (image.width, image.height):
            sizes = f"{width} × {height} pixels, but the image is {image.width} × {image.height}"
            raise _wrong_mask(f"The mask is {sizes}. They must be equal.")
        return path


def _check(edits: MaskEdits, image: Asset, max_pixels: int) -> None:
    """Raises Invalid for numbers that make no sense for this image."""
    fields: dict[str, str] = {}
    if not 0 <= edits.feather <= MAX_FEATHER:
        fields["mask-feather"] = f"The feather must be 0 to {MAX_FEATHER} pixels."
    margins = edits.margins
    if not all(0 <= side <= MAX_MARGIN for side in (margins.top, margins.right, margins.bottom, margins.left)):
        fields["margins"] = f"Each side must be 0 to {MAX_MARGIN:,} pixels."
    elif math.prod(margins.around((image.width, image.height))) > max_pixels:
        fields["margins"] = f"The image may have at most {max_pixels // 1_000_000} megapixels with its margins."
    area = edits.rectangle
    if area is not None and not (
        0 <= area.left < image.width and 0 <= area.top < image.height and area.width > 0 and area.height > 0
    ):
        fields["area"] = f"The rectangle must lie in the image, which is {image.width} × {image.height} pixels."
    if fields:
        raise Invalid(" ".join(fields.values()), fields=fields)


def _wrong_mask(message: str) -> Invalid:
    return Invalid(message, fields={"mask": message})
