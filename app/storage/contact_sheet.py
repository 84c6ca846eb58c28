"""One image of many thumbnails in a grid, with labels at its edges."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

CELL: Final = 320  # pixels, the side of a cell if there are few
MAX_PIXELS: Final = 20_000_000  # of all cells together
MAX_SIDE: Final = 16_000  # pixels of the grid in each direction
GAP: Final = 8
LABEL: Final = 26  # height of a line of text
ROW_LABEL: Final = 180  # width of the labels at the left
BACKGROUND: Final = "#0f0f0f"
SURFACE: Final = "#1f1f1f"
TEXT: Final = "#ededed"


class SheetCell(msgspec.Struct, frozen=True):
    """A thumbnail; without one its text is shown. `caption` stands below it."""

    thumbnail: Path | None
    text: str = ""
    caption: str = ""


class Sheet(msgspec.Struct, frozen=True):
    """Rows of equal length. `columns` and `rows` are labels; empty for a sheet whose cells have captions."""

    cells: Sequence[Sequence[SheetCell]]
    columns: Sequence[str] = ()
    rows: Sequence[str] = ()


def render(sheet: Sheet) -> bytes:
    """The sheet as a JPEG. A thumbnail that cannot be read is left empty. Blocking."""
    from PIL import Image, ImageDraw, ImageFont

    across, down = len(sheet.cells[0]), len(sheet.cells)
    side = int(min(CELL, math.sqrt(MAX_PIXELS / (across * down)), MAX_SIDE / across, MAX_SIDE / down)) - GAP
    captions = LABEL if any(cell.caption for row in sheet.cells for cell in row) else 0
    left, top = (ROW_LABEL if sheet.rows else GAP), (LABEL + GAP if sheet.columns else GAP)
    width, height = left + across * (side + GAP), top + down * (side + captions + GAP)
    image = Image.new("RGB", (width, height), BACKGROUND)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    for x, label in enumerate(sheet.columns):
        _write(draw, font, label, left + x * (side + GAP), GAP, side)
    for y, row in enumerate(sheet.cells):
        at = top + y * (side + captions + GAP)
        if sheet.rows:
            _write(draw, font, sheet.rows[y], GAP, at + side // 2 - LABEL // 2, ROW_LABEL - 2 * GAP)
        for x, cell in enumerate(row):
            place = (left + x * (side + GAP), at)
            draw.rectangle((*place, place[0] + side - 1, at + side - 1), fill=SURFACE)
            if (thumbnail := _opened(cell.thumbnail, side)) is not None:
                image.paste(thumbnail, (place[0] + (side - thumbnail.width) // 2, at + (side - thumbnail.height) // 2))
            else:
                _write(draw, font, cell.text, place[0] + GAP, at + side // 2 - LABEL // 2, side - 2 * GAP)
            _write(draw, font, cell.caption, place[0], at + side + 4, side)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return file.getvalue()


def _opened(path: Path | None, side: int) -> "Image | None":
    """The thumbnail, not larger than a cell; None if there is none."""
    from PIL import Image as images

    if path is None:
        return None
    try:
        with images.open(path, formats=["WEBP"]) as image:
            found = image.convert("RGB")
    except OSError:
        return None
    found.thumbnail((side, side))
    return found


def _write(draw: "ImageDraw", font: "FreeTypeFont | ImageFont", text: str, x: int, y: int, width: int) -> None:
    """One line of text, shortened to the width."""
    text = " ".join(text.split())
    while text and draw.textlength(text, font) > width:
        text = text.removesuffix("…")[:-1].rstrip()
        text = f"{text}…" if text else ""
    draw.text((x, y), text, fill=TEXT, font=font)
