"""Validates image requests, and reads the files of an edit."""

import io
from typing import Any

import msgspec

from app.providers.simulator import sizes
from app.providers.simulator.openai_format.admission import JsonObject
from app.providers.simulator.openai_format.errors import ErrorAnswer, bad_request
from app.providers.simulator.openai_format.forms import SentFile

MAX_IMAGES = 16
MAX_MASK_BYTES = 4 * 1024 * 1024
QUALITIES = ("auto", "low", "medium", "high", "xhigh", "max")
FORMATS = ("png", "jpeg", "webp")
BACKGROUNDS = ("auto", "transparent", "opaque")
_FIELDS = {
    *("model", "prompt", "n", "size", "quality", "background", "output_format", "output_compression", "moderation"),
    *("stream", "partial_images", "user", "safety_identifier"),
}
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")


class EditInput(msgspec.Struct, frozen=True):
    """The images of an edit, and its mask."""

    images: list[bytes]
    mask: bytes | None


def check(body: JsonObject, *more: str) -> None:
    """Raises an error answer for an invalid value, and for a field that is not among OpenAI's or `more`."""
    if not isinstance(body.get("prompt"), str) or not body["prompt"].strip():
        raise bad_request("Missing required parameter: 'prompt'.")
    for name in body:
        if name not in _FIELDS and name not in more:
            raise bad_request(f"Unknown parameter: '{name}'.")
    for name, allowed in (("quality", QUALITIES), ("output_format", FORMATS), ("background", BACKGROUNDS)):
        if body.get(name) is not None and body[name] not in allowed:
            raise bad_request(f"Invalid value: '{body[name]}'. Supported values are: {', '.join(allowed)}.")
    number(body, "n", 1, 1, 10)
    number(body, "output_compression", 100, 0, 100)
    size_of(body)


def number(body: JsonObject, name: str, default: int, low: int, high: int) -> int:
    """A whole number, which in a form is text."""
    value: Any = body.get(name)
    if value is None:
        return default
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise bad_request(f"Invalid '{name}': expected an integer from {low} to {high}.")
    return value


def size_of(body: JsonObject) -> tuple[int, int]:
    """In pixels."""
    size = body.get("size") or "auto"
    if size == "auto":
        return (1024, 1024)
    found = sizes.pixels(size) if isinstance(size, str) else None
    if found is None or found[0] % 16 or found[1] % 16 or not 1 / 3 <= found[0] / found[1] <= 3:
        raise bad_request(f"Invalid size '{size}'. Both sides must be divisible by 16, the ratio at most 3:1.")
    return found


def edit_input(files: list[SentFile]) -> EditInput:
    """The files of an edit. Decodes images, so call it in a thread. Raises an error answer."""
    images = [_checked(file) for file in files if file.field in ("image", "image[]")]
    masks = [_checked(file) for file in files if file.field == "mask"]
    if not 1 <= len(images) <= MAX_IMAGES:
        raise ErrorAnswer(400, f"'image' must be 1 to {MAX_IMAGES} files.", "invalid_type")
    mask = masks[0] if masks else None
    if mask is not None:
        _check_mask(mask, images[0])
    return EditInput(images, mask)


def _checked(file: SentFile) -> bytes:
    from app.providers.simulator import images  # late: it loads Pillow

    if file.media_type not in _IMAGE_TYPES or not file.filename:
        raise ErrorAnswer(
            400, f"Invalid file '{file.field}': unsupported mimetype ('{file.media_type}').", "invalid_type"
        )
    if not images.is_readable(file.data):
        raise bad_request(f"Invalid image file for '{file.field}'.")
    return file.data


def _check_mask(mask: bytes, image: bytes) -> None:
    from PIL import Image  # late: it takes a while

    from app.providers.simulator import images

    opened = Image.open(io.BytesIO(mask))
    if opened.format != "PNG" or "A" not in opened.getbands() or len(mask) > MAX_MASK_BYTES:
        raise bad_request("The mask must be a PNG file with an alpha channel, of at most 4 MB.")
    if opened.size != images.size_of(image):
        raise bad_request("The mask must have the size of the image.")
