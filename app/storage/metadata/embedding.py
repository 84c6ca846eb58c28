"""Writes metadata into a file of any format, and reads it back. Both block: call them in a thread."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from app.base.file_parts import FileRange, Part
from app.storage.media_type import Format
from app.storage.metadata import jpeg, mp4, png, webp
from app.storage.metadata.embedded import Embedded
from app.storage.metadata.xmp import MAX_PACKET, SOFTWARE, GenerationSettings, packet, pointer, settings_in


class _Writer(NamedTuple):
    find: Callable[[IO[bytes], int, int], bytes | None]
    rewrite: Callable[[IO[bytes], int, Embedded | None], list[Part]]


_FORMATS = {
    Format.PNG.mime: _Writer(png.xmp_packet, png.rewritten),
    Format.JPEG.mime: _Writer(jpeg.xmp_packet, jpeg.rewritten),
    Format.WEBP.mime: _Writer(webp.xmp_packet, webp.rewritten),
    Format.MP4.mime: _Writer(mp4.xmp_packet, mp4.rewritten),
}


def rewritten(path: Path, mime: str, settings: GenerationSettings | None) -> Sequence[Part]:
    """The parts of the file at `path` with these settings, or without any metadata. A file of another format, or one whose structure
    is unusual, stays as it is. Raises FileNotFoundError. Blocking."""
    with path.open("rb") as file:
        end = path.stat().st_size
        if mime in _FORMATS:
            try:
                return _FORMATS[mime].rewrite(file, end, _embedded(settings) if settings is not None else None)
            except (ValueError, IndexError):
                pass
    return [FileRange(0, end)]


def settings_of(path: Path, mime: str) -> GenerationSettings | None:
    """The settings in a file that `rewritten` made; None if there are none that can be read. Blocking."""
    if mime not in _FORMATS:
        return None
    with path.open("rb") as file:
        try:
            found = _FORMATS[mime].find(file, path.stat().st_size, MAX_PACKET)
        except (ValueError, IndexError):
            return None
    return settings_in(found) if found else None


def _embedded(settings: GenerationSettings) -> Embedded:
    xmp = packet(settings)
    digest = hashlib.md5(xmp, usedforsecurity=False).hexdigest().upper()
    return Embedded(
        xmp=xmp,
        pointer=pointer(settings, digest),
        digest=digest,
        prompt=_without_nul(settings.enhanced_prompt or settings.prompt),
        parameters=_without_nul(_parameters(settings)),
        software=SOFTWARE,
    )


def _parameters(settings: GenerationSettings) -> str:
    """The text that image tools show as the parameters of a file: the prompt, the negative prompt, and a line of settings."""
    params = dict(settings.params)
    negative = params.pop("negative_prompt", None)
    seed = params.pop("seed", None)
    values = {"Seed": seed, "Model": settings.model, **params, "Version": SOFTWARE}
    line = ", ".join(f"{name}: {_value(value)}" for name, value in values.items() if value is not None)
    lines = [settings.enhanced_prompt or settings.prompt, f"Negative prompt: {negative}" if negative else "", line]
    return "\n".join(filter(None, lines))


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if any(character in text for character in ',:\n"') else text


def _without_nul(text: str) -> str:
    """These texts end at the first zero byte."""
    return text.replace("\0", " ")
