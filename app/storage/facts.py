"""What is known of a picture or clip, and what a file claims to be by its first bytes (its name is never asked)."""

import enum
import re
from pathlib import Path
from typing import Literal

import msgspec

from app.base import errors

Kind = Literal["image", "video"]

HEAD = 1024  # bytes; an HTML page or a PDF may begin that late
ACCEPTED = "PNG, JPEG, WebP, GIF and AVIF pictures and MP4 and WebM clips are accepted"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`width` and `height` in pixels as shown (after the file's own rotation), `duration` in seconds where it is known."""

    kind: Kind
    mime: str
    suffix: str
    width: int
    height: int
    bytes: int
    duration: float | None = None


class Format(enum.Enum):
    """Everything that is accepted: what people call it, its media type, our suffix for it."""

    PNG = ("PNG picture", "image/png", ".png")
    JPEG = ("JPEG picture", "image/jpeg", ".jpg")
    WEBP = ("WebP picture", "image/webp", ".webp")
    GIF = ("GIF picture", "image/gif", ".gif")
    AVIF = ("AVIF picture", "image/avif", ".avif")
    MP4 = ("MP4 clip", "video/mp4", ".mp4")
    WEBM = ("WebM clip", "video/webm", ".webm")

    def __init__(self, label: str, mime: str, suffix: str) -> None:
        self.label = label
        self.mime = mime
        self.suffix = suffix

    @property
    def kind(self) -> Kind:
        return "video" if self.mime.startswith("video/") else "image"

    def facts(self, path: Path, size: tuple[int, int], duration: float | None = None) -> Facts:
        """The facts of the file at `path`, which is of this format and shows `size` pixels."""
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


# What people send by mistake; naming it says more than a list of what is accepted.
_REFUSED = (
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!doctype[^>]*>\s*)*<svg\b", re.I | re.S), "an SVG drawing"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype|html|head|body|script)\b", re.I | re.S), "an HTML page"),
    (re.compile(rb"MZ|\x7fELF"), "a program"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "a TIFF picture"),
    (re.compile(rb"BM.{4}\0\0\0\0", re.S), "a BMP picture"),
    (re.compile(rb"\0\0[\1\2]\0"), "an icon"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
)  # fmt: skip


def sniff(path: Path) -> Format:
    """What the first bytes of the file say it is. Raises WrongType."""
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
    for pattern, name in _REFUSED:
        if pattern.match(head):
            raise _refused(name)
    raise errors.WrongType(f"This is neither a picture nor a clip that can be read. {ACCEPTED}.")


def _by_brand(head: bytes) -> Format:
    """MP4 and AVIF are one container; the brands at its head tell them apart."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
    if b"avif" in brands or b"avis" in brands:
        return Format.AVIF
    if brands[0] in (b"heic", b"heix", b"mif1", b"msf1"):
        raise _refused("a HEIC picture")
    if brands[0] == b"qt  ":
        raise _refused("a QuickTime clip")
    return Format.MP4


def _by_document_type(head: bytes) -> Format:
    """WebM is a subset of Matroska, and says so in its head."""
    if re.search(rb"\x42\x82.{1,8}?webm", head[:64], re.S):
        return Format.WEBM
    raise _refused("a Matroska clip")


def _refused(name: str) -> errors.WrongType:
    return errors.WrongType(f"This is {name}. {ACCEPTED}.")
