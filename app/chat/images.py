"""The images of messages in conversations: images of the user's library, which are read when an answer is asked for."""

import base64
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from app.base.errors import Invalid, Missing
from app.catalog.schemas import Model
from app.chat import validation
from app.library.schemas import Asset, AssetKind
from app.library.service import Library
from app.providers.contract import Turn
from app.storage import fitting
from app.storage.files import Files
from app.storage.fitting import Limits
from app.storage.media import Media

MAX_IMAGES: Final = 8  # of a message, and of all messages that are sent to a model
LIMITS: Final = Limits(
    formats=("image/png", "image/jpeg", "image/webp"), max_bytes=4 * 1024 * 1024, max_width=2048, max_height=2048
)
_ASSET: Final = "asset"  # the type of a part that `MessageImages.loaded` replaces
_DELETED: Final = "(This image was deleted.)"


class MessageImages:
    """Checks the images of new messages, and loads those that are sent."""

    def __init__(self, library: Library, files: Files, media: Media) -> None:
        self.library = library
        self._files = files
        self._media = media

    async def check(self, owner: str, ids: Sequence[str], model: Model) -> tuple[str, ...]:
        """The same ids without repetitions. Raises Invalid unless all are images of the user and the model accepts images."""
        found = tuple(dict.fromkeys(ids))
        if not found:
            return ()
        if len(found) > MAX_IMAGES:
            raise validation.wrong("images", f"A message can have at most {MAX_IMAGES} images.")
        for id in found:
            try:
                asset = await self.library.find(owner, id)
            except Missing:
                raise validation.wrong("images", "This image is not in your library.") from None
            if asset.kind is not AssetKind.IMAGE:
                raise validation.wrong("images", "Only images can be part of a message.")
        if not accepts_images(model):
            raise validation.wrong("model", f"{model.name} does not accept images. Choose another model.")
        return found

    async def loaded(self, owner: str, turns: Sequence[Turn], model: Model) -> tuple[Turn, ...]:
        """The turns with their newest images as data URLs. Older ones are left out, and all of them if the model accepts none."""
        left = MAX_IMAGES if accepts_images(model) else 0
        found: list[Turn] = []
        for turn in reversed(turns):
            if isinstance(turn.content, list):
                images = [part for part in turn.content if part["type"] == _ASSET][:left]
                left -= len(images)
                texts = [part for part in turn.content if part["type"] != _ASSET]
                parts = [*texts, *[await self._part(owner, part["asset_id"]) for part in images]]
                turn = msgspec.structs.replace(turn, content=parts if images else texts[0]["text"])
            found.append(turn)
        return tuple(reversed(found))

    async def _part(self, owner: str, asset_id: str) -> dict[str, Any]:
        try:
            asset = await self.library.find(owner, asset_id)
            async with self._files.folder() as folder:
                url = await self._media.run(_data_url, self.library.path(asset), folder, self._media.max_pixels)
        except (Missing, Invalid, FileNotFoundError):
            return {"type": "text", "text": _DELETED}
        return {"type": "image_url", "image_url": {"url": url}}

    async def upload(self, owner: str, chunks: AsyncIterator[bytes], name: str | None) -> str:
        """Store an image in the library; returns its id. Raises Invalid for anything else."""
        try:
            asset = await self.library.upload(owner, chunks, name)
        except Invalid as exc:
            raise validation.wrong("images", exc.message) from None
        if asset.kind is not AssetKind.IMAGE:
            raise validation.wrong("images", "This is a video, now saved in your library. Choose an image.")
        return asset.id

    async def recent(self, owner: str, limit: int = 12) -> Sequence[Asset]:
        """Images of the library that the composer offers."""
        return (await self.library.newest(owner, kind=AssetKind.IMAGE, limit=limit)).items


def accepts_images(model: Model) -> bool:
    return "image" in model.input_modalities


def turn_with(role: str, text: str, images: Sequence[str]) -> Turn:
    """A turn whose images `MessageImages.loaded` loads."""
    if not images:
        return Turn(role, text)
    return Turn(role, [{"type": "text", "text": text}, *({"type": _ASSET, "asset_id": id} for id in images)])


def _data_url(path: Path, folder: Path, max_pixels: int) -> str:
    fitted = fitting.fit(path, LIMITS, folder, max_pixels)
    return f"data:{fitted.mime};base64,{base64.b64encode(fitted.path.read_bytes()).decode()}"
