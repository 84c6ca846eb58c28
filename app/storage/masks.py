"""Masks of images. Here a mask has one meaning: white is generated, black is kept, grey is in between. What people upload is
brought to it, and it is turned into what a model expects. Everything here is blocking: call it in a thread.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from app.base.errors import Invalid
from app.storage import images
from app.storage.media_type import Format, sniff

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_MARGIN: Final = 4096  # pixels
MAX_FEATHER: Final = 256  # pixels
_MARKED: Final = 128  # a pixel of this value or more counts as generated
_WHITE, _BLACK = 224, 32  # what counts as plainly white or black
_DRAWN: Final = 0.95  # the part of the visible pixels that is plainly black or white in a drawing, but not in a photo


class Rectangle(msgspec.Struct, frozen=True):
    """In pixels of the image."""

    left: int
    top: int
    width: int
    height: int


class Margins(msgspec.Struct, frozen=True):
    """What is added to an image on each side, in pixels."""

    top: int = 0
    right: int = 0
    bottom: int = 0
    left: int = 0

    def __bool__(self) -> bool:
        return any((self.top, self.right, self.bottom, self.left))

    def around(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size with the margins."""
        return size[0] + self.left + self.right, size[1] + self.top + self.bottom


class MaskEdits(msgspec.Struct, frozen=True, kw_only=True):
    """How a mask is drawn from what a person gave: an area is added, all is inverted, margins are added as generated, and the edge
    is made soft over `feather` pixels. In this order."""

    rectangle: Rectangle | None = None
    invert: bool = False
    margins: Margins = Margins()
    feather: int = 0


class Drawn(NamedTuple):
    """The file of a mask, and whether it marks nothing."""

    path: Path
    empty: bool


def size_of(path: Path, max_pixels: int) -> tuple[int, int]:
    """Of any image, without decoding it where possible. Raises WrongType and TooLarge."""
    form = _image_format(path)
    width, height, _ = images.measure(path, form, max_pixels)
    return width, height


def draw(path: Path | None, size: tuple[int, int], edits: MaskEdits, folder: Path, max_pixels: int) -> Drawn:
    """A new mask for an image of this size, from the one at `path` or from none. Raises WrongType, TooLarge and DiskFull."""
    from PIL import Image, ImageChops, ImageFilter

    mask = _read(path, max_pixels) if path else Image.new("L", size)
    if area := edits.rectangle:
        mask.paste(255, (area.left, area.top, area.left + area.width, area.top + area.height))
    if edits.invert:
        mask = ImageChops.invert(mask)
    if edits.margins:
        mask = _enlarged(mask, edits.margins, 255)
    empty = not any(mask.histogram()[_MARKED:])
    if edits.feather:
        mask = mask.filter(ImageFilter.GaussianBlur(edits.feather / 2))
    return Drawn(images.save(mask, Format.PNG, folder)[0], empty)


def enlarge(path: Path, margins: Margins, folder: Path, max_pixels: int) -> Path:
    """A new file of the image with margins in its average color. Raises WrongType, TooLarge and DiskFull."""
    from PIL import ImageStat

    form = _image_format(path)
    image = images.load(path, form, max_pixels)
    image = image.convert("RGB") if image.mode == "RGBA" else image
    average = tuple(round(value) for value in ImageStat.Stat(image).mean)
    image = _enlarged(image, margins, average if len(average) > 1 else average[0])
    return images.save(image, Format.JPEG if form is Format.JPEG else Format.PNG, folder, 95)[0]


def for_model(
    path: Path, size: tuple[int, int], marked_by: str, max_bytes: int | None, folder: Path, max_pixels: int
) -> Path:
    """A PNG of this size in which `marked_by`, which is white, black or transparent, marks what is generated. Raises WrongType,
    TooLarge and DiskFull."""
    mask = _read(path, max_pixels)
    if mask.size != size:
        mask = _resized(mask, size)
    saved, facts = images.save(_marked(mask, marked_by), Format.PNG, folder)
    if max_bytes is not None and facts.bytes > max_bytes:  # soft edges take most of the bytes
        hard = mask.point(lambda value: 255 if value >= _MARKED else 0)
        saved, _ = images.save(_marked(hard, marked_by), Format.PNG, folder)
    return saved


def _image_format(path: Path) -> Format:
    form = sniff(path)
    if form.kind != "image":
        raise Invalid("This is a video. Choose an image.")
    return form


def _read(path: Path, max_pixels: int) -> "Image":
    """The mask in grey, white where the image is generated. In a mask with transparency that is what is transparent, unless the
    visible part is a drawing in black and white: in it white counts, and nothing is kept."""
    from PIL import Image, ImageChops

    image = images.load(path, _image_format(path), max_pixels)
    if image.mode != "RGBA":
        return image.convert("L")
    alpha, light = image.getchannel("A"), image.convert("L")
    visible = light.histogram(alpha.point(lambda value: 255 if value >= _MARKED else 0))
    white, black = sum(visible[_WHITE:]), sum(visible[: _BLACK + 1])
    is_drawing = white > 0 and white + black >= _DRAWN * sum(visible)
    has_holes = any(alpha.histogram()[:_MARKED])
    if is_drawing or not has_holes:
        return Image.composite(light, Image.new("L", light.size), alpha)
    return ImageChops.invert(alpha)


def _enlarged(image: "Image", margins: Margins, color: int | tuple[int, ...]) -> "Image":
    from PIL import Image

    larger = Image.new(image.mode, margins.around(image.size), color)
    larger.paste(image, (margins.left, margins.top))
    return larger


def _resized(mask: "Image", size: tuple[int, int]) -> "Image":
    """A mask with hard edges keeps them."""
    from PIL.Image import Resampling

    hard = mask.getcolors(2) is not None
    return mask.resize(size, Resampling.NEAREST if hard else Resampling.BILINEAR)


def _marked(mask: "Image", marked_by: str) -> "Image":
    from PIL import Image, ImageChops

    if marked_by == "white":
        return mask
    inverted = ImageChops.invert(mask)
    if marked_by == "black":
        return inverted
    black = Image.new("L", mask.size)
    return Image.merge("RGBA", (black, black, black, inverted))
