"""Paints the images of this service: with a mask, only its white part is new."""

import io

from PIL import Image

from app.providers.contract import InputRole
from app.providers.simulator import images

MAX_SIDE = 2048  # pixels


def black(size: tuple[int, int]) -> bytes:
    """What is returned for blocked content."""
    out = io.BytesIO()
    Image.new("RGB", size).save(out, "PNG")
    return out.getvalue()


def paint(
    prompt: str, seed: int | str, size: tuple[int, int], inputs: dict[InputRole, list[bytes | str]], format: str
) -> bytes:
    base, masks = inputs.get(InputRole.IMAGE, []), inputs.get(InputRole.MASK, [])
    if base and isinstance(base[0], bytes) and masks:
        return _inpainted(prompt, seed, base[0], masks[0], format)
    references = [one for files in inputs.values() for one in files]
    return images.generate(prompt, seed, size, references=references or None, format=format)


def _inpainted(prompt: str, seed: int | str, base: bytes, mask: bytes | str, format: str) -> bytes:
    width, height = images.size_of(base)
    scale = min(1.0, MAX_SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    area = images.open_reference(mask, size).convert("L").point([255 * (level > 127) for level in range(256)])
    whole = images.open_reference(base, size)
    whole.paste(images.landscape(prompt, seed, size), (0, 0), area)
    out = io.BytesIO()
    whole.save(out, {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}[format])
    return out.getvalue()
