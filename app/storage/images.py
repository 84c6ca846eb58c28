"""Images: PNG, JPEG, WebP, GIF and AVIF. Everything here is blocking: call it in a thread.

Only the decoder that matches the file's first bytes is used, and dimensions are checked before pixels are allocated. On
malicious files decoders can raise any exception; callers get one generic message, because the original one contains paths.
"""

import contextlib
import io
import itertools
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec

from app.base import errors
from app.storage import webp
from app.storage.files import temp_file
from app.storage.media_type import Facts, Format, translate_error

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose
    from PIL.ImageFile import ImageFile

THUMBNAIL = 640  # pixels, the longest side
MAX_FRAMES = 1000
_FRAME_BUDGET = 5  # all frames of an animation together may have this many times the pixels of the largest still image
_MAX_SCANS = 100  # a progressive JPEG has about ten; each one decodes the whole image
# Pixels per side that the encoder supports; decoders support more.
_MAX_SIDE = {Format.JPEG: 65_500, Format.WEBP: 16_383}
_ORIENTATION = 0x0112
_BLOCK = 256 * 1024
_MEGA = 1_000_000
LARGE = 16 * _MEGA  # pixels
LARGE_IMAGE_LOCK = threading.Lock()  # an image of 50 megapixels may need more than 1 GB of memory


def inspect(path: Path, form: Format, max_pixels: int) -> Facts:
    """The facts of an image, after decoding all its frames. Raises WrongType and TooLarge."""
    with _opened(path, form, max_pixels) as image, _decoder_errors(form):
        first, _ = _decode(image, form, max_pixels)
        return form.facts(path, _upright_size(first))


def clean(path: Path, form: Format, max_pixels: int, folder: Path) -> tuple[Path, Facts]:
    """Re-encode the first frame upright in sRGB, without metadata. JPEG and WebP keep their format unless the image is too
    large for the encoder; everything else becomes PNG. Raises WrongType, TooLarge and DiskFull."""
    with _opened(path, form, max_pixels) as image, _decoder_errors(form):
        first, frames = _decode(image, form, max_pixels)
        rendered = _pixels_only(_upright(first))
    keeps_format = max(rendered.size) <= _MAX_SIDE.get(form, 0)
    path, facts = save(rendered, form if keeps_format else Format.PNG, folder)
    return path, msgspec.structs.replace(facts, frames_dropped=frames > 1)


def load(path: Path, form: Format, max_pixels: int) -> "Image":
    """The first frame upright in sRGB, with or without transparency, or grey. Raises WrongType and TooLarge."""
    with _opened(path, form, max_pixels) as image, _decoder_errors(form):
        first, _ = _decode(image, form, max_pixels)
        return _pixels_only(_upright(first))


def measure(path: Path, form: Format, max_pixels: int) -> tuple[int, int, bool]:
    """The width and height of the upright image, and whether it is stored upright. Raises WrongType and TooLarge."""
    with _opened(path, form, max_pixels) as image, _decoder_errors(form):
        return (*_upright_size(image), _transposition(image) is None)


def thumbnail(path: Path, form: Format, max_pixels: int, folder: Path) -> tuple[Path, int, int]:
    """A WebP of the first frame, at most THUMBNAIL pixels on its longest side. Raises WrongType, TooLarge and DiskFull."""
    with _opened(path, form, max_pixels) as image, _decoder_errors(form):
        rendered = image if form is Format.JPEG else _shrinkable(image)
        rendered.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=3.0)  # a JPEG is decoded at reduced size
        rendered = _pixels_only(_upright(rendered))
    return save_thumbnail(rendered, folder)


def save_thumbnail(image: "Image", folder: Path) -> tuple[Path, int, int]:
    """Write the image to a new WebP file. Raises DiskFull."""
    with temp_file(folder, ".webp") as path:
        with path.open("wb") as file:
            image.save(file, "WEBP", quality=80, method=4)
        return path, *image.size


@contextlib.contextmanager
def _opened(path: Path, form: Format, max_pixels: int) -> Iterator["Image"]:
    """Open the image and check its dimensions. Pixels are not decoded yet, except for WebP stills."""
    if form is Format.PNG:
        _check_chunks(path)
    with path.open("rb") as file, contextlib.ExitStack() as stack:
        with _decoder_errors(form):
            (width, height), open_image = _read_size(path, file, form, max_pixels)
            _check_size((width, height), max_pixels)
            if width * height > LARGE:
                stack.enter_context(LARGE_IMAGE_LOCK)
            image = open_image()
        with image:
            yield image


def _read_size(
    path: Path, file: IO[bytes], form: Format, max_pixels: int
) -> "tuple[tuple[int, int], Callable[[], Image]]":
    """The dimensions, read without allocating pixels, and a function that opens the image."""
    if form is Format.WEBP:
        header = webp.read_header(path)
        return (header.width, header.height), lambda: _open_webp(path, file, header, max_pixels)
    if form is Format.JPEG:
        _check_scans(path)
    image = _open(file, form)
    return image.size, lambda: image


def _open(file: IO[bytes], form: Format) -> "ImageFile":
    # Not Image.open, which tries all formats, looks for further images inside a JPEG, and has its own size limit.
    from PIL import AvifImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    readers: dict[Format, Callable[[IO[bytes]], ImageFile]] = {
        Format.PNG: PngImagePlugin.PngImageFile,
        Format.JPEG: JpegImagePlugin.JpegImageFile,
        Format.GIF: GifImagePlugin.GifImageFile,
        Format.AVIF: AvifImagePlugin.AvifImageFile,
        Format.WEBP: WebPImagePlugin.WebPImageFile,
    }
    return readers[form](file)


def _open_webp(path: Path, file: IO[bytes], header: webp.Header, max_pixels: int) -> "Image":
    size = (header.width, header.height)
    if header.frames:
        _check_frames(header.frames, size, max_pixels)
        return _open(file, Format.WEBP)
    from app.storage import videos

    image = videos.decode_webp(path)
    if image.size != size:
        raise ValueError("the size differs from the header")
    image.info.update(header.info)
    return image


@contextlib.contextmanager
def _decoder_errors(form: Format) -> Iterator[None]:
    from PIL import Image

    # Pillow warns about harmless defects; what matters is raised, or checked here.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with translate_error(form):
        try:
            yield
        except Image.DecompressionBombError:
            raise errors.TooLarge("This image has too many pixels.") from None


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    pixels = size[0] * size[1]
    if not pixels:
        raise ValueError("no pixels")
    if pixels > max_pixels:
        raise errors.TooLarge(
            f"The image must have at most {max_pixels / _MEGA:g} megapixels; this one has {size[0]} × {size[1]} pixels."
        )


def _check_frames(number: int, size: tuple[int, int], max_pixels: int) -> None:
    if number > MAX_FRAMES or number * size[0] * size[1] > max_pixels * _FRAME_BUDGET:
        raise errors.TooLarge("This animation has too many frames. Use a shorter or smaller one.")


def _check_chunks(path: Path) -> None:
    """Decoding a PNG stops at the last pixel; this also checks the end of the file and all checksums."""
    with path.open("rb") as file, _decoder_errors(Format.PNG):
        _open(file, Format.PNG).verify()


def _check_scans(path: Path) -> None:
    with path.open("rb") as file:
        # In blocks, because counting holds the GIL. A marker split between two blocks does not matter.
        scans = sum(block.count(b"\xff\xda") for block in iter(lambda: file.read(_BLOCK), b""))
    if scans > _MAX_SCANS:
        raise errors.TooLarge("This JPEG image has too many scans. Save it again with another program.")


def _decode(image: "Image", form: Format, max_pixels: int) -> "tuple[Image, int]":
    """Decode all frames. Returns the first, and how many there are."""
    animated = form is Format.GIF or getattr(image, "n_frames", 1) > 1  # `n_frames` of a GIF would read the whole file
    first: Image | None = None
    frames = 0
    for _ in _frames(image, form, max_pixels):
        image.load()
        frames += 1
        if first is None:
            first = image.copy() if animated else image
    if first is None:
        raise form.damaged()
    return first, frames


def _frames(image: "Image", form: Format, max_pixels: int) -> Iterator[int]:
    """Seek through the frames and check the size at each, because a GIF's size can grow."""
    if form is Format.JPEG:
        yield 0
        return
    for number in itertools.count():
        try:
            image.seek(number)
        except EOFError:
            return
        _check_size(image.size, max_pixels)
        _check_frames(number + 1, image.size, max_pixels)
        yield number


def _transposition(image: "Image") -> "Transpose | None":
    """The transposition that makes the image upright, from its EXIF; None if there is none or it is unreadable."""
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:
        return None
    transpositions = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return transpositions.get(orientation) if isinstance(orientation, int) else None


def _upright_size(image: "Image") -> tuple[int, int]:
    from PIL.Image import Transpose

    width, height = image.size
    sideways = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)
    return (height, width) if _transposition(image) in sideways else (width, height)


def _upright(image: "Image") -> "Image":
    transposition = _transposition(image)
    return image if transposition is None else image.transpose(transposition)


def _shrinkable(image: "Image") -> "Image":
    """Convert to a mode whose pixels can be averaged, with transparency as a channel."""
    image.load()
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    if image.mode == "RGBA":
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _eight_bits(image: "Image") -> "Image":
    """Scale 16-bit grey to 8 bits; Pillow's conversion would clip values above 255."""
    scaled = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    scaled.info.pop("transparency", None)  # a 16-bit value that no longer applies
    return scaled


def _pixels_only(image: "Image") -> "Image":
    """Only the pixels: sRGB with or without transparency, or grey."""
    profile = image.info.get("icc_profile")
    image = _shrinkable(image)
    if profile:
        image = _as_srgb(image, profile)
    if image.mode == "CMYK":
        image = image.convert("RGB")
    image.info = {}  # Pillow would write its comments and profiles into the new file
    return image


def _as_srgb(image: "Image", profile: bytes) -> "Image":
    from PIL import ImageCms

    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode=mode
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # an invalid or mismatched profile is ignored, as browsers do
    return converted or image


def save(image: "Image", form: Format, folder: Path, quality: int = 92) -> tuple[Path, Facts]:
    """Write the image to a new file; `quality`, up to 100, is not that of a PNG. Raises DiskFull."""
    options: dict[str, Any] = {"compress_level": 4} if form is Format.PNG else {"quality": quality}
    with temp_file(folder, form.suffix) as path:
        with path.open("wb") as file:
            image.save(cast(IO[bytes], _FileWithoutDescriptor(file)), form.name, **options)
        return path, form.facts(path, image.size)


class _FileWithoutDescriptor:
    """Hides the file descriptor, through which Pillow would write JPEGs directly and miss incomplete writes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write
        self.flush = file.flush
        self.seek = file.seek
        self.tell = file.tell
