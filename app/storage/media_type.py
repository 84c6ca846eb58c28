"""Detects the format of an image or video from its first bytes, never from its name, and describes the result."""

import contextlib
import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from app.base import errors
from app.base.disk_full import NO_SPACE

Kind = Literal["image", "video"]

HEAD = 1024  # bytes
ACCEPTED = "Upload a PNG, JPEG, WebP, GIF or AVIF image, or an MP4 or WebM video"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`width` and `height` are in pixels after applying the file's rotation, `duration` in seconds if known. `frames_dropped` says
    that the file was made from an animation, of which only the first frame was kept."""

    kind: Kind
    mime: str
    suffix: str
    width: int
    height: int
    bytes: int
    duration: float | None = None
    frames_dropped: bool = False


class Format(enum.Enum):
    """The accepted formats: label, media type and file suffix."""

    PNG = ("PNG image", "image/png", ".png")
    JPEG = ("JPEG image", "image/jpeg", ".jpg")
    WEBP = ("WebP image", "image/webp", ".webp")
    GIF = ("GIF image", "image/gif", ".gif")
    AVIF = ("AVIF image", "image/avif", ".avif")
    MP4 = ("MP4 video", "video/mp4", ".mp4")
    WEBM = ("WebM video", "video/webm", ".webm")

    def __init__(self, label: str, mime: str, suffix: str) -> None:
        self.label = label
        self.mime = mime
        self.suffix = suffix

    @property
    def kind(self) -> Kind:
        return "video" if self.mime.startswith("video/") else "image"

    def facts(self, path: Path, size: tuple[int, int], duration: float | None = None) -> Facts:
        """The facts of the file at `path`, which has this format and `size` in pixels."""
        width, height = size
        return Facts(
            kind=self.kind,
            mime=self.mime,
            suffix=self.suffix,
            width=width,
            height=height,
            bytes=path.stat().st_size,
            duration=duration,
        )

    def damaged(self) -> errors.WrongType:
        return errors.WrongType(f"This {self.label} is damaged or incomplete.")


# Formats that users often upload by mistake; the error message names them.
_UNSUPPORTED = (
    (b"%PDF-", "a PDF document"),
    (b"MZ", "an executable"),
    (b"\x7fELF", "an executable"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"BM", "a BMP image"),
    (b"\0\0\1\0", "an icon"),
    (b"8BPS", "a Photoshop document"),
)


@contextlib.contextmanager
def translate_error(form: Format) -> Iterator[None]:
    """Replace a decoder's error with a message for the user. Disk errors pass through unchanged."""
    try:
        yield
    except errors.AtelierError:
        raise
    except MemoryError:
        raise errors.TooLarge(f"This {form.label} is too large to process.") from None
    except Exception as exc:
        code = getattr(exc, "errno", None)
        # Decoders raise OSError too: Pillow without errno, PyAV with its own subclasses.
        if code in NO_SPACE or (code and isinstance(exc, OSError) and type(exc).__module__ == "builtins"):
            raise
        raise form.damaged() from None


def sniff(path: Path) -> Format:
    """The format given by the first bytes of the file. Raises WrongType."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise errors.WrongType("This file is empty.")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if head.startswith((b"GIF87a", b"GIF89a")):
        return Format.GIF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Format.WEBP
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _by_document_type(head)
    for start, name in _UNSUPPORTED:
        if head.startswith(start):
            raise _unsupported(name)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<"):
        raise _unsupported("an SVG image" if b"<svg" in text else "an HTML page")
    raise errors.WrongType(f"Unsupported file type. {ACCEPTED}.")


def _by_brand(head: bytes) -> Format:
    """MP4 and AVIF share a container format; the brands in its `ftyp` box tell them apart."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[offset : offset + 4] for offset in range(16, end - 3, 4))]
    if b"avif" in brands or b"avis" in brands:
        return Format.AVIF
    if brands[0] in (b"heic", b"heix", b"mif1", b"msf1"):
        raise _unsupported("a HEIC image")
    if brands[0] == b"qt  ":
        raise _unsupported("a QuickTime video")
    return Format.MP4


def _by_document_type(head: bytes) -> Format:
    """WebM is a subset of Matroska, with its own document type in the header."""
    if re.search(rb"\x42\x82.{1,8}?webm", head[:64], re.S):
        return Format.WEBM
    raise _unsupported("a Matroska video")


def _unsupported(name: str) -> errors.WrongType:
    return errors.WrongType(f"This is {name}, which is not supported. {ACCEPTED}.")
