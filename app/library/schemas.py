"""Data types of the library."""

import enum
from datetime import datetime
from typing import Final, Self

import msgspec

from app.base.errors import Invalid
from app.storage.metadata.xmp import GenerationSettings


class AssetKind(enum.StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    DOCUMENT = "document"


class Origin(enum.StrEnum):
    """How the asset was created."""

    GENERATED = "generated"
    UPLOADED = "uploaded"
    PREPARED = "prepared"  # made for a job, such as a mask; it is not listed, and goes with the job


class UploadWarning(msgspec.Struct, frozen=True):
    """What an upload lost. `message` is shown to the user."""

    code: str
    message: str


FRAMES_DROPPED: Final = UploadWarning("FRAMES_DROPPED", "Only the first frame of this animation was kept.")


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """A stored image or video. Sizes are in pixels and bytes, `duration` in seconds. `key` and `thumbnail_key` are keys in
    `storage.files` and are never exposed. `parent_asset_id` is the image of which this is an edit, or from which it was prepared;
    `root_asset_id` is the first of that chain. `warnings`, and `settings` that were read from the file, are known only to the request that uploads it; they are not
    stored."""

    id: str
    owner_id: str
    kind: AssetKind
    origin: Origin
    mime: str
    bytes: int
    width: int
    height: int
    duration: float | None = None
    key: str
    thumbnail_key: str | None = None
    job_id: str | None = None
    position: int = 0
    name: str | None = None
    prompt: str = ""
    parent_asset_id: str | None = None
    root_asset_id: str | None = None
    created_at: datetime
    warnings: tuple[UploadWarning, ...] = ()
    settings: GenerationSettings | None = None

    @property
    def url(self) -> str:
        return f"/media/{self.id}"

    @property
    def thumbnail_url(self) -> str | None:
        return f"/media/{self.id}/thumbnail" if self.thumbnail_key else None


class StagedResults(msgspec.Struct):
    """Results of a job whose files are stored but whose rows are not written yet; the caller sets `committed` afterwards. `unusable`
    are those that cannot be stored, by the number of the output."""

    assets: list[Asset] = []
    unusable: dict[int, Invalid] = {}
    committed: bool = False


class AssetOut(msgspec.Struct, frozen=True, kw_only=True):
    """An image or video. Sizes are in pixels and bytes, `duration` in seconds. `parent_asset_id` is the image of which this is an
    edit. `warnings` is only in the response to an upload of which something was lost, `restored_settings` only in that to an upload
    of a file in which it is written how it was generated."""

    id: str
    kind: AssetKind
    url: str
    thumbnail_url: str | None
    mime: str
    bytes: int
    width: int
    height: int
    duration: float | None
    parent_asset_id: str | None
    warnings: list[UploadWarning] | msgspec.UnsetType = msgspec.UNSET
    restored_settings: GenerationSettings | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, asset: Asset) -> Self:
        return cls(
            id=asset.id,
            kind=asset.kind,
            url=asset.url,
            thumbnail_url=asset.thumbnail_url,
            mime=asset.mime,
            bytes=asset.bytes,
            width=asset.width,
            height=asset.height,
            duration=asset.duration,
            parent_asset_id=asset.parent_asset_id,
            warnings=list(asset.warnings) or msgspec.UNSET,
            restored_settings=asset.settings or msgspec.UNSET,
        )
