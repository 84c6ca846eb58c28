"""Paints a landscape for a prompt: a sky, a sun or moon, and ridges that grow darker towards the viewer.

Words of the prompt choose the colours and the kind of ridge (hills, peaks, a skyline, trees); a hash of prompt and
seed chooses everything else, so the same request always gives the same image.
"""

import math
import random
import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from PIL import Image, ImageColor, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
T = TypeVar("T")
Profile = Callable[[random.Random, int, int], list[tuple[float, float]]]

RIDGES: Final = 5


class Palette(NamedTuple):
    """Sky from the zenith to the horizon, the light in it, and the land far away and near."""

    sky: tuple[str, ...]
    light: str
    far: str
    near: str


PALETTES: Final = {
    "dawn morning sunrise": Palette(("#31426f", "#a8708f", "#f2a98f", "#ffe2be"), "#fff4dc", "#d29aa0", "#2b2344"),
    "dusk sunset evening": Palette(("#1a1c48", "#633b7c", "#dd6370", "#ffb870"), "#ffe6b0", "#a8586f", "#1b1531"),
    "day sunny sea beach blue sky": Palette(("#2f7fc6", "#7fbfe8", "#d9effa"), "#ffffff", "#9cc4d2", "#1f4b57"),
    "meadow spring green forest": Palette(("#5aaacb", "#b6dfdd", "#f7f3d0"), "#fffbe2", "#b4d3a2", "#1f4d39"),
    "night moon stars space dark": Palette(("#060920", "#13204c", "#2c477a"), "#f4f1df", "#2d4672", "#060915"),
    "desert sand dune canyon": Palette(("#4f86a6", "#e9c48d", "#f7b267"), "#fff0cf", "#e08a5b", "#6b2737"),
    "fire volcano red dragon": Palette(("#170b1e", "#561831", "#bd383c", "#fb9a4b"), "#fff0c0", "#8a2b3d", "#12070f"),
    "snow winter ice fog rain grey": Palette(("#7f9cbb", "#bfd0e0", "#f0f4f8"), "#ffffff", "#c2d0dd", "#33485f"),
    "autumn fall amber leaves": Palette(("#49597b", "#c2a08a", "#f7d9a5"), "#fff3d2", "#cf8a55", "#43201a"),
    "neon cyberpunk robot": Palette(("#10042b", "#3b0f6e", "#a51c8e", "#ff5aa5"), "#ffe9ff", "#7a1d86", "#0d0322"),
}


def paint(prompt: str, seed: int | str, size: tuple[int, int]) -> Image.Image:
    """The landscape for this prompt and seed, RGB, of exactly this size in pixels. Drawn at twice the size and reduced,
    which smooths the edges."""
    dice = random.Random(f"{prompt}\0{seed}")
    palette = _chosen(prompt, PALETTES) or dice.choice(list(PALETTES.values()))
    profile = _chosen(prompt, PROFILES) or dice.choice(list(PROFILES.values()))
    width, height = size[0] * 2, size[1] * 2
    image = _sky(palette, (width, height))
    _light(image, palette, dice)
    far, near, horizon = _rgb(palette.far), _rgb(palette.near), dice.uniform(0.36, 0.6)
    for ridge in range(RIDGES):
        share = ridge / (RIDGES - 1)
        top, tall = height * (horizon + (0.88 - horizon) * share), height * (0.2 - 0.1 * share)
        outline = [(x, top - y * tall) for x, y in profile(dice, width, ridge)]
        ImageDraw.Draw(image).polygon([(0, height), *outline, (width, height)], fill=_mixed(far, near, share))
    return image.reduce(2)


def duotone(prompt: str, seed: int | str) -> tuple[Colour, Colour]:
    """A dark and a light colour of the prompt's landscape, to tint a reference image with."""
    palette = _chosen(prompt, PALETTES) or random.Random(f"{prompt}\0{seed}").choice(list(PALETTES.values()))
    return _rgb(palette.near), _rgb(palette.sky[-1])


def _sky(palette: Palette, size: tuple[int, int]) -> Image.Image:
    strip = Image.new("RGB", (1, len(palette.sky)))
    for row, colour in enumerate(palette.sky):
        strip.putpixel((0, row), _rgb(colour))
    sky = strip.resize((1, size[1]), Image.Resampling.BICUBIC, box=(0, 0.5, 1, len(palette.sky) - 0.5))
    return sky.resize(size)


def _light(image: Image.Image, palette: Palette, dice: random.Random) -> None:
    """A sun or moon with a glow, and stars where the sky is dark."""
    width, height = image.size
    if sum(_rgb(palette.sky[0])) < 120:
        pen = ImageDraw.Draw(image)
        for _ in range(90):
            x, y, radius = dice.random() * width, dice.random() ** 1.5 * height * 0.6, width / dice.uniform(700, 1400)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette.light)
    radius = min(width, height) * dice.uniform(0.05, 0.1)
    x, y = width * dice.uniform(0.2, 0.8), height * dice.uniform(0.14, 0.42)
    small = Image.new("L", (max(1, width // 8), max(1, height // 8)))
    pen = ImageDraw.Draw(small)
    for share in range(12):  # the glow is drawn small and enlarged, which blurs it for nothing
        reach = radius * (5 - share * 0.35) / 8
        pen.ellipse((x / 8 - reach, y / 8 - reach, x / 8 + reach, y / 8 + reach), fill=8 + share * 9)
    glow = small.filter(ImageFilter.GaussianBlur(3)).resize(image.size, Image.Resampling.BILINEAR)
    image.paste(_rgb(palette.light), (0, 0), glow)
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette.light)


# Outlines: points from the left edge to the right one; the height is about 0 to 1 and grows upwards.


def _waves(dice: random.Random, width: int, parts: tuple[tuple[float, float], ...]) -> Callable[[float], float]:
    """A sum of sines, each with a number of periods per width and an amplitude."""
    phases = [(periods * dice.uniform(0.8, 1.25), high, dice.uniform(0, math.tau)) for periods, high in parts]
    return lambda x: sum(high * math.sin(math.tau * periods * x / width + phase) for periods, high, phase in phases)


def _peaks(dice: random.Random, width: int, ridge: int) -> list[tuple[float, float]]:
    step = max(4, width // (12 - 2 * ridge))
    points: list[tuple[float, float]] = [(-step, 0.2)]
    for place, x in enumerate(range(0, width + 2 * step, step)):
        high = dice.uniform(0.7, 1.5) if place % 2 else dice.uniform(-0.2, 0.4)
        before = points[-1]
        points += [((before[0] + x) / 2, (before[1] + high) / 2 + dice.uniform(-0.12, 0.12)), (x, high)]
    return points


def _hills(dice: random.Random, width: int, ridge: int) -> list[tuple[float, float]]:
    height = _waves(dice, width, ((2, 0.08), (7 - ridge, 0.06), (19 - 2 * ridge, 0.02)))
    return [(x, height(x) * (1 + ridge)) for x in range(0, width + 6, 6)]


def _skyline(dice: random.Random, width: int, ridge: int) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    x = 0.0
    while x < width:
        wide, high = width * dice.uniform(0.02, 0.06) * (1 + ridge * 0.3), dice.uniform(0.3, 1.9)
        points += [(x, high), (x + wide, high)]
        x += wide
    return points


def _trees(dice: random.Random, width: int, ridge: int) -> list[tuple[float, float]]:
    ground = _waves(dice, width, ((0.8, 0.3), (2.0, 0.1)))
    points: list[tuple[float, float]] = []
    x = 0.0
    while x < width:
        wide, high = width * dice.uniform(0.012, 0.03) * (1 + ridge * 0.4), dice.uniform(0.4, 1.0)
        points += [(x, ground(x)), (x + wide / 2, ground(x) + high), (x + wide, ground(x + wide))]
        x += wide
    return points


PROFILES: Final[dict[str, Profile]] = {
    "mountain mountains peak alps volcano snow canyon": _peaks,
    "hill hills meadow field valley garden desert dune sand sea ocean beach wave lake river boat lighthouse": _hills,
    "city town skyline street tokyo paris london neon cyberpunk robot": _skyline,
    "forest tree trees woods jungle fox deer path": _trees,
}


def _chosen(prompt: str, table: dict[str, T]) -> T | None:
    """The entry whose words the prompt uses first."""
    for word in re.findall(r"[a-z]+", prompt[:2000].lower()):
        for words, value in table.items():
            if word in words.split():
                return value
    return None


def _rgb(colour: str) -> Colour:
    return ImageColor.getrgb(colour)[:3]


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]
