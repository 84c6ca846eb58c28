"""What is known of a picture or clip, and what a file claims to be by its first bytes (its name is never asked)."""

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
    (b"%PDF-", "a PDF document"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"BM", "a BMP picture"),
    (b"\0\0\1\0", "an icon"),
    (b"8BPS", "a Photoshop document"),
)


@contextlib.contextmanager
def translate_error(form: Format) -> Iterator[None]:
    """Whatever a decoder says of a file of `form` becomes one sentence of ours; what the disk says stays."""
    try:
        yield
    except errors.AtelierError:
        raise
    except MemoryError:
        raise errors.TooLarge(f"This {form.label} is too large to be read.") from None
    except Exception as exc:
        number = getattr(exc, "errno", None)
        # Decoders raise OSError too: Pillow without a number, PyAV with classes of its own.
        if number in NO_SPACE or (number and isinstance(exc, OSError) and type(exc).__module__ == "builtins"):
            raise
        raise form.damaged() from None


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
    for start, name in _REFUSED:
        if head.startswith(start):
            raise _refused(name)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<"):
        raise _refused("an SVG drawing" if b"<svg" in text else "a web page")
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
