"""Real images and videos to test with. Images are encoded when a test first asks for them. Encoding videos takes seconds, so
they are kept as small files in `tests/samples`, encoded by the table VIDEOS below with the libraries that the product uses:

python -m tests.storage.samples
"""

import functools
import io
import struct
import tempfile
import zlib
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageCms

SIZE = (96, 64)
FOLDER = Path(__file__).parent.parent / "samples"


def drawing(size: tuple[int, int] = SIZE, mode: str = "RGB", shift: int = 0) -> Image.Image:
    """A red-to-blue gradient with some green, different in every corner and frame."""
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    round_ = Image.radial_gradient("L").resize(size).point(lambda value: (value + shift * 16) % 256)
    image = Image.merge("RGB", (across, down, round_))
    if mode == "RGBA":
        image.putalpha(down)
        return image
    return image.convert(mode)


def noise(size: tuple[int, int]) -> Image.Image:
    """An image that no format compresses well losslessly."""
    return Image.merge("RGB", [Image.effect_noise(size, 80) for _ in range(3)])


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@functools.cache
def png(size: tuple[int, int] = SIZE, mode: str = "RGB") -> bytes:
    return encoded(drawing(size, mode), "PNG")


@functools.cache
def jpeg(size: tuple[int, int] = SIZE, mode: str = "RGB") -> bytes:
    return encoded(drawing(size, mode), "JPEG", quality=90)


@functools.cache
def webp(size: tuple[int, int] = SIZE, mode: str = "RGB") -> bytes:
    return encoded(drawing(size, mode), "WEBP", quality=90)


@functools.cache
def gif(size: tuple[int, int] = SIZE) -> bytes:
    return encoded(drawing(size).quantize(), "GIF")


@functools.cache
def avif(size: tuple[int, int] = SIZE) -> bytes:
    return encoded(drawing(size), "AVIF")


@functools.cache
def animated(form: str, frames: int = 3, size: tuple[int, int] = SIZE) -> bytes:
    first, *rest = [drawing(size, shift=number) for number in range(frames)]
    return encoded(first, form, save_all=True, append_images=rest, duration=100)


@functools.cache
def swapped_profile() -> bytes:
    """A profile whose red and green are swapped with respect to sRGB's, so that ignoring it is noticed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def exif(orientation: int = 1, description: str = "") -> bytes:
    notes = Image.Exif()
    notes[0x0112] = orientation
    if description:
        notes[0x010E] = description
    notes.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.0)})
    return notes.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """The PNG with one more chunk, right after its header."""
    return data[:33] + chunk(kind, body) + data[33:]


def riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    """A WebP file of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def box(kind: bytes, body: bytes) -> bytes:
    """An MP4 box."""
    return struct.pack(">I", len(body) + 8) + kind + body


@dataclass(frozen=True)
class Recipe:
    """How a video of 24 frames a second is encoded: the first `black` frames are black. `form`, `codec`, `sound` and `options`
    are ffmpeg's names; `codec` and `sound` None leave the track out."""

    form: str = "mp4"
    codec: str | None = "libx264"
    sound: str | None = "aac"
    size: tuple[int, int] = SIZE
    frames: int = 24
    black: int = 0
    noise: bool = False
    title: str | None = None
    rotation: int = 0
    options: dict[str, str] = field(default_factory=dict)


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
TITLE = "<script>alert('atelier-payload')</script>"
WEBM = partial(Recipe, form="webm", codec="libvpx-vp9", sound="libopus")

VIDEOS = {
    "h264.mp4": Recipe(),
    "h264-silent.mp4": Recipe(sound=None),
    "h264-faststart.mp4": Recipe(options={"movflags": "faststart"}),
    "h264-fragmented.mp4": Recipe(options=FRAGMENTED),
    "h264-fragmented-silent.mp4": Recipe(sound=None, options=FRAGMENTED),
    "h264-ac3.mp4": Recipe(sound="ac3"),  # audio that browsers do not play
    "h264-title.mp4": Recipe(title=TITLE),
    "h264-rotated.mp4": Recipe(rotation=90),
    "h264-black-start.mp4": Recipe(black=12),
    "h264-black.mp4": Recipe(frames=100, black=100),
    "h264-10s.mp4": Recipe(frames=240),
    "h264-720p.mp4": Recipe(sound=None, size=(1280, 720), frames=1),
    "h264.mkv": Recipe("matroska"),
    "h264.mov": Recipe("mov"),
    "h265.mp4": Recipe(codec="libx265"),
    "av1.mp4": Recipe(codec="libsvtav1"),
    "mpeg4.mp4": Recipe(codec="mpeg4", sound=None),
    "mpeg4.avi": Recipe("avi", codec="mpeg4", sound=None),
    "vp9.webm": WEBM(),
    "vp9-live.webm": WEBM(options={"live": "1"}),
    "vp9-title.webm": WEBM(title=TITLE),
    "vp9-black-start.webm": WEBM(black=12),
    "vp8.webm": WEBM(codec="libvpx"),
    "vp8-wide.webm": WEBM(codec="libvpx", sound=None, size=(8_400, 16), frames=2),
    "audio.mp4": Recipe(codec=None),
    "audio.webm": WEBM(codec=None),
}


@functools.cache
def video(name: str) -> bytes:
    """The file of that name in VIDEOS: by default one second of 96 × 64 pixels."""
    return (FOLDER / name).read_bytes()


def encode(recipe: Recipe) -> bytes:
    """Takes up to a second of CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"  # a real file, because ffmpeg reopens it to move the index of an MP4 to the front
        with av.open(path, "w", format=recipe.form, options=recipe.options) as container:
            if recipe.title:
                container.metadata["title"] = recipe.title
            video = _add_video(container, recipe) if recipe.codec else None
            audio = container.add_stream(recipe.sound, rate=48000, layout="mono") if recipe.sound else None
            if video is not None:
                _encode_frames(container, video, recipe)
            if isinstance(audio, AudioStream):
                _encode_silence(container, audio, recipe.frames / 24)
        return path.read_bytes()


def _add_video(container: OutputContainer, recipe: Recipe) -> VideoStream:
    stream = container.add_stream(str(recipe.codec), rate=24, options=recipe.options)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = recipe.size
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, 24)
    if recipe.rotation:
        stream.set_display_rotation(recipe.rotation)
    return stream


def _encode_frames(container: OutputContainer, stream: VideoStream, recipe: Recipe) -> None:
    for number in range(recipe.frames):
        if number < recipe.black:
            image = Image.new("RGB", recipe.size)
        else:
            image = noise(recipe.size) if recipe.noise else drawing(recipe.size, shift=number)
        frame = VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
        frame.pts, frame.time_base = number, Fraction(1, 24)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _encode_silence(container: OutputContainer, stream: AudioStream, seconds: float) -> None:
    for number in range(int(seconds * 48000 / 960)):
        frame = AudioFrame(format="fltp" if stream.codec_context.name == "aac" else "s16", layout="mono", samples=960)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * 960, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


if __name__ == "__main__":
    for name, recipe in VIDEOS.items():
        (FOLDER / name).write_bytes(encode(recipe))
        print(f"{(FOLDER / name).stat().st_size:8,} {name}")
