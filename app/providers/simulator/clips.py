"""Films the clips: the scene of a prompt gliding by in depth, or a given picture coming to life, as H.264 with sound.

A clip follows from its job alone, so its file is a cache: it is made when first fetched and may be thrown away. Frames
are put together in the encoder's own colours, plane by plane, because turning every frame from RGB would cost more than
all the rest.
"""

import array
import hashlib
import math
import random
import secrets
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from PIL import Image, ImageDraw, ImageFont

from app.providers.simulator import pictures, scenery

RATE = 24
SOUND_RATE = 48_000
KEPT_BYTES = 512 * 1024 * 1024
"""How many bytes of finished clips stay on the disk; the oldest go first and are filmed again when asked for."""

BT709 = (
    *(0.1826, 0.6142, 0.0620, 16.0),
    *(-0.1006, -0.3386, 0.4392, 128.0),
    *(0.4392, -0.3989, -0.0403, 128.0),
)
WHITE = 235
ENCODER = {
    "preset": "ultrafast",
    "crf": "24",
    "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709:range=tv",
}

MARGIN = 0.12
"""How much wider than the frame a scene is painted, as a share: the way that its nearest layer travels."""


class Planes(NamedTuple):
    """A picture as brightness in full and two colours in half the width and height."""

    y: Image.Image
    u: Image.Image
    v: Image.Image


class Sheet(NamedTuple):
    """Planes with their transparency, once for the brightness and once for the colours."""

    planes: Planes
    mask: Image.Image
    half: Image.Image
    depth: float


def keep(
    path: Path,
    prompt: str,
    seed: int,
    size: tuple[int, int],
    seconds: int,
    *,
    audio: bool,
    first: bytes | str | None = None,
    last: bytes | str | None = None,
) -> Path:
    """The clip's file, filmed when it is not there. A reader sees the whole file or none."""
    if path.exists():
        path.touch()
        return path
    part = path.with_name(f"{path.name}.{secrets.token_hex(6)}.part")
    try:
        film(part, prompt, seed, size, seconds, audio=audio, first=first, last=last)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _make_room(path)
    return path


def film(
    path: Path,
    prompt: str,
    seed: int,
    size: tuple[int, int],
    seconds: int,
    *,
    audio: bool,
    first: bytes | str | None = None,
    last: bytes | str | None = None,
) -> None:
    """Write the clip. It begins with `first` and fades into `last` where they are given."""
    count = seconds * RATE
    moving = (
        _glide(prompt, seed, size, count)
        if first is None and last is None
        else _wake(first, last, prompt, seed, size, count)
    )
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=RATE, options=ENCODER)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.gop_size = RATE * 2
        video.thread_count = 1
        sound = container.add_stream("aac", rate=SOUND_RATE, layout="mono") if audio else None
        hum = _hum(prompt, seconds) if audio else iter(())
        for place, planes in enumerate(moving):
            if sound is not None and place % RATE == 0:
                container.mux(sound.encode(_heard(next(hum), place // RATE)))
            container.mux(video.encode(_frame(planes, size, place)))
        for stream in (video, sound):
            if stream is not None:
                container.mux(stream.encode(None))


# What moves


def _glide(prompt: str, seed: int, size: tuple[int, int], count: int) -> Iterator[Planes]:
    """The painted scene passes by, its near layers faster than its far ones."""
    width, height = size
    way = round(width * MARGIN / 2) * 2
    sheets, backdrop = _sheets(prompt, seed, (width + way, height), size)
    words = _caption(prompt, size)
    motes = _Motes(prompt, seed, size)
    forth = hashlib.sha256(prompt.encode()).digest()[0] % 2 == 0
    for place in range(count):
        share = place / max(1, count - 1)
        share = share if forth else 1 - share
        frame = _cropped(backdrop, round(way * 0.12 * share), size)
        for sheet in sheets:
            _lay(frame, sheet, round(way * (0.12 + 0.88 * sheet.depth) * share), size)
        motes.fly(frame.y, place)
        _sign(frame, words, 1.0, place, count, size)
        yield frame


def _wake(
    first: bytes | str | None, last: bytes | str | None, prompt: str, seed: int, size: tuple[int, int], count: int
) -> Iterator[Planes]:
    """A given picture, exactly as it is at the start; then the camera moves in on it, and it may turn into another."""
    start = pictures.opened(first, size) if first is not None else pictures.scene(prompt, seed, size)
    begins = _planes(start)
    ends = _planes(pictures.opened(last, size)) if last is not None else None
    words = _caption(prompt, size)
    dice = random.Random(seed)
    focus = dice.uniform(0.35, 0.65), dice.uniform(0.35, 0.6)
    for place in range(count):
        share = place / max(1, count - 1)
        ease = share * share * (3 - 2 * share)
        frame = _zoomed(begins, 0.14 * ease, focus)
        if ends is not None and share > 0.55:
            frame = Planes(*(Image.blend(a, b, (share - 0.55) / 0.45) for a, b in zip(frame, ends, strict=True)))
        shown = min(1.0, max(0.0, (place - 2) / (RATE / 2)))
        _sign(frame, words, shown if ends is None else min(shown, (1 - share) * 8), place, count, size)
        yield frame


class _Motes:
    """Specks of light in the air; without them a gliding scene looks like a slide."""

    def __init__(self, prompt: str, seed: int, size: tuple[int, int]) -> None:
        dice = random.Random(f"{prompt} {seed}")
        side = max(4, round(max(size) / 110))
        self.size = size
        self.sprites = [scenery.glow_mask((side * grow, side * grow), 80 + 40 * grow) for grow in (1, 2)]
        self.specks = [
            (
                dice.random(),
                dice.random(),
                dice.uniform(-0.0012, 0.0012),
                dice.uniform(-0.0022, -0.0004),
                dice.randrange(2),
            )
            for _ in range(26)
        ]

    def fly(self, y: Image.Image, place: int) -> None:
        for left, top, across, down, kind in self.specks:
            sprite = self.sprites[kind]
            at_x = ((left + across * place + 0.01 * math.sin(place / 20 + left * 40)) % 1.1 - 0.05) * self.size[0]
            at_y = ((top + down * place) % 1.1 - 0.05) * self.size[1]
            y.paste(WHITE, (round(at_x), round(at_y)), sprite)


# Planes


def _planes(picture: Image.Image) -> Planes:
    """The picture in the encoder's colours (BT.709, the narrow range)."""
    y, u, v = picture.convert("RGB", BT709).split()
    return Planes(y, u.reduce(2), v.reduce(2))


def _sheets(prompt: str, seed: int, canvas: tuple[int, int], size: tuple[int, int]) -> tuple[list[Sheet], Planes]:
    shrink = min(1.0, pictures.DRAWN_SIDE * 1.1 / max(canvas))
    small = (round(canvas[0] * shrink), round(canvas[1] * shrink))
    scene = scenery.paint(prompt, seed, small)
    layers = _few(scene.layers)

    def large(picture: Image.Image) -> Image.Image:
        return picture if picture.size == canvas else picture.resize(canvas, Image.Resampling.BILINEAR)

    sheets = []
    for layer in layers:
        mask = large(layer.mask)
        sheets.append(Sheet(_planes(large(layer.picture)), mask, mask.reduce(2), layer.depth))
    return sheets, _planes(large(scene.backdrop))


def _few(layers: list[scenery.Layer]) -> list[scenery.Layer]:
    """At most three layers: each costs time in every frame, and the eye sees no more depths than that."""
    groups: dict[int, scenery.Layer] = {}
    for layer in sorted(layers, key=lambda one: min(2, int(one.depth * 3))):
        at = min(2, int(layer.depth * 3))
        under = groups.get(at)
        groups[at] = layer if under is None else _merged(under, layer)
    return [groups[at] for at in sorted(groups)]


def _merged(under: scenery.Layer, over: scenery.Layer) -> scenery.Layer:
    picture = under.picture.copy()
    picture.paste(over.picture, (0, 0), over.mask)
    mask = under.mask.copy()
    mask.paste(255, (0, 0), over.mask)
    return scenery.Layer(picture, mask, (under.depth + over.depth) / 2)


def _cropped(planes: Planes, left: int, size: tuple[int, int]) -> Planes:
    width, height = size
    half = left // 2
    return Planes(
        planes.y.crop((left, 0, left + width, height)),
        planes.u.crop((half, 0, half + width // 2, height // 2)),
        planes.v.crop((half, 0, half + width // 2, height // 2)),
    )


def _lay(frame: Planes, sheet: Sheet, left: int, size: tuple[int, int]) -> None:
    """Put a sheet onto the frame, shifted to the left; only the rows in which it has anything."""
    rows = sheet.half.getbbox()
    if rows is None:
        return
    top, bottom, half = rows[1], rows[3], left // 2
    wide = (half, top, half + size[0] // 2, bottom)
    whole = (left, top * 2, left + size[0], bottom * 2)
    frame.y.paste(sheet.planes.y.crop(whole), (0, top * 2), sheet.mask.crop(whole))
    colours = sheet.half.crop(wide)
    frame.u.paste(sheet.planes.u.crop(wide), (0, top), colours)
    frame.v.paste(sheet.planes.v.crop(wide), (0, top), colours)


def _zoomed(planes: Planes, by: float, focus: tuple[float, float]) -> Planes:
    if by == 0:
        return Planes(*(plane.copy() for plane in planes))
    kept = 1 / (1 + by)

    def near(plane: Image.Image) -> Image.Image:
        left, top = focus[0] * plane.width * (1 - kept), focus[1] * plane.height * (1 - kept)
        box = (left, top, left + plane.width * kept, top + plane.height * kept)
        return plane.resize(plane.size, Image.Resampling.BILINEAR, box)

    return Planes(*(near(plane) for plane in planes))


# Words


def _caption(prompt: str, size: tuple[int, int]) -> Sheet:
    strip = pictures.caption_strip(prompt, size)
    even = strip.crop((0, strip.height % 2, strip.width, strip.height))
    mask = even.getchannel("A")
    return Sheet(_planes(even.convert("RGB")), mask, mask.reduce(2), 1.0)


def _sign(frame: Planes, words: Sheet, shown: float, place: int, count: int, size: tuple[int, int]) -> None:
    """The prompt at the foot, the time in the corner, and a line that grows until the end."""
    if shown <= 0:
        return
    fade = [round(value * shown) for value in range(256)]
    mask, half = (words.mask, words.half) if shown >= 1 else (words.mask.point(fade), words.half.point(fade))
    top = size[1] - words.mask.height
    frame.y.paste(words.planes.y, (0, top), mask)
    frame.u.paste(words.planes.u, (0, top // 2), half)
    frame.v.paste(words.planes.v, (0, top // 2), half)
    pen = ImageDraw.Draw(frame.y)
    letter = max(9, round(math.sqrt(size[0] * size[1]) * 0.016))
    text = f"{place // RATE // 60}:{place // RATE % 60:02d}.{place % RATE:02d}"
    ink = round(WHITE * shown)
    pen.text((size[0] - letter, size[1] - letter), text, font=_font(letter), fill=ink, anchor="rs")
    pen.rectangle((0, size[1] - max(2, size[1] // 240), round(size[0] * place / max(1, count - 1)), size[1]), fill=ink)


def _font(letter: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if letter not in _FONTS:
        _FONTS[letter] = ImageFont.load_default(letter)
    return _FONTS[letter]


_FONTS: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}


# Frames and sound


def _frame(planes: Planes, size: tuple[int, int], place: int) -> av.VideoFrame:
    frame = av.VideoFrame(size[0], size[1], "yuv420p")
    for target, source in zip(frame.planes, planes, strict=True):
        target.update(source.tobytes("raw", "L", target.line_size, 1))
    frame.pts = place
    frame.time_base = Fraction(1, RATE)
    return frame


def _hum(prompt: str, seconds: int) -> Iterator["array.array[int]"]:
    """A quiet chord, a second at a time, swelling at the start and fading at the end. Every tone fits the second."""
    dice = random.Random(prompt)
    low = dice.choice((98, 110, 131, 147, 165))
    tones = [(low, 900), (round(low * 1.5), 600), (low * 2, 420), (round(low * 2.5), 240)]
    loop = [
        sum(loud * math.sin(2 * math.pi * tone * place / SOUND_RATE) for tone, loud in tones)
        for place in range(SOUND_RATE)
    ]
    for second in range(seconds):
        swell = [1.0, 1.0]
        if second == 0:
            swell[0] = 0.0
        if second == seconds - 1:
            swell[1] = 0.0
        rise = (swell[1] - swell[0]) / SOUND_RATE
        yield array.array("h", (round(value * (swell[0] + rise * place)) for place, value in enumerate(loop)))


def _heard(second: "array.array[int]", place: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(second))
    frame.planes[0].update(second.tobytes())
    frame.sample_rate = SOUND_RATE
    frame.pts = place * SOUND_RATE
    frame.time_base = Fraction(1, SOUND_RATE)
    return frame


def _make_room(newest: Path) -> None:
    clips = sorted(newest.parent.glob("*.mp4"), key=lambda clip: clip.stat().st_mtime, reverse=True)
    total = 0
    for clip in clips:
        total += clip.stat().st_size
        if total > KEPT_BYTES and clip != newest:
            clip.unlink(missing_ok=True)
