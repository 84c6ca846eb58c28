"""Makes videos: the camera passes along a landscape, or moves into a given image, as H.264 in MP4 with optional sound.

A video follows from its job alone, so its file is a cache: it is made when it is first fetched and may be deleted. Frames
are composed in the encoder's own colours, because converting every frame from RGB would cost more than all the rest.
"""

import array
import math
import random
import secrets
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import av
from PIL import Image, ImageDraw

from app.providers.simulator import images

FRAME_RATE: Final = 24
PAN: Final = 1.2  # width of a landscape that the camera passes along, in widths of the video
SAMPLE_RATE: Final = 48_000
MAX_CACHE_BYTES: Final = 512 * 1024 * 1024  # the oldest videos are deleted first
_BT709: Final = (0.1826, 0.6142, 0.0620, 16.0, -0.1006, -0.3386, 0.4392, 128.0, 0.4392, -0.3989, -0.0403, 128.0)
_WHITE: Final = 235  # in the narrow range
_ENCODER: Final = {
    "preset": "ultrafast",
    "crf": "24",
    "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709:range=tv",
}


class Planes(NamedTuple):
    """An image in the encoder's colours: brightness at full size, two colours at half the width and height."""

    y: Image.Image
    u: Image.Image
    v: Image.Image


class Video(NamedTuple):
    """What decides every byte of a video: the size in pixels (both even), and the images it begins and ends with, if any."""

    prompt: str
    seed: int
    size: tuple[int, int]
    seconds: int
    audio: bool = False
    first: bytes | str | None = None
    last: bytes | str | None = None


def cached(path: Path, video: Video, max_cache_bytes: int = MAX_CACHE_BYTES) -> Path:
    """The video's file, made when it is not there. A reader sees the whole file or none."""
    if path.exists():
        path.touch()
        return path
    part = path.with_name(f"{path.name}.{secrets.token_hex(6)}.part")
    try:
        generate(part, video)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _evict(path, max_cache_bytes)
    return path


def generate(path: Path, video: Video) -> None:
    """Write the video to `path`."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        moving = container.add_stream("libx264", rate=FRAME_RATE, options=_ENCODER)
        moving.width, moving.height = video.size
        moving.pix_fmt, moving.gop_size, moving.thread_count = "yuv420p", FRAME_RATE * 2, 1
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if video.audio else None
        chord = _chord(video)
        for number, planes in enumerate(_frames(video)):
            if sound is not None and number % FRAME_RATE == 0:
                container.mux(sound.encode(_audio_frame(next(chord), number // FRAME_RATE)))
            container.mux(moving.encode(_video_frame(planes, number)))
        for stream in (moving, sound):
            if stream is not None:
                container.mux(stream.encode(None))


def _frames(video: Video) -> Iterator[Planes]:
    """A given image is exactly the first or last frame; the caption is visible between them."""
    prompt, seed, size, seconds, _, first, last = video
    count = seconds * FRAME_RATE
    wide = (round(size[0] * PAN / 2) * 2, size[1])
    start = _planes(images.landscape(prompt, seed, wide) if first is None else images.open_reference(first, size))
    end = _planes(images.open_reference(last, size)) if last is not None else None
    strip = images.caption(prompt, size)
    strip = strip.crop((0, strip.height % 2, strip.width, strip.height))
    text, mask = _planes(strip.convert("RGB")), strip.getchannel("A")
    dice = random.Random(seed)
    focus = dice.uniform(0.35, 0.65), dice.uniform(0.35, 0.6)
    for number in range(count):
        share = number / max(1, count - 1)
        frame = _panned(start, size, share) if first is None else _zoomed(start, 0.2 * share, focus)
        if end is not None and share > 0.55:
            frame = Planes(*(Image.blend(a, b, (share - 0.55) / 0.45) for a, b in zip(frame, end, strict=True)))
        visible = min(
            1.0, number / FRAME_RATE * 2 if first is not None else 1.0, 1.0 if end is None else (1 - share) * 8
        )
        if visible > 0:
            _write_caption(frame, text, mask, visible, share)
        yield frame


def _planes(image: Image.Image) -> Planes:
    y, u, v = image.convert("RGB", _BT709).split()
    return Planes(y, u.reduce(2), v.reduce(2))


def _panned(planes: Planes, size: tuple[int, int], share: float) -> Planes:
    left = round((planes.u.width - size[0] // 2) * share)
    y = planes.y.crop((left * 2, 0, left * 2 + size[0], size[1]))
    half = (left, 0, left + size[0] // 2, size[1] // 2)
    return Planes(y, planes.u.crop(half), planes.v.crop(half))


def _zoomed(planes: Planes, by: float, focus: tuple[float, float]) -> Planes:
    kept = 1 / (1 + by)

    def near(plane: Image.Image) -> Image.Image:
        left, top = focus[0] * plane.width * (1 - kept), focus[1] * plane.height * (1 - kept)
        box = (left, top, left + plane.width * kept, top + plane.height * kept)
        return plane.resize(plane.size, Image.Resampling.BILINEAR, box)

    return Planes(*(near(plane) if by else plane.copy() for plane in planes))


def _write_caption(frame: Planes, text: Planes, mask: Image.Image, visible: float, share: float) -> None:
    """The prompt at the foot and a bar that grows until the end."""
    width, height = frame.y.size
    shade = mask.point([round(level * visible) for level in range(256)])
    top = height - mask.height
    for target, source, down in zip(frame, text, (1, 2, 2), strict=True):
        target.paste(source, (0, top // down), shade.reduce(down))
    pen = ImageDraw.Draw(frame.y)
    pen.rectangle((0, height - max(2, height // 240), round(width * share), height), fill=round(_WHITE * visible))


def _video_frame(planes: Planes, number: int) -> av.VideoFrame:
    frame = av.VideoFrame(*planes.y.size, "yuv420p")
    for target, source in zip(frame.planes, planes, strict=True):
        target.update(source.tobytes("raw", "L", target.line_size, 1))
    frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
    return frame


def _chord(video: Video) -> Iterator["array.array[int]"]:
    """The samples of a quiet chord, one second at a time; it fades in and out. Every tone fits into a second."""
    loop = _loop(random.Random(video.prompt).choice((98, 110, 131, 147, 165)))
    for second in range(video.seconds):
        start, end = float(second > 0), float(second < video.seconds - 1)
        rise = (end - start) / SAMPLE_RATE
        yield array.array("h", (round(value * (start + rise * sample)) for sample, value in enumerate(loop)))


@cache
def _loop(low: int) -> list[float]:
    tones = [(low, 900), (round(low * 1.5), 600), (low * 2, 420), (round(low * 2.5), 240)]
    steps = [math.tau * sample / SAMPLE_RATE for sample in range(SAMPLE_RATE)]
    return [sum(loud * math.sin(tone * step) for tone, loud in tones) for step in steps]


def _audio_frame(samples: "array.array[int]", second: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples))
    frame.planes[0].update(samples.tobytes())
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, second * SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
    return frame


def _evict(newest: Path, max_bytes: int) -> None:
    total = 0
    for path in sorted(newest.parent.glob("*.mp4"), key=lambda path: path.stat().st_mtime, reverse=True):
        total += path.stat().st_size
        if total > max_bytes and path != newest:
            path.unlink(missing_ok=True)
