"""Puts what is known of a file's job into the file that is downloaded."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.base.errors import Missing
from app.base.file_parts import Part
from app.jobs.schemas import Job
from app.jobs.service import Jobs
from app.library.schemas import Asset
from app.library.service import Library
from app.storage.media import Media
from app.storage.metadata.embedding import rewritten
from app.storage.metadata.xmp import GenerationSettings, UsedInput

MAX_NAME: Final = 60  # characters of a file name before its id


class DownloadFile(msgspec.Struct, frozen=True):
    """A file made of parts of the stored file at `path`. `name` is the file name that is suggested."""

    asset: Asset
    path: Path
    name: str
    parts: Sequence[Part]


class Downloads:
    """Files as they leave the library."""

    def __init__(self, library: Library, jobs: Jobs, media: Media) -> None:
        self._library = library
        self._jobs = jobs
        self._media = media

    async def prepare(self, owner: str, id: str, *, metadata: bool) -> DownloadFile:
        """The file of an asset with the settings of its job, or without any metadata. Raises Missing."""
        asset = await self._library.find(owner, id)
        path = self._library.path(asset)
        settings = await self._settings(asset) if metadata else None
        try:
            parts = await self._media.run(rewritten, path, asset.mime, settings)
        except FileNotFoundError:
            raise Missing("This file no longer exists.") from None
        return DownloadFile(asset, path, _name(asset, path.suffix), parts)

    async def _settings(self, asset: Asset) -> GenerationSettings | None:
        """None for a file that was not generated: an upload has no metadata anyway."""
        if asset.job_id is None:
            return None
        try:
            return settings_of_job(await self._jobs.find(asset.owner_id, asset.job_id))
        except Missing:
            return None


def settings_of_job(job: Job) -> GenerationSettings:
    """What is written into the files of this job."""
    return GenerationSettings(
        kind=job.kind.value,
        model=job.model,
        prompt=job.prompt,
        enhanced_prompt=job.enhanced_prompt,
        enhanced_by=(job.enhanced_by or job.id) if job.enhanced_prompt else None,
        system_prompt=job.system_prompt,
        params=job.params,
        inputs=tuple(UsedInput(each.role.value, each.asset_id, each.weight) for each in job.inputs),
    )


def _name(asset: Asset, suffix: str) -> str:
    """Readable and unique: the beginning of the prompt or the name of the upload, and the end of the id."""
    stem = Path(asset.name).stem if asset.name else asset.prompt
    words = re.sub(r"[\W_]+", "-", stem[: 2 * MAX_NAME]).strip("-")[:MAX_NAME].rstrip("-").lower()
    return f"{words or asset.kind.value}-{asset.id[-6:]}{suffix}"
