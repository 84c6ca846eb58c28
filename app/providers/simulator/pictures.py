"""Draws the pictures: the scene that a prompt calls up, or a given picture made over, with the prompt beneath."""

import io
import math

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps, UnidentifiedImageError

from app.providers.simulator import scenery

UNREADABLE = (
    UnidentifiedImageError,
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
LARGEST_GIVEN = 40_000_000
ORIENTATION = 0x0112
DRAWN_SIDE = 1152
"""Longer side at which a scene is drawn; larger pictures are enlarged from there, smoothly and cheaply."""


def draw(
    prompt: str,
    seed: int | str,
    size: tuple[int, int],
    *,
    references: list[bytes | str] | None = None,
    format: str = "png",
    quality: int = 90,
    transparent: bool = False,
) -> bytes:
    """The picture's bytes. The same prompt, seed, size and references give the same picture.

    A reference is the bytes of a picture, or the name of the host where one would have been fetched.
    """
    picture = made_over(references, prompt, seed, size) if references else scene(prompt, seed, size)
    caption(picture, prompt)
    if transparent:
        picture.putalpha(_rounded(size))
    return encode(picture, format, quality)


def encode(picture: Image.Image, format: str, quality: int = 90) -> bytes:
    """The picture in that format. PNG is packed lightly: it is looked at once, and time counts more than bytes."""
    out = io.BytesIO()
    if format == "png":
        picture.save(out, "PNG", compress_level=3)
    else:
        picture.save(out, {"jpeg": "JPEG", "webp": "WEBP"}[format], quality=max(1, quality))
    return out.getvalue()


def scene(prompt: str, seed: int | str, size: tuple[int, int]) -> Image.Image:
    """The scene that the prompt calls up."""
    shrink = min(1.0, DRAWN_SIDE / max(size))
    small = (max(16, round(size[0] * shrink)), max(16, round(size[1] * shrink)))
    drawn = scenery.paint(prompt, seed, small).whole()
    return drawn if small == size else drawn.resize(size, Image.Resampling.BICUBIC)


def made_over(references: list[bytes | str], prompt: str, seed: int | str, size: tuple[int, int]) -> Image.Image:
    """The given pictures in the colours of the prompt's scene: what an edit would keep is plainly still there."""
    scenic = scene(prompt, seed, size)
    given = [opened(reference, size) for reference in references[:4]]
    base = given[0] if len(given) == 1 else _side_by_side(given, size)
    toned = ImageOps.colorize(ImageOps.autocontrast(base.convert("L")), *scenery.duotone(prompt, seed))
    mixed = Image.blend(base, toned, 0.45)
    lit = ImageChops.soft_light(mixed, scenic.filter(ImageFilter.GaussianBlur(max(size) / 40)))
    return ImageEnhance.Color(lit).enhance(1.15)


def opened(given: bytes | str, size: tuple[int, int]) -> Image.Image:
    """The given picture, scaled and cut to this size; a stand-in for one that would have to be fetched or is none."""
    if isinstance(given, str):
        return _stand_in(given, size)
    try:
        picture: Image.Image = Image.open(io.BytesIO(given))
        if picture.width * picture.height > LARGEST_GIVEN:
            return _stand_in("a very large picture", size)
        picture.draft("RGB", size)
        upright = ImageOps.exif_transpose(picture)
        return ImageOps.fit(upright.convert("RGB"), size, Image.Resampling.BICUBIC)
    except UNREADABLE:
        return _stand_in("an unreadable picture", size)


def readable(given: bytes) -> bool:
    """Whether these bytes are a picture."""
    try:
        with Image.open(io.BytesIO(given)) as picture:
            return picture.width > 0
    except UNREADABLE:
        return False


def size_of(given: bytes) -> tuple[int, int]:
    """Width and height of a readable picture as it is seen, turned upright."""
    with Image.open(io.BytesIO(given)) as picture:
        turned = picture.getexif().get(ORIENTATION, 1) >= 5
        return (picture.height, picture.width) if turned else picture.size


def caption(picture: Image.Image, words: str, corner: str = "") -> None:
    """Write the words small and legible over the foot of the picture, at most three lines."""
    width, height = picture.size
    strip = caption_strip(words, (width, height), corner)
    picture.paste(strip, (0, height - strip.height), strip)


def caption_strip(words: str, size: tuple[int, int], corner: str = "") -> Image.Image:
    """The caption as a transparent strip as wide as the picture: a shade that grows downwards, white words on it."""
    width, height = size
    letter = max(9, round(math.sqrt(width * height) * 0.021))
    font = ImageFont.load_default(letter)
    margin = round(letter * 1.2)
    lines = wrapped(words, font, width - 2 * margin, 3)
    leading = round(letter * 1.35)
    tall = min(height, round(leading * max(1, len(lines)) + margin * 3.2))
    shade = (
        Image.linear_gradient("L").resize((width, tall)).point([round(190 * (at / 255) ** 0.8) for at in range(256)])
    )
    strip = Image.new("RGBA", (width, tall), (8, 8, 14, 0))
    strip.putalpha(shade)
    pen = ImageDraw.Draw(strip)
    top = tall - margin - leading * len(lines)
    for place, line in enumerate(lines):
        pen.text((margin, top + place * leading), line, font=font, fill=(255, 255, 255, 240))
    if corner:
        small = ImageFont.load_default(max(8, round(letter * 0.75)))
        pen.text((width - margin, top - leading * 0.9), corner, font=small, fill=(255, 255, 255, 170), anchor="ra")
    return strip


def wrapped(words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, most: int) -> list[str]:
    """The words in lines that fit the width; what is left over after the last line becomes an ellipsis."""
    lines: list[str] = []
    rest = " ".join(words[:600].split())
    while rest and len(lines) < most:
        fits = _fitting(rest, font, width)
        if fits < len(rest):
            gap = rest.rfind(" ", 0, fits + 1)
            fits = gap if gap > 0 else fits
        lines.append(rest[:fits].rstrip())
        rest = rest[fits:].lstrip()
    if rest and lines:
        kept = lines[-1]
        while kept and font.getlength(kept + "…") > width:
            kept = kept[:-1]
        lines[-1] = kept.rstrip() + "…"
    return lines


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> int:
    low, high = 1, min(len(text), 400)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low


def _side_by_side(given: list[Image.Image], size: tuple[int, int]) -> Image.Image:
    whole = Image.new("RGB", size)
    column = math.ceil(size[0] / len(given))
    for place, picture in enumerate(given):
        whole.paste(ImageOps.fit(picture, (column, size[1])), (place * column, 0))
    return whole


def _stand_in(name: str, size: tuple[int, int]) -> Image.Image:
    """A picture in place of one that is not there, with the name of where it would have come from."""
    picture = scene(name, 0, size).filter(ImageFilter.GaussianBlur(max(size) / 60))
    font = ImageFont.load_default(max(10, min(size) // 16))
    pen = ImageDraw.Draw(picture)
    pen.text(
        (size[0] / 2, size[1] / 2), name[:60], font=font, fill="white", anchor="mm", stroke_width=2, stroke_fill="#222"
    )
    return picture


def _rounded(size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", (size[0] // 2, size[1] // 2))
    inset = min(size) // 24
    box = (inset, inset, mask.width - inset, mask.height - inset)
    ImageDraw.Draw(mask).rounded_rectangle(box, min(size) // 8, fill=255)
    return mask.resize(size, Image.Resampling.BICUBIC)
