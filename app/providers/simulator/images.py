"""Makes images: the landscape of a prompt, or reference images tinted with it, with the prompt written at the foot."""

import io
import math
import re
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps

from app.providers.simulator import painting

MAX_REFERENCE_PIXELS: Final = 40_000_000
MAX_PAINTED_SIDE: Final = 1152  # pixels; a larger image is painted at this size and enlarged, which is smooth and cheap
_ORIENTATION: Final = 0x0112  # the EXIF tag


def generate(
    prompt: str,
    seed: int | str,
    size: tuple[int, int],
    *,
    references: list[bytes | str] | None = None,
    format: str = "png",
    quality: int = 90,
    transparent: bool = False,
) -> bytes:
    """The bytes of an image of this size in pixels. Prompt, seed, size and references decide all of it.

    A reference is the bytes of an image, or the name of the host from which a real provider would have fetched one.
    """
    image = _edit(references, prompt, seed, size) if references else landscape(prompt, seed, size)
    strip = caption(prompt, size)
    image.paste(strip, (0, size[1] - strip.height), strip)
    if transparent:
        image.putalpha(_rounded(size))
    out = io.BytesIO()
    if format == "png":
        image.save(out, "PNG", compress_level=3)  # it is looked at once: time counts more than bytes
    else:
        image.save(out, {"jpeg": "JPEG", "webp": "WEBP"}[format], quality=max(1, quality))
    return out.getvalue()


def landscape(prompt: str, seed: int | str, size: tuple[int, int]) -> Image.Image:
    """The landscape of the prompt without a caption."""
    shrink = min(1.0, MAX_PAINTED_SIDE / max(size))
    small = (max(16, round(size[0] * shrink)), max(16, round(size[1] * shrink)))
    painted = painting.paint(prompt, seed, small)
    return painted if small == size else painted.resize(size, Image.Resampling.BICUBIC)


def open_reference(reference: bytes | str, size: tuple[int, int]) -> Image.Image:
    """The reference scaled and cropped to this size; a placeholder for one that was not sent or cannot be read."""
    if isinstance(reference, str):
        return _placeholder(reference, size)
    try:
        image: Image.Image = Image.open(io.BytesIO(reference))
        if image.width * image.height > MAX_REFERENCE_PIXELS:
            return _placeholder("a very large image", size)
        image.draft("RGB", size)
        return ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), size, Image.Resampling.BICUBIC)
    except Exception:  # decoders raise whatever they like
        return _placeholder("an unreadable image", size)


def is_readable(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.width > 0
    except Exception:  # decoders raise whatever they like
        return False


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a readable image as it is displayed, that is, turned upright."""
    with Image.open(io.BytesIO(data)) as image:
        turned = image.getexif().get(_ORIENTATION, 1) >= 5
        return (image.height, image.width) if turned else image.size


def caption(text: str, size: tuple[int, int]) -> Image.Image:
    """At most three lines of white text on a shade that grows darker downwards: an RGBA strip as wide as the image."""
    width, height = size
    letter = max(9, round(math.sqrt(width * height) * 0.021))
    font = ImageFont.load_default(letter)
    margin, leading = round(letter * 1.2), round(letter * 1.35)
    lines = _wrapped(text, font, width - 2 * margin, 3)
    tall = min(height, round(leading * max(1, len(lines)) + margin * 3.2))
    shade = [round(190 * (level / 255) ** 0.8) for level in range(256)]
    strip = Image.new("RGBA", (width, tall), (8, 8, 14, 0))
    strip.putalpha(Image.linear_gradient("L").resize((width, tall)).point(shade))
    pen = ImageDraw.Draw(strip)
    for row, line in enumerate(lines):
        pen.text((margin, tall - margin - leading * (len(lines) - row)), line, font=font, fill=(255, 255, 255, 240))
    return strip


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, lines: int) -> list[str]:
    """Lines that fit the width in pixels; the last one ends with an ellipsis when there is more text."""
    found = [""]
    for word in re.findall(r"\S{1,40}", text[:600]):
        longer = f"{found[-1]} {word}".strip()
        if font.getlength(longer) <= width or not found[-1]:
            found[-1] = longer
        elif len(found) < lines:
            found.append(word)
        else:
            found[-1] += " …"
            break
    return found


def _edit(references: list[bytes | str], prompt: str, seed: int | str, size: tuple[int, int]) -> Image.Image:
    """The first four references side by side, tinted with the colours of the prompt: what an edit keeps stays visible."""
    opened = [open_reference(reference, size) for reference in references[:4]]
    base = Image.new("RGB", size)
    column = math.ceil(size[0] / len(opened))
    for place, image in enumerate(opened):
        base.paste(ImageOps.fit(image, (column, size[1])), (place * column, 0))
    toned = ImageOps.colorize(ImageOps.autocontrast(base.convert("L")), *painting.duotone(prompt, seed))
    return Image.blend(Image.blend(base, toned, 0.4), landscape(prompt, seed, size), 0.2)


def _placeholder(name: str, size: tuple[int, int]) -> Image.Image:
    image = landscape(name, 0, size)
    ImageDraw.Draw(image).text((size[0] / 2, size[1] / 2), name[:60], fill="white", anchor="mm")
    return image


def _rounded(size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size)
    inset = min(size) // 12
    box = (inset, inset, size[0] - inset, size[1] - inset)
    ImageDraw.Draw(mask).rounded_rectangle(box, min(size) // 8, fill=255)
    return mask
