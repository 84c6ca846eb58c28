"""Real pictures and clips, made on the spot with the libraries that made the world's."""

import functools
import io
import struct
import tempfile
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageCms

SIZE = (96, 64)


def drawing(size: tuple[int, int] = SIZE, mode: str = "RGB", shift: int = 0) -> Image.Image:
    """A red-to-blue slope with some green: every corner and every frame looks different."""
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    round_ = Image.radial_gradient("L").resize(size).point(lambda value: (value + shift * 16) % 256)
    picture = Image.merge("RGB", (across, down, round_))
    if mode == "RGBA":
        picture.putalpha(down)
        return picture
    return picture.convert(mode)


def noise(size: tuple[int, int]) -> Image.Image:
    """What no format packs well without loss."""
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
    """A profile whose red and green are swapped with respect to sRGB's, so that ignoring it cannot go unseen."""
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


@functools.cache
def clip(
    form: str = "mp4",
    *,
    size: tuple[int, int] = SIZE,
    frames: int = 24,
    black: int = 0,
    codec: str | None = None,
    sound: str | None = "default",
    title: str | None = None,
    turned: int = 0,
    options: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """A clip of 24 frames a second whose first `black` frames are black. `codec`, `sound` and `options` are ffmpeg's names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"  # a real file, because ffmpeg reopens it to move the index of an MP4 to the front
        _write_clip(path, form, size, frames, black, codec, sound, title, turned, dict(options))
        return path.read_bytes()


def _write_clip(
    path: Path,
    form: str,
    size: tuple[int, int],
    frames: int,
    black: int,
    codec: str | None,
    sound: str | None,
    title: str | None,
    turned: int,
    options: dict[str, str],
) -> None:
    with av.open(path, "w", format=form, options=options) as container:
        if title:
            container.metadata["title"] = title
        pictures = container.add_stream(codec or {"webm": "libvpx-vp9"}.get(form, "libx264"), rate=24, options=options)
        assert isinstance(pictures, VideoStream)
        pictures.width, pictures.height = size
        pictures.pix_fmt = "yuv420p"
        pictures.time_base = pictures.codec_context.time_base = Fraction(1, 24)
        if turned:
            pictures.set_display_rotation(turned)
        if sound == "default":
            sound = {"webm": "libopus"}.get(form, "aac")
        track = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number in range(frames):
            image = Image.new("RGB", size) if number < black else drawing(size, shift=number)
            frame = VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        if isinstance(track, AudioStream):
            _add_silence(container, track, frames / 24)


@functools.cache
def sound_only(form: str = "mp4") -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        track = container.add_stream("libopus" if form == "webm" else "aac", rate=48000, layout="mono")
        assert isinstance(track, AudioStream)
        _add_silence(container, track, 1.0)
    return buffer.getvalue()


def _add_silence(container: Any, track: AudioStream, seconds: float) -> None:
    for number in range(int(seconds * 48000 / 960)):
        frame = AudioFrame(format="fltp" if track.codec_context.name == "aac" else "s16", layout="mono", samples=960)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * 960, Fraction(1, 48000)
        container.mux(track.encode(frame))
    container.mux(track.encode())
