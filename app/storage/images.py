"""Pictures: PNG, JPEG, WebP, GIF and AVIF. Everything here blocks: call it in a thread.

The decoder is chosen by the file's first bytes and is the only one that is tried, and the size is checked before a
single pixel is allocated. Decoders raise anything at all on a file made to break them; outside of this module that is
one sentence, because their own words carry paths.
"""

import contextlib
import io
import itertools
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from app.base import errors
from app.storage import webp
from app.storage.files import temp_file
from app.storage.media_type import Facts, Format, translate_error

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose
    from PIL.ImageFile import ImageFile

THUMBNAIL = 640  # pixels, the longest side
MAX_FRAMES = 1000
_FRAME_BUDGET = 5  # an animation may have so many times the pixels of the largest still, over all its frames
_MAX_SCANS = 100  # a progressive JPEG has about ten; each one costs the decoder the whole picture
_LONGEST = {Format.JPEG: 65_500, Format.WEBP: 16_383}  # pixels a side that can be written; some that are read have more
_ORIENTATION = 0x0112
_PIECE = 256 * 1024
_MEGA = 1_000_000
LARGE = 16 * _MEGA  # pixels
ONE_LARGE_AT_A_TIME = threading.Lock()  # a picture of 50 megapixels may need more than 1 GB of memory


def inspect(path: Path, form: Format, max_pixels: int) -> Facts:
    """The facts of a picture whose every frame decodes. Raises WrongType and TooLarge."""
    with _opened(path, form, max_pixels) as image, _decoding(form):
        first = _first_frame(image, form, max_pixels)
        return form.facts(path, _shown_size(first))


def clean(path: Path, form: Format, max_pixels: int, folder: Path) -> tuple[Path, Facts]:
    """The (first) picture drawn anew, with nothing else from the file: upright, in sRGB. JPEG stays JPEG, WebP stays WebP
    (where it can be so large), everything else becomes PNG. Raises WrongType, TooLarge and Full."""
    with _opened(path, form, max_pixels) as image, _decoding(form):
        drawn = _bare(_upright(_first_frame(image, form, max_pixels)))
    stays = max(drawn.size) <= _LONGEST.get(form, 0)
    return _save(drawn, form if stays else Format.PNG, folder)


def thumbnail(path: Path, form: Format, max_pixels: int, folder: Path) -> tuple[Path, int, int]:
    """A WebP of the (first) picture, its longest side at most THUMBNAIL pixels. Raises WrongType, TooLarge and Full."""
    with _opened(path, form, max_pixels) as image, _decoding(form):
        drawn = image if form is Format.JPEG else _shrinkable(image)
        drawn.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=3.0)  # a JPEG is decoded at a fraction of its size
        drawn = _bare(_upright(drawn))
    return save_thumbnail(drawn, folder)


def save_thumbnail(image: "Image", folder: Path) -> tuple[Path, int, int]:
    """The picture as it is, in a new WebP file. Raises Full."""
    with temp_file(folder, ".webp") as path:
        with path.open("wb") as file:
            image.save(file, "WEBP", quality=80, method=4)
        return path, *image.size


@contextlib.contextmanager
def _opened(path: Path, form: Format, max_pixels: int) -> Iterator["Image"]:
    """The picture, its size checked, its pixels not yet decoded (but for WebP stills)."""
    if form is Format.PNG:
        _check_chunks(path)
    with path.open("rb") as file, contextlib.ExitStack() as held:
        with _decoding(form):
            (width, height), go_on = _begin(path, file, form, max_pixels)
            _check_size((width, height), max_pixels)
            if width * height > LARGE:
                held.enter_context(ONE_LARGE_AT_A_TIME)
            image = go_on()
        with image:
            yield image


def _begin(path: Path, file: IO[bytes], form: Format, max_pixels: int) -> "tuple[tuple[int, int], Callable[[], Image]]":
    """The size, for which nothing was allocated yet, and how to go on from there."""
    if form is Format.WEBP:
        header = webp.read_header(path)
        return (header.width, header.height), lambda: _open_webp(path, file, header, max_pixels)
    if form is Format.JPEG:
        _check_scans(path)
    image = _open(file, form)
    return image.size, lambda: image


def _open(file: IO[bytes], form: Format) -> "ImageFile":
    # The classes themselves and not Image.open, which tries one format after the other, looks for a second picture
    # inside a JPEG, and has a size limit of its own.
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
        raise ValueError("the header tells another size")
    image.info.update(header.info)
    return image


@contextlib.contextmanager
def _decoding(form: Format) -> Iterator[None]:
    from PIL import Image

    # Pillow warns of every oddity in a stranger's file; what matters is raised, or checked here.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with translate_error(form):
        try:
            yield
        except Image.DecompressionBombError:
            raise errors.TooLarge("This picture has too many pixels.") from None


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    pixels = size[0] * size[1]
    if not pixels:
        raise ValueError("no pixels")
    if pixels > max_pixels:
        raise errors.TooLarge(
            f"This picture has {size[0]} × {size[1]} pixels; at most {max_pixels / _MEGA:g} megapixels are accepted."
        )


def _check_frames(number: int, size: tuple[int, int], max_pixels: int) -> None:
    if number > MAX_FRAMES or number * size[0] * size[1] > max_pixels * _FRAME_BUDGET:
        raise errors.TooLarge("This animation has too many frames.")


def _check_chunks(path: Path) -> None:
    """Decoding a PNG stops at its last pixel; only this reads on to the file's proper end and checks every sum."""
    with path.open("rb") as file, _decoding(Format.PNG):
        _open(file, Format.PNG).verify()


def _check_scans(path: Path) -> None:
    with path.open("rb") as file:
        # Piece by piece, because counting holds the interpreter's lock; one more between two pieces changes nothing.
        scans = sum(piece.count(b"\xff\xda") for piece in iter(lambda: file.read(_PIECE), b""))
    if scans > _MAX_SCANS:
        raise errors.TooLarge("This JPEG picture is built from too many layers.")


def _first_frame(image: "Image", form: Format, max_pixels: int) -> "Image":
    """The first frame, when every one of them decodes."""
    moves = form is Format.GIF or getattr(image, "n_frames", 1) > 1  # a GIF would be read through to tell how many
    first: Image | None = None
    for _ in _frames(image, form, max_pixels):
        image.load()
        if first is None:
            first = image.copy() if moves else image
    if first is None:
        raise form.damaged()
    return first


def _frames(image: "Image", form: Format, max_pixels: int) -> Iterator[int]:
    """Step through the frames, checking the size at each: a GIF may grow on the way."""
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


def _turn(image: "Image") -> "Transpose | None":
    """How the picture must be turned to be upright, by its EXIF; None for not at all, or when that cannot be read."""
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:
        return None
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(orientation) if isinstance(orientation, int) else None


def _shown_size(image: "Image") -> tuple[int, int]:
    from PIL.Image import Transpose

    width, height = image.size
    across = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)
    return (height, width) if _turn(image) in across else (width, height)


def _upright(image: "Image") -> "Image":
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _shrinkable(image: "Image") -> "Image":
    """In a mode whose pixels can be averaged, with its transparency as a channel."""
    image.load()
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    if image.mode == "RGBA":
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _eight_bits(image: "Image") -> "Image":
    """16-bit grey scaled to 8; Pillow's own conversion would cut off everything above 255."""
    small = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    small.info.pop("transparency", None)  # one of 65,536 shades that are no more
    return small


def _bare(image: "Image") -> "Image":
    """Only the pixels, as sRGB with or without transparency, or grey."""
    profile = image.info.get("icc_profile")
    image = _shrinkable(image)
    if profile:
        image = _as_srgb(image, profile)
    if image.mode == "CMYK":
        image = image.convert("RGB")
    image.info = {}  # Pillow would write comments and profiles from it into the new file
    return image


def _as_srgb(image: "Image", profile: bytes) -> "Image":
    from PIL import ImageCms

    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode=mode
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # a profile that is broken or for other colours: show what browsers show, the bare numbers
    return converted or image


def _save(image: "Image", form: Format, folder: Path) -> tuple[Path, Facts]:
    options: dict[str, Any] = {"compress_level": 4} if form is Format.PNG else {"quality": 92}
    with temp_file(folder, form.suffix) as path:
        with path.open("wb") as file:
            image.save(cast(IO[bytes], _Whole(file)), form.name, **options)
        return path, form.facts(path, image.size)


class _Whole:
    """A file without a descriptor: through that, Pillow writes JPEGs itself and takes half a write for a whole one."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write
        self.flush = file.flush
        self.seek = file.seek
        self.tell = file.tell
