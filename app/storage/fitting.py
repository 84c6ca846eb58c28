"""Makes an image fit what a model takes: upright, in one of its formats, within its limits. Blocking: call it in a thread."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from app.storage import images
from app.storage.media_type import Facts, Format, sniff

if TYPE_CHECKING:
    from PIL.Image import Image

_QUALITIES: Final = (92, 80, 65)  # tried in this order before the image is made smaller
_SHRINKS: Final = 6  # how often it may be made smaller to have fewer bytes
_BY_MIME: Final = {form.mime: form for form in Format}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes: media types (empty for all), bytes, and pixels on each side; None is no limit."""

    formats: tuple[str, ...] = ()
    max_bytes: int | None = None
    min_width: int | None = None
    min_height: int | None = None
    max_width: int | None = None
    max_height: int | None = None

    def scale(self, width: int, height: int) -> float:
        """What both sides must be multiplied by. An upper limit is kept at any rate."""
        least = max((self.min_width or 0) / width, (self.min_height or 0) / height)
        most = min((self.max_width or math.inf) / width, (self.max_height or math.inf) / height)
        return min(max(1.0, least), most)


class Fitted(NamedTuple):
    """A file that fits, its media type, and its size in pixels."""

    path: Path
    mime: str
    width: int
    height: int


def fit(path: Path, limits: Limits, folder: Path, max_pixels: int) -> Fitted:
    """The same file if it fits, else a new one in `folder`. Its content is kept where the limits allow it: first the format is
    changed, then the quality, then the size. Raises WrongType, TooLarge and DiskFull."""
    form = sniff(path)
    width, height, upright = images.measure(path, form, max_pixels)
    scale = limits.scale(width, height)
    bytes_fit = limits.max_bytes is None or path.stat().st_size <= limits.max_bytes
    if upright and scale == 1 and bytes_fit and form in _formats(limits):
        return Fitted(path, form.mime, width, height)
    image = images.load(path, form, max_pixels)
    if scale != 1:
        image = _scaled(image, limits, scale)
    saved, facts = _saved(image, form, limits, folder)
    return Fitted(saved, facts.mime, facts.width, facts.height)


def _formats(limits: Limits) -> list[Format]:
    """The formats that a model takes among those that can be written, the one without losses first."""
    writable = (Format.PNG, Format.JPEG, Format.WEBP)
    allowed = [form for form in writable if not limits.formats or form.mime in limits.formats]
    return allowed or [Format.PNG]


def _saved(image: "Image", form: Format, limits: Limits, folder: Path) -> tuple[Path, Facts]:
    """In the format that the image had if possible. The last attempt is returned even if it is still too large."""
    formats = _formats(limits)
    first = form if form in formats else formats[0]
    smaller = next((other for other in formats if other is not Format.PNG), first)
    attempts = [(first, _QUALITIES[0]), *((smaller, quality) for quality in _QUALITIES)]
    for _ in range(_SHRINKS):
        for attempt, quality in attempts:
            saved, facts = images.save(_opaque(image) if attempt is Format.JPEG else image, attempt, folder, quality)
            if limits.max_bytes is None or facts.bytes <= limits.max_bytes:
                return saved, facts
            saved.unlink()
        attempts = attempts[-1:]
        image = _scaled(image, limits, min(0.9, math.sqrt((limits.max_bytes or 1) / facts.bytes) * 0.95))
    return images.save(_opaque(image), attempts[-1][0], folder, _QUALITIES[-1])


def _scaled(image: "Image", limits: Limits, scale: float) -> "Image":
    from PIL.Image import Resampling

    sides = (max(1, round(side * scale)) for side in image.size)
    most = (limits.max_width or math.inf, limits.max_height or math.inf)
    width, height = (int(min(side, limit)) for side, limit in zip(sides, most, strict=True))
    return image.resize((width, height), Resampling.LANCZOS)


def _opaque(image: "Image") -> "Image":
    """On white, for a format without transparency."""
    from PIL import Image

    if image.mode != "RGBA":
        return image
    below = Image.new("RGB", image.size, "white")
    below.paste(image, mask=image.getchannel("A"))
    return below
