"""Paints the scene that a prompt calls up: hills, peaks, a sea, dunes, a night, a city, a planet, shapes, ribbons, trees.

The words of the prompt choose the motif and the light where they say something about them; a hash of prompt and seed
chooses everything else, so the same request gives the same scene. A scene is a backdrop and layers with a depth, so
that a clip can let the near ones pass faster than the far ones.
"""

import colorsys
import hashlib
import math
import random
import re
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Size = tuple[int, int]


class Light(NamedTuple):
    """The colours of one hour: sky from the zenith to the horizon, what shines, the land far and near, a spark."""

    sky: tuple[str, ...]
    sun: str
    far: str
    near: str
    spark: str


LIGHTS: dict[str, Light] = {
    "dawn": Light(("#31426f", "#a8708f", "#f2a98f", "#ffe2be"), "#fff4dc", "#d29aa0", "#2b2344", "#ffd58a"),
    "dusk": Light(("#1a1c48", "#633b7c", "#dd6370", "#ffb870"), "#ffe6b0", "#a8586f", "#1b1531", "#ffcf70"),
    "day": Light(("#2f7fc6", "#7fbfe8", "#d9effa"), "#ffffff", "#9cc4d2", "#1f4b57", "#fff3c4"),
    "meadow": Light(("#5aaacb", "#b6dfdd", "#f7f3d0"), "#fffbe2", "#b4d3a2", "#1f4d39", "#ffe98a"),
    "night": Light(("#060920", "#13204c", "#2c477a", "#5f7fae"), "#f4f1df", "#2d4672", "#060915", "#ffe9ad"),
    "aurora": Light(("#050918", "#0c2038", "#174a57", "#2b6f70"), "#e9fff5", "#174450", "#040c14", "#62ffb8"),
    "desert": Light(("#4f86a6", "#e9c48d", "#f7b267", "#f79d65"), "#fff0cf", "#e08a5b", "#6b2737", "#ffd9a0"),
    "ember": Light(("#170b1e", "#561831", "#bd383c", "#fb9a4b"), "#fff0c0", "#8a2b3d", "#12070f", "#ffc857"),
    "mint": Light(("#0e4657", "#3a9f9f", "#a4dcc6", "#f5f7da"), "#fffde8", "#7cc2b2", "#0b3540", "#ffe7a3"),
    "rose": Light(("#4b2a7b", "#a9528d", "#ef90a2", "#fed9c6"), "#fff2ea", "#c9769a", "#2e174a", "#ffe0b5"),
    "snow": Light(("#7f9cbb", "#bfd0e0", "#f0f4f8"), "#ffffff", "#c2d0dd", "#33485f", "#ffe6c7"),
    "autumn": Light(("#49597b", "#c2a08a", "#f7d9a5"), "#fff3d2", "#cf8a55", "#43201a", "#ffd166"),
    "ink": Light(("#0c1826", "#1d2b42", "#45617f", "#8aa3bb"), "#f1ead8", "#3f5b78", "#080d15", "#e8c07d"),
    "neon": Light(("#10042b", "#3b0f6e", "#a51c8e", "#ff5aa5"), "#ffe9ff", "#7a1d86", "#0d0322", "#35f2ff"),
}

LIGHT_WORDS = {
    "dawn": "dawn sunrise morning pastel",
    "dusk": "dusk sunset evening golden twilight purple violet",
    "day": "day sunny noon blue summer bright",
    "meadow": "meadow spring green grass garden field",
    "night": "night midnight moon moonlit dark stars starry",
    "aurora": "aurora northern polar",
    "desert": "desert dune dunes sand sahara canyon orange",
    "ember": "fire lava volcano ember red dragon hell autumnal",
    "mint": "mint teal turquoise tropical lagoon",
    "rose": "rose pink romantic love blossom cherry",
    "snow": "snow snowy winter ice white frost arctic glacier",
    "autumn": "autumn fall harvest amber brown leaves",
    "ink": "ink noir rain rainy fog foggy mist misty storm grey gray monochrome",
    "neon": "neon cyberpunk synthwave future futuristic robot hologram retro",
}

MOTIF_WORDS = {
    "hills": "hill hills valley meadow field farm countryside landscape vineyard",
    "peaks": "mountain mountains alps peak peaks summit snow glacier himalaya volcano",
    "sea": "sea ocean beach wave waves coast ship boat harbour harbor lighthouse island sail lake water river",
    "dunes": "desert dune dunes sand sahara camel pyramid",
    "firs": "aurora night stars starry camp cabin wolf winter",
    "city": "city town skyline street building buildings tokyo paris york london neon cyberpunk rooftop traffic",
    "planet": "space planet galaxy cosmos moon mars astronaut rocket orbit nebula universe alien spaceship",
    "shapes": "abstract bauhaus geometric logo poster pattern minimal icon shapes design",
    "ribbons": "silk flow music sound wavy fluid dream energy marble",
    "forest": "forest woods tree trees jungle fox deer bird birds fog mist",
    "bloom": "flower flowers rose garden bouquet lotus sunflower butterfly bee blossom cat dog portrait woman man",
}


class Layer(NamedTuple):
    """A part of the scene in front of the backdrop. `depth` is 0 for what stands still and 1 for what is nearest."""

    picture: Image.Image
    mask: Image.Image
    depth: float


class Scene(NamedTuple):
    """What was painted, from the back to the front."""

    backdrop: Image.Image
    layers: list[Layer]

    def whole(self) -> Image.Image:
        """All layers on one picture."""
        picture = self.backdrop.copy()
        for layer in self.layers:
            picture.paste(layer.picture, (0, 0), layer.mask)
        return picture


def paint(prompt: str, seed: int | str, size: Size) -> Scene:
    """The scene for this prompt and seed, at this size."""
    brush = Brush(prompt, seed, size)
    motif = _named(prompt, MOTIF_WORDS) or brush.dice.choice(sorted(MOTIFS))
    return MOTIFS[motif](brush)


def duotone(prompt: str, seed: int | str) -> tuple[Colour, Colour]:
    """A dark and a light colour of the prompt's scene, to tint a given picture with."""
    light = Brush(prompt, seed, (16, 16)).light
    return _rgb(light.near), _rgb(light.sky[-1])


def _named(prompt: str, words: dict[str, str]) -> str | None:
    """The entry whose words the prompt speaks of first."""
    spoken = re.findall(r"[a-z]+", prompt.lower())
    for word in spoken:
        for name, known in words.items():
            if word in known.split():
                return name
    return None


class Brush:
    """Size, light and dice of one scene, and the strokes that all motifs share."""

    def __init__(self, prompt: str, seed: int | str, size: Size) -> None:
        self.size = size
        self.width, self.height = size
        self.words = prompt.lower()
        self.dice = random.Random(hashlib.sha256(f"{seed}\0{prompt}".encode()).digest())
        name = _named(prompt, LIGHT_WORDS) or self.dice.choice(sorted(LIGHTS))
        self.light = _shifted(LIGHTS[name], self.dice.uniform(-0.035, 0.035))
        self.dark = name in ("night", "aurora", "ember", "neon", "ink", "dusk")

    # Colours

    def mixed(self, share: float, start: str | Colour | None = None, end: str | Colour | None = None) -> Colour:
        """A colour between two, by default between the far and the near land."""
        one, two = _rgb(start or self.light.far), _rgb(end or self.light.near)
        return tuple(round(a + (b - a) * share) for a, b in zip(one, two, strict=True))  # type: ignore[return-value]

    def sky(self) -> Image.Image:
        """The whole canvas as a sky."""
        return self.wash([_rgb(colour) for colour in self.light.sky])

    def wash(self, stops: list[Colour], top: float = 0.0, bottom: float = 1.0) -> Image.Image:
        """A gradient downwards through these colours, between two heights given as shares of the canvas."""
        line = Image.new("RGB", (1, self.height))
        span = max(1e-6, bottom - top)
        pixels = [_between(stops, (place / self.height - top) / span) for place in range(self.height)]
        line.putdata(pixels)
        return line.resize(self.size, Image.Resampling.NEAREST)

    # Light

    def glow(
        self, picture: Image.Image, at: tuple[float, float], radius: float, colour: str | Colour, most: int
    ) -> None:
        """A soft light around a place."""
        side = max(4, round(radius * 2))
        picture.paste(_rgb(colour), (round(at[0] - radius), round(at[1] - radius)), glow_mask((side, side), most))

    def disc(self, picture: Image.Image, at: tuple[float, float], radius: float, colour: str | Colour) -> None:
        """A clean circle: a sun, a moon."""
        side = max(4, round(radius * 2))
        mask = Image.new("L", (side * 2, side * 2))
        ImageDraw.Draw(mask).ellipse((2, 2, side * 2 - 3, side * 2 - 3), fill=255)
        picture.paste(_rgb(colour), (round(at[0] - radius), round(at[1] - radius)), mask.reduce(2))

    def sun(self, picture: Image.Image, low: float, high: float) -> tuple[float, float]:
        """A sun or moon with its glow at a height between two shares of the canvas; returns where it stands."""
        at = (self.dice.uniform(0.18, 0.82) * self.width, self.dice.uniform(low, high) * self.height)
        radius = min(self.size) * self.dice.uniform(0.05, 0.11)
        self.glow(picture, at, radius * 6, self.light.sun, 120)
        self.glow(picture, at, radius * 2.4, self.light.sun, 150)
        self.disc(picture, at, radius, self.light.sun)
        return at

    def stars(self, picture: Image.Image, count: int, down_to: float = 0.7) -> None:
        """Points of light, the fewer the brighter."""
        pen = ImageDraw.Draw(picture, "RGBA")
        unit = max(self.size) / 1000
        for _ in range(count):
            x = self.dice.uniform(0, self.width)
            y = self.dice.uniform(0, 1) ** 1.3 * self.height * down_to
            bright = self.dice.random() ** 3
            radius = unit * (0.5 + 1.3 * bright)
            pen.ellipse(
                (x - radius, y - radius, x + radius, y + radius), fill=(255, 250, 235, round(90 + 165 * bright))
            )

    def clouds(self, picture: Image.Image, count: int, low: float, high: float, strength: int) -> None:
        """Long soft clouds."""
        mask = Image.new("L", (max(8, self.width // 4), max(8, self.height // 4)))
        pen = ImageDraw.Draw(mask)
        for _ in range(count):
            x, y = self.dice.uniform(-0.1, 1) * mask.width, self.dice.uniform(low, high) * mask.height
            long = self.dice.uniform(0.1, 0.32) * mask.width
            for _ in range(9):
                puff = self.dice.uniform(0.012, 0.035) * mask.height
                left = x + self.dice.uniform(0, long)
                rise = self.dice.uniform(-1.2, 0.4) * puff
                pen.ellipse((left, y + rise - puff, left + long * 0.45, y + rise + puff * 0.8), fill=strength)
        soft = mask.filter(ImageFilter.GaussianBlur(max(1.0, mask.height / 70))).resize(
            self.size, Image.Resampling.BICUBIC
        )
        picture.paste(_rgb(self.light.sun), (0, 0), soft)

    # Land

    def line(self, base: float, swing: float, waves: float, rough: float, *, sharp: bool = False) -> list[float]:
        """Heights from left to right, in pixels: value noise, its octaves fading by `rough`; `sharp` makes crests."""
        step = self.step
        heights = [0.0] * (self.width // step + 2)
        size, rate = 1.0, waves
        for _ in range(6):
            knots = [self.dice.uniform(-1, 1) for _ in range(int(len(heights) * step / self.width * rate) + 2)]
            for place in range(len(heights)):
                where = place * step / self.width * rate
                knot, part = int(where), where % 1.0
                ease = part if sharp else part * part * (3 - 2 * part)
                value = knots[knot] + (knots[knot + 1] - knots[knot]) * ease
                heights[place] += size * ((1 - abs(value) * 2) if sharp else value)
            size, rate = size * rough, rate * 2.1
        return [(base - swing * height) * self.height for height in heights]

    @property
    def step(self) -> int:
        return max(2, self.width // 400)

    def below(self, line: list[float]) -> Image.Image:
        """A mask of all that lies under a line."""
        mask = Image.new("L", (self.width * 2, self.height * 2))
        points = [(place * self.step * 2, height * 2) for place, height in enumerate(line)]
        corners = [(mask.width + 4 * self.step, mask.height), (-2, mask.height)]
        ImageDraw.Draw(mask).polygon([*points, *corners], fill=255)
        return mask.reduce(2)

    def land(self, line: list[float], colour: Colour, depth: float, mist: float = 0.35) -> Layer:
        """A ridge: its own colour at the crest, paler with mist towards its foot."""
        crest = min(line) / self.height
        foot = self.mixed(mist, colour, self.light.sky[-1])
        return Layer(self.wash([colour, foot], crest, min(1.0, crest + 0.45)), self.below(line), depth)

    def firs(self, line: list[float], colour: Colour, depth: float, tall: float, count: int) -> Layer:
        """Fir trees along a line, and the ground they stand on."""
        mask = Image.new("L", (self.width * 2, self.height * 2))
        pen = ImageDraw.Draw(mask)
        for _ in range(count):
            x = self.dice.uniform(-0.02, 1.02) * self.width
            place = min(len(line) - 1, max(0, round(x / self.step)))
            foot = line[place] + self.dice.uniform(0, 0.02) * self.height
            high = self.dice.uniform(0.45, 1.0) * tall * self.height
            wide = high * self.dice.uniform(0.16, 0.22)
            for tier in range(6):
                top = foot - high * (1 - tier * 0.14)
                half = wide * (0.25 + tier * 0.15)
                end = top + high * 0.27
                pen.polygon([(x * 2, top * 2), ((x - half) * 2, end * 2), ((x + half) * 2, end * 2)], fill=255)
            pen.rectangle(
                ((x - high * 0.012) * 2, (foot - high * 0.1) * 2, (x + high * 0.012) * 2, (foot + 4) * 2), fill=255
            )
        ground = self.below(line)
        return Layer(Image.new("RGB", self.size, colour), ImageChops.lighter(mask.reduce(2), ground), depth)


# The motifs


def hills(brush: Brush) -> Scene:
    """Soft hills one behind the other."""
    sky = brush.sky()
    if brush.dark:
        brush.stars(sky, 160, 0.5)
    brush.sun(sky, 0.2, 0.5)
    brush.clouds(sky, brush.dice.randint(2, 6), 0.08, 0.4, 90)
    layers = []
    count = brush.dice.randint(5, 6)
    start = brush.dice.uniform(0.46, 0.58)
    for place in range(count):
        share = place / (count - 1)
        line = brush.line(start + share * (0.92 - start), 0.05 + 0.03 * share, brush.dice.uniform(1.2, 3), 0.4)
        layers.append(brush.land(line, brush.mixed(share**0.9), share, 0.45 * (1 - share)))
    layers.append(_trees_on(brush, layers[-2]))
    return Scene(sky, [*layers[:-2], layers[-1], layers[-2]])


def _trees_on(brush: Brush, front: Layer) -> Layer:
    """A few round trees that stand on the nearest hill."""
    mask = Image.new("L", (brush.width * 2, brush.height * 2))
    pen = ImageDraw.Draw(mask)
    for _ in range(brush.dice.randint(3, 9)):
        x = brush.dice.uniform(0.03, 0.97) * brush.width
        column = front.mask.crop((int(x), 0, int(x) + 1, brush.height)).getbbox()
        foot = column[1] if column else brush.height * 0.9
        high = brush.dice.uniform(0.05, 0.11) * brush.height
        pen.rectangle(((x - high * 0.03) * 2, (foot - high * 0.5) * 2, (x + high * 0.03) * 2, (foot + 3) * 2), fill=255)
        for _ in range(7):
            dx, dy = brush.dice.uniform(-0.22, 0.22) * high, brush.dice.uniform(0.45, 0.9) * high
            puff = brush.dice.uniform(0.14, 0.24) * high
            box = ((x + dx - puff) * 2, (foot - dy - puff) * 2, (x + dx + puff) * 2, (foot - dy + puff) * 2)
            pen.ellipse(box, fill=255)
    return Layer(Image.new("RGB", brush.size, brush.mixed(0.93)), mask.reduce(2), 1.0)


def peaks(brush: Brush) -> Scene:
    """Sharp mountains with snow on their crests, firs at their feet."""
    sky = brush.sky()
    if brush.dark:
        brush.stars(sky, 220, 0.6)
    brush.sun(sky, 0.12, 0.34)
    brush.clouds(sky, brush.dice.randint(2, 5), 0.2, 0.5, 80)
    layers = []
    for place, base in enumerate((0.56, 0.68, 0.8)):
        share = place / 3
        line = brush.line(base, 0.15 - 0.03 * place, brush.dice.uniform(2, 3.4) + place, 0.42, sharp=True)
        ridge = brush.land(line, brush.mixed(0.15 + share), 0.15 + share * 0.6, 0.5)
        if place < 2:
            ridge = _snowed(brush, ridge, line, 0.1 - 0.03 * place)
        layers.append(ridge)
    ground = brush.line(0.9, 0.025, 2.5, 0.4)
    layers.append(brush.firs(ground, brush.mixed(0.97), 1.0, brush.dice.uniform(0.13, 0.22), brush.width // 22))
    return Scene(sky, layers)


def _snowed(brush: Brush, ridge: Layer, line: list[float], deep: float) -> Layer:
    """Snow where the ridge is highest, its lower edge ragged, one side in shade."""
    edge = [
        height + deep * brush.height * brush.dice.uniform(0.35, 1.0) * (0.75 + 0.25 * math.sin(place / 3))
        for place, height in enumerate(line)
    ]
    limit = min(line) + 0.17 * brush.height
    edge = [min(low, limit + brush.dice.uniform(0, 0.02) * brush.height) for low in edge]
    snow = ImageChops.subtract(ridge.mask, brush.below(edge))
    picture = ridge.picture.copy()
    picture.paste(brush.mixed(0.12, brush.light.sun, brush.light.far), (0, 0), snow)
    shade = Image.new("L", (brush.width * 2, brush.height * 2))
    pen = ImageDraw.Draw(shade)
    for place in range(1, len(line) - 1):
        if line[place] < line[place - 1] and line[place] <= line[place + 1]:
            x, top = place * brush.step * 2, line[place] * 2
            drop = brush.dice.uniform(0.2, 0.4) * brush.height
            pen.polygon([(x, top), (x + drop * 0.9, top + drop * 1.6), (x + drop * 0.1, top + drop * 0.8)], fill=60)
    picture.paste(_rgb(brush.light.near), (0, 0), shade.reduce(2))
    return Layer(picture, ridge.mask, ridge.depth)


def sea(brush: Brush) -> Scene:
    """Water under a low sun that lies on it in a path of light."""
    horizon = brush.dice.uniform(0.44, 0.62)
    sky = brush.wash([_rgb(colour) for colour in brush.light.sky], 0.0, horizon)
    if brush.dark:
        brush.stars(sky, 200, horizon)
    at = brush.sun(sky, horizon - 0.24, horizon - 0.02)
    brush.clouds(sky, brush.dice.randint(3, 8), 0.08, horizon - 0.05, 110)
    water = brush.wash([brush.mixed(0.3, brush.light.sky[-1], brush.light.far), _rgb(brush.light.near)], horizon, 1.05)
    pen = ImageDraw.Draw(water, "RGBA")
    unit = brush.height / 400
    depth = brush.height * (1 - horizon)
    for _ in range(420):
        near = brush.dice.random() ** 1.6
        y = brush.height * horizon + near * depth
        spread = (0.02 + 0.16 * near) * brush.width
        x = brush.dice.gauss(at[0], spread)
        long = (2 + 26 * near) * unit * brush.dice.uniform(0.5, 1.5)
        glitter = round((190 - 130 * near) * math.exp(-(((x - at[0]) / (spread * 1.6)) ** 2)))
        pen.ellipse(
            (x - long, y - unit * (0.35 + near), x + long, y + unit * (0.35 + near)),
            fill=(*_rgb(brush.light.sun), glitter),
        )
    for _ in range(160):
        near = brush.dice.random()
        y, x = brush.height * horizon + near * depth, brush.dice.uniform(0, brush.width)
        long = (6 + 50 * near) * unit
        pen.ellipse((x - long, y, x + long, y + unit * (0.5 + near)), fill=(*brush.mixed(0.2), 46))
    layers = [Layer(water, _box_mask(brush, horizon), 0.25)]
    coast = brush.line(horizon + 0.005, 0.06, brush.dice.uniform(1.5, 2.5), 0.45)
    side = brush.dice.choice((-1, 1))
    slope = [
        height + brush.height * 0.22 * max(0.0, 0.35 + side * (place / len(coast) - 0.5))
        for place, height in enumerate(coast)
    ]
    land = brush.land([min(height, brush.height * 2) for height in slope], brush.mixed(0.35), 0.3, 0.3)
    layers.insert(0, land)
    layers.append(_boat(brush, horizon))
    if "lighthouse" in brush.words or "leuchtturm" in brush.words or brush.dice.random() < 0.25:
        layers.extend(_lighthouse(brush))
    shore = brush.line(0.97, 0.03, 2, 0.45)
    layers.append(brush.land(shore, brush.mixed(0.95), 1.0, 0.0))
    return Scene(sky, layers)


def _box_mask(brush: Brush, top: float) -> Image.Image:
    mask = Image.new("L", brush.size)
    ImageDraw.Draw(mask).rectangle((0, round(top * brush.height), brush.width, brush.height), fill=255)
    return mask


def _boat(brush: Brush, horizon: float) -> Layer:
    """One small sail, so that the water has a scale."""
    mask = Image.new("L", (brush.width * 2, brush.height * 2))
    pen = ImageDraw.Draw(mask)
    high = brush.dice.uniform(0.05, 0.11) * brush.height * 2
    x = brush.dice.uniform(0.2, 0.8) * mask.width
    foot = (horizon + brush.dice.uniform(0.03, 0.12)) * mask.height
    pen.polygon([(x, foot - high), (x, foot - high * 0.12), (x + high * 0.5, foot - high * 0.12)], fill=255)
    pen.polygon(
        [(x - 4, foot - high * 0.85), (x - 4, foot - high * 0.12), (x - high * 0.3, foot - high * 0.12)], fill=235
    )
    pen.polygon(
        [
            (x - high * 0.4, foot - high * 0.08),
            (x + high * 0.55, foot - high * 0.08),
            (x + high * 0.35, foot + high * 0.08),
            (x - high * 0.25, foot + high * 0.08),
        ],
        fill=255,
    )
    return Layer(Image.new("RGB", brush.size, brush.mixed(0.9)), mask.reduce(2), 0.5)


def _lighthouse(brush: Brush) -> list[Layer]:
    """A tower on a rock, and its beam across the sky."""
    side = brush.dice.choice((-1, 1))
    x = brush.width * (0.5 + side * brush.dice.uniform(0.24, 0.36))
    foot, high = brush.height * 0.88, brush.height * brush.dice.uniform(0.4, 0.52)
    wide, top = high * 0.085, brush.height * 0.88 - high
    rock = brush.line(0.98, 0.01, 4, 0.5)
    hump = [
        height - brush.height * 0.13 * math.exp(-(((place * brush.step - x) / (brush.width * 0.14)) ** 2) * 1.4)
        for place, height in enumerate(rock)
    ]
    mask = Image.new("L", (brush.width * 2, brush.height * 2))
    pen = ImageDraw.Draw(mask)

    def block(low: float, upper: float, below: float, above: float) -> None:
        corners = [(x - below, low), (x + below, low), (x + above, upper), (x - above, upper)]
        pen.polygon([(across * 2, down * 2) for across, down in corners], fill=255)

    block(foot + high * 0.1, top, wide, wide * 0.62)
    block(top, top - high * 0.02, wide * 0.95, wide * 0.95)
    block(top - high * 0.02, top - high * 0.1, wide * 0.5, wide * 0.5)
    block(top - high * 0.1, top - high * 0.16, wide * 0.7, 0)
    picture = Image.new("RGB", brush.size, brush.mixed(1.0))
    stripes = ImageDraw.Draw(picture)
    for band in range(1, 6, 2):
        upper = top + (foot - top) * band / 6
        stripes.rectangle((x - wide, upper, x + wide, upper + high / 7), fill=brush.mixed(0.55))
    stripes.rectangle((x - wide / 2, top - high * 0.1, x + wide / 2, top - high * 0.02), fill=_rgb(brush.light.spark))
    tower = Layer(picture, ImageChops.lighter(mask.reduce(2), brush.below(hump)), 1.0)
    return [_beam(brush, (x, top - high * 0.06), -side), tower]


def _beam(brush: Brush, at: tuple[float, float], side: int) -> Layer:
    small = (max(8, brush.width // 4), max(8, brush.height // 4))
    mask = Image.new("L", small)
    x, y = at[0] / 4, at[1] / 4
    end, spread = x + side * small[0], small[1] * 0.16
    ImageDraw.Draw(mask).polygon([(x, y), (end, y - spread * 1.4), (end, y + spread * 0.6)], fill=70)
    soft = mask.filter(ImageFilter.GaussianBlur(small[1] / 90)).resize(brush.size, Image.Resampling.BICUBIC)
    radius = round(brush.height * 0.13)
    soft.paste(200, (round(at[0]) - radius, round(at[1]) - radius), glow_mask((radius * 2, radius * 2), 200))
    return Layer(Image.new("RGB", brush.size, _rgb(brush.light.spark)), soft, 1.0)


def dunes(brush: Brush) -> Scene:
    """Sand in long curves, each with a lit and a shaded side, under a great sun."""
    sky = brush.sky()
    at = (brush.dice.uniform(0.25, 0.75) * brush.width, brush.dice.uniform(0.26, 0.46) * brush.height)
    radius = min(brush.size) * brush.dice.uniform(0.13, 0.2)
    brush.glow(sky, at, radius * 3, brush.light.sun, 130)
    brush.disc(sky, at, radius, brush.light.sun)
    brush.clouds(sky, 3, 0.1, 0.35, 60)
    layers = []
    count = 5
    for place in range(count):
        share = place / (count - 1)
        line = brush.line(0.55 + 0.36 * share, 0.07 + 0.04 * share, brush.dice.uniform(0.8, 1.8), 0.28)
        dune = brush.land(line, brush.mixed(share * 0.85), share, 0.3 * (1 - share))
        shade = brush.line(0.55 + 0.36 * share + 0.08, 0.11, brush.dice.uniform(1.2, 2.2), 0.25)
        low = [max(a, b) for a, b in zip(line, shade, strict=True)]
        dune.picture.paste(brush.mixed(min(1.0, share * 0.85 + 0.22)), (0, 0), brush.below(low))
        layers.append(dune)
    return Scene(sky, layers)


def firs(brush: Brush) -> Scene:
    """A night of stars over firs, with northern lights when the dice say so."""
    sky = brush.sky()
    brush.stars(sky, 420, 0.75)
    if brush.dice.random() < 0.75:
        _northern_light(brush, sky)
    if brush.dice.random() < 0.6:
        at = (brush.dice.uniform(0.15, 0.85) * brush.width, brush.dice.uniform(0.12, 0.3) * brush.height)
        radius = min(brush.size) * brush.dice.uniform(0.035, 0.07)
        brush.glow(sky, at, radius * 5, brush.light.sun, 90)
        brush.disc(sky, at, radius, brush.light.sun)
    layers = [
        brush.land(brush.line(0.7, 0.09, 2.4, 0.45, sharp=True), brush.mixed(0.35), 0.2, 0.4),
        brush.firs(brush.line(0.8, 0.03, 2, 0.4), brush.mixed(0.7), 0.5, 0.13, brush.width // 16),
        brush.firs(brush.line(0.92, 0.03, 2, 0.4), brush.mixed(1.0), 1.0, 0.3, brush.width // 40),
    ]
    return Scene(sky, layers)


def _northern_light(brush: Brush, sky: Image.Image) -> None:
    small = (max(8, brush.width // 6), max(8, brush.height // 6))
    for band in range(3):
        mask = Image.new("L", small)
        pen = ImageDraw.Draw(mask)
        phase, swing = brush.dice.uniform(0, 6.3), brush.dice.uniform(0.04, 0.1)
        middle = 0.24 + band * 0.12
        for x in range(small[0]):
            wave = math.sin(x / small[0] * brush.dice.uniform(6.2, 6.4) + phase) + 0.4 * math.sin(
                x / small[0] * 15 + phase
            )
            foot = (middle + swing * wave) * small[1]
            high = small[1] * (0.16 + 0.1 * math.sin(x * 0.5 + phase) * math.sin(x * 0.13))
            for part in range(10):
                shine = round(150 * (1 - part / 10) ** 1.5)
                pen.line((x, foot - high * part / 10, x, foot - high * (part + 1) / 10), fill=shine)
        soft = mask.filter(ImageFilter.GaussianBlur(small[1] / 55)).resize(brush.size, Image.Resampling.BICUBIC)
        sky.paste(brush.mixed(band / 3, brush.light.spark, brush.light.sky[-1]), (0, 0), soft)


def city(brush: Brush) -> Scene:
    """A skyline in three rows with lit windows."""
    sky = brush.sky()
    if brush.dark:
        brush.stars(sky, 120, 0.5)
    brush.sun(sky, 0.22, 0.5)
    brush.clouds(sky, brush.dice.randint(2, 5), 0.1, 0.45, 80)
    layers = [_row(brush, place) for place in range(3)]
    return Scene(sky, layers)


def _row(brush: Brush, place: int) -> Layer:
    share = (0.25, 0.6, 0.97)[place]
    colour = brush.mixed(share)
    foot = brush.mixed(0.4 * (1 - share), colour, brush.light.sky[-1])
    picture = brush.wash([colour, foot], 0.35, 1.0)
    mask = Image.new("L", brush.size)
    shape, glass = ImageDraw.Draw(mask), ImageDraw.Draw(picture, "RGBA")
    unit = max(2, round(brush.width / (170 - 40 * place)))
    x = -brush.dice.randint(0, 5) * unit
    while x < brush.width:
        wide = brush.dice.randint(5, 11) * unit
        centre = 1 - abs((x + wide / 2) / brush.width - 0.5)
        high = (
            brush.height
            * (0.2 + 0.3 * centre * brush.dice.random() + 0.12 * brush.dice.random())
            * (1.15 - 0.22 * place)
        )
        top = round(brush.height * (0.86 + 0.06 * place) - high)
        shape.rectangle((x, top, x + wide - unit // 2, brush.height), fill=255)
        if brush.dice.random() < 0.35:
            mast = x + wide // 2
            shape.rectangle((mast, top - brush.dice.randint(4, 12) * unit, mast + max(1, unit // 3), top), fill=255)
        if brush.dice.random() < 0.3:
            shape.polygon([(x, top), (x + wide - unit // 2, top), (x + wide // 2, top - wide * 0.6)], fill=255)
        for across in range(x + unit, x + wide - unit, unit * 2):
            for down in range(top + unit, brush.height, unit * 3):
                if brush.dice.random() < (0.28 if place else 0.14):
                    warm = (*_rgb(brush.light.spark), brush.dice.randint(90, 235))
                    glass.rectangle((across, down, across + unit - 1, down + unit), fill=warm)
        x += wide + brush.dice.choice((0, 0, unit, unit * 2))
    return Layer(picture, mask, (0.15, 0.5, 1.0)[place])


def planet(brush: Brush) -> Scene:
    """A banded planet, sometimes ringed, before a nebula; the rim of another world in front."""
    deep = [brush.mixed(0.85, colour, "#05060f") for colour in brush.light.sky]
    space = brush.wash([*deep, deep[0]])
    for _ in range(5):
        at = (brush.dice.uniform(0, 1) * brush.width, brush.dice.uniform(0, 0.9) * brush.height)
        colour = brush.dice.choice([*brush.light.sky, brush.light.spark])
        brush.glow(space, at, max(brush.size) * brush.dice.uniform(0.2, 0.45), colour, 75)
    brush.stars(space, 520, 1.0)
    side = round(min(brush.size) * brush.dice.uniform(0.42, 0.62))
    at = (
        round(brush.dice.uniform(0.1, 0.9) * brush.width - side / 2),
        round(brush.dice.uniform(0.12, 0.4) * brush.height - side * 0.3),
    )
    ball = _ball(brush, side)
    body, mask = Image.new("RGB", brush.size), Image.new("L", brush.size)
    round_mask = Image.new("L", (side * 2, side * 2))
    ImageDraw.Draw(round_mask).ellipse((2, 2, side * 2 - 3, side * 2 - 3), fill=255)
    brush.glow(space, (at[0] + side / 2, at[1] + side / 2), side * 0.85, brush.light.sky[-1], 110)
    body.paste(ball, at)
    mask.paste(round_mask.reduce(2), at)
    layers = [Layer(body, mask, 0.35)]
    if brush.dice.random() < 0.65:
        layers.append(_ring(brush, at, side))
    ground = brush.line(0.88, 0.06, brush.dice.uniform(1.5, 3), 0.5, sharp=True)
    layers.append(brush.land(ground, brush.mixed(0.8), 0.8, 0.1))
    layers.append(brush.land(brush.line(0.97, 0.05, 3, 0.5), brush.mixed(1.0), 1.0, 0.0))
    return Scene(space, layers)


def _ball(brush: Brush, side: int) -> Image.Image:
    ball = Image.new("RGB", (side, side), brush.mixed(0.2))
    pen = ImageDraw.Draw(ball)
    y = 0.0
    stops = [*brush.light.sky[1:], brush.light.far, brush.light.sun]
    while y < side:
        thick = side * brush.dice.uniform(0.02, 0.11)
        pen.rectangle(
            (0, y, side, y + thick),
            fill=brush.mixed(brush.dice.uniform(0, 0.5), brush.dice.choice(stops), brush.light.far),
        )
        y += thick
    ball = ball.filter(ImageFilter.GaussianBlur(side / 90)).rotate(
        brush.dice.uniform(-25, 25), Image.Resampling.BILINEAR, fillcolor=brush.mixed(0.2)
    )
    shade = _GLOW.resize((side * 2, side * 2), Image.Resampling.BILINEAR)
    corner = shade.crop((round(side * 0.72), round(side * 0.72), round(side * 1.72), round(side * 1.72)))
    night = Image.new("RGB", (side, side), brush.mixed(0.9, brush.light.near, "#020208"))
    return Image.composite(ball, night, corner.point([min(255, round(value * 1.25)) for value in range(256)]))


def _ring(brush: Brush, at: tuple[int, int], side: int) -> Layer:
    wide = round(side * 2.1)
    mask = Image.new("L", (wide, wide))
    pen = ImageDraw.Draw(mask)
    flat = brush.dice.uniform(0.09, 0.16)
    for band in range(5):
        grow = 1 - band * 0.07
        half = wide / 2 * grow
        box = (wide / 2 - half, wide / 2 - half * flat * 2, wide / 2 + half, wide / 2 + half * flat * 2)
        pen.ellipse(box, outline=round(190 - 25 * band), width=max(2, round(wide * 0.018)))
    # The far half of the ring passes behind the planet.
    hidden = side * 0.5
    pen.chord((wide / 2 - hidden, wide / 2 - hidden, wide / 2 + hidden, wide / 2 + hidden), 180, 360, fill=0)
    turned = mask.filter(ImageFilter.GaussianBlur(0.8)).rotate(brush.dice.uniform(-24, 24), Image.Resampling.BICUBIC)
    whole = Image.new("L", brush.size)
    whole.paste(turned, (round(at[0] + side / 2 - wide / 2), round(at[1] + side / 2 - wide / 2)))
    return Layer(Image.new("RGB", brush.size, _rgb(brush.light.sun)), whole, 0.35)


def shapes(brush: Brush) -> Scene:
    """Circles, arcs and bars on a grid, as on a poster of the twenties."""
    paper = brush.mixed(0.75, brush.light.sky[-1], "#f6efe2")
    ground = brush.wash([paper, brush.mixed(0.12, paper, brush.light.far)])
    colours = [*brush.light.sky[:-1], brush.light.far, brush.light.near, brush.light.near, brush.light.spark]
    cell = max(brush.size) / brush.dice.choice((3, 4, 5))
    layers = []
    for depth in (0.2, 0.6, 1.0):
        picture, mask = (
            Image.new("RGB", (brush.width * 2, brush.height * 2)),
            Image.new("L", (brush.width * 2, brush.height * 2)),
        )
        paint_pen, mask_pen = ImageDraw.Draw(picture), ImageDraw.Draw(mask)
        for _ in range(5 if depth < 1 else 4):
            column = brush.dice.randint(0, math.ceil(brush.width / cell) - 1)
            row = brush.dice.randint(0, math.ceil(brush.height / cell) - 1)
            reach = cell * brush.dice.choice((1, 1, 2)) * (1.3 - 0.5 * depth) * 2
            x, y = column * cell * 2, row * cell * 2
            _form(brush, (paint_pen, mask_pen), (x, y, x + reach, y + reach), _rgb(brush.dice.choice(colours)))
        layers.append(Layer(picture.reduce(2), mask.reduce(2), depth))
    return Scene(ground, layers)


def _form(
    brush: Brush,
    pens: tuple[ImageDraw.ImageDraw, ImageDraw.ImageDraw],
    box: tuple[float, float, float, float],
    colour: Colour,
) -> None:
    kind = brush.dice.choice(("circle", "half", "quarter", "ring", "bars", "triangle"))
    turn = brush.dice.choice((0, 90, 180, 270))
    x0, y0, x1, y1 = box
    inks: tuple[Colour | int, ...] = (colour, 255)
    for pen, ink in zip(pens, inks, strict=True):
        if kind == "circle":
            pen.ellipse(box, fill=ink)
        elif kind == "half":
            pen.pieslice(box, turn, turn + 180, fill=ink)
        elif kind == "quarter":
            pen.pieslice((x0, y0, 2 * x1 - x0, 2 * y1 - y0), 180, 270, fill=ink)
        elif kind == "ring":
            pen.ellipse(box, outline=ink, width=max(3, round((x1 - x0) * 0.16)))
        elif kind == "triangle":
            pen.polygon([(x0, y1), (x1, y1), (x0 if turn < 180 else x1, y0)], fill=ink)
        else:
            thick = (x1 - x0) / 9
            for bar in range(0, 9, 2):
                pen.rectangle((x0, y0 + bar * thick, x1, y0 + (bar + 1) * thick), fill=ink)


def ribbons(brush: Brush) -> Scene:
    """Broad waves of colour that flow over each other, each with a shadow beneath its edge."""
    ground = brush.wash([_rgb(brush.light.sky[0]), _rgb(brush.light.sky[1])])
    stops = [*brush.light.sky, brush.light.spark, brush.light.far, brush.light.near]
    if brush.dice.random() < 0.5:
        stops.reverse()
    count = brush.dice.randint(6, 8)
    slant = brush.dice.uniform(-0.25, 0.25)
    layers = []
    for place in range(count):
        share = place / (count - 1)
        line = brush.line(0.14 + 0.8 * share, brush.dice.uniform(0.05, 0.12), brush.dice.uniform(0.9, 2.0), 0.22)
        line = [height + slant * brush.height * (spot / len(line) - 0.5) for spot, height in enumerate(line)]
        colour = _between([_rgb(stop) for stop in stops], share)
        crest = min(line) / brush.height
        picture = brush.wash(
            [brush.mixed(0.3, colour, "#ffffff"), colour, brush.mixed(0.35, colour, "#000010")], crest, crest + 0.4
        )
        mask = brush.below(line)
        shadow = mask.resize((max(1, brush.width // 8), max(1, brush.height // 8))).filter(ImageFilter.GaussianBlur(3))
        shadow = ImageChops.offset(shadow.resize(brush.size, Image.Resampling.BILINEAR), 0, -round(brush.height * 0.02))
        soft = ImageChops.subtract(shadow.point([value * 90 // 255 for value in range(256)]), mask)
        layers.append(Layer(Image.new("RGB", brush.size, (5, 5, 20)), soft, 0.2 + 0.8 * share))
        layers.append(Layer(picture, mask, 0.2 + 0.8 * share))
    return Scene(ground, layers)


def forest(brush: Brush) -> Scene:
    """Trunks in the mist, paler the farther they stand, with rays of light between them."""
    pale = [_rgb(brush.light.sky[-2]), _rgb(brush.light.sky[-1]), _rgb(brush.light.sky[-1])]
    air = brush.wash(pale)
    at = (brush.dice.uniform(0.3, 0.7) * brush.width, brush.height * 0.25)
    brush.glow(air, at, max(brush.size) * 0.6, brush.light.sun, 190)
    _rays(brush, air, at)
    layers = []
    for place in range(4):
        share = (place + 0.6) / 3.8
        layers.append(_trunks(brush, share, (26, 17, 11, 5)[place]))
    return Scene(air, layers)


def _rays(brush: Brush, air: Image.Image, at: tuple[float, float]) -> None:
    mask = Image.new("L", (max(8, brush.width // 4), max(8, brush.height // 4)))
    pen = ImageDraw.Draw(mask)
    x, y = at[0] / 4, -mask.height * 0.2
    for _ in range(7):
        angle = brush.dice.uniform(-0.7, 0.7)
        wide = brush.dice.uniform(0.02, 0.06)
        ends = [(x + math.tan(turn) * mask.height * 1.4, mask.height * 1.2) for turn in (angle - wide, angle + wide)]
        pen.polygon([(x, y), *ends], fill=brush.dice.randint(40, 90))
    soft = mask.filter(ImageFilter.GaussianBlur(mask.width / 60)).resize(brush.size, Image.Resampling.BICUBIC)
    air.paste(_rgb(brush.light.sun), (0, 0), soft)


def _trunks(brush: Brush, share: float, count: int) -> Layer:
    mask = Image.new("L", (brush.width * 2, brush.height * 2))
    pen = ImageDraw.Draw(mask)
    unit = max(brush.size) * 2 / 100
    ground = brush.line(0.7 + 0.26 * share, 0.02, 3, 0.4)
    for _ in range(count):
        x = brush.dice.uniform(-0.03, 1.03) * mask.width
        thick = unit * (0.25 + 1.9 * share**1.6) * brush.dice.uniform(0.7, 1.2)
        lean = brush.dice.uniform(-0.03, 0.03) * mask.height
        pen.polygon(
            [
                (x - thick / 2 + lean, -5),
                (x + thick / 2 + lean, -5),
                (x + thick * 0.75, mask.height),
                (x - thick * 0.75, mask.height),
            ],
            fill=255,
        )
        for _ in range(brush.dice.randint(2, 5)):
            y = brush.dice.uniform(0.02, 0.5) * mask.height
            stem = x + lean * (1 - y / mask.height)
            long = brush.dice.choice((-1, 1)) * unit * brush.dice.uniform(3, 9) * (0.4 + share)
            pen.line((stem, y, stem + long, y - abs(long) * 0.45), fill=255, width=max(1, round(thick * 0.22)))
    mask = ImageChops.lighter(mask.reduce(2), brush.below(ground))
    colour = brush.mixed(share, brush.mixed(0.25, brush.light.sky[-1], brush.light.far), brush.light.near)
    return Layer(
        brush.wash([colour, colour, brush.mixed(0.45 * (1 - share), colour, brush.light.sky[-1])]), mask, share
    )


def bloom(brush: Brush) -> Scene:
    """Great flowers of translucent petals, and leaves."""
    ground = brush.wash([brush.mixed(0.3, colour, brush.light.near) for colour in brush.light.sky])
    for _ in range(7):
        at = (brush.dice.uniform(0, 1) * brush.width, brush.dice.uniform(0, 1) * brush.height)
        brush.glow(ground, at, max(brush.size) * brush.dice.uniform(0.08, 0.25), brush.dice.choice(brush.light.sky), 90)
    layers = [_leaves(brush)]
    places = [(0.5, 0.45, 0.36), (0.16, 0.74, 0.2), (0.86, 0.7, 0.23), (0.82, 0.16, 0.15), (0.14, 0.18, 0.17)]
    brush.dice.shuffle(places)
    for place, (x, y, reach) in enumerate(sorted(places[: brush.dice.randint(3, 5)], key=lambda spot: spot[2])):
        jitter = brush.dice.uniform(-0.05, 0.05)
        at = ((x + jitter) * brush.width, (y + jitter) * brush.height)
        layers.append(_flower(brush, at, reach * min(brush.size), 0.4 + 0.15 * place))
    return Scene(ground, layers)


def _leaves(brush: Brush) -> Layer:
    mask = Image.new("L", (brush.width * 2, brush.height * 2))
    pen = ImageDraw.Draw(mask)
    for _ in range(26):
        x, y = brush.dice.uniform(0, 1) * mask.width, brush.dice.uniform(0.2, 1.05) * mask.height
        _petal(
            pen,
            (x, y),
            brush.dice.uniform(0, 6.3),
            min(mask.size) * brush.dice.uniform(0.12, 0.28),
            0.22,
            brush.dice.randint(120, 230),
        )
    return Layer(brush.wash([brush.mixed(0.55), brush.mixed(0.9)]), mask.reduce(2), 0.2)


def _flower(brush: Brush, at: tuple[float, float], reach: float, depth: float) -> Layer:
    colours = [*brush.light.sky[1:], brush.light.spark, brush.light.sun]
    outer, inner = _rgb(brush.dice.choice(colours)), _rgb(brush.dice.choice(colours))
    size = (brush.width * 2, brush.height * 2)
    picture, mask = Image.new("RGB", size, outer), Image.new("L", size)
    paint_pen, mask_pen = ImageDraw.Draw(picture), ImageDraw.Draw(mask)
    middle = (at[0] * 2, at[1] * 2)
    count = brush.dice.randint(7, 13)
    fat = 3.2 / count * brush.dice.uniform(0.75, 1.1)
    start = brush.dice.uniform(0, 6.3)
    for ring in range(4):
        long = reach * 2 * (1 - 0.22 * ring)
        for petal in range(count):
            angle = start + ring * math.pi / count + petal * 2 * math.pi / count
            shade = brush.mixed(ring / 3 * 0.8 + 0.12 * (petal % 2), outer, inner)
            _petal(paint_pen, middle, angle, long, fat, shade)
            _petal(mask_pen, middle, angle, long, fat, 255)
            if ring < 3:
                _petal(paint_pen, middle, angle, long * 0.86, fat * 0.1, brush.mixed(0.22, shade, "#ffffff"))
    for heart in range(3):
        half = reach * 2 * (0.2 - 0.05 * heart)
        box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
        paint_pen.ellipse(box, fill=brush.mixed(0.4 * heart, brush.light.near, brush.light.spark))
        mask_pen.ellipse(box, fill=255)
    return Layer(picture.reduce(2), mask.reduce(2), depth)


def _petal(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], angle: float, long: float, fat: float, ink: int | Colour
) -> None:
    points = []
    for place in range(24):
        turn = place / 24 * 2 * math.pi
        x = long * (1 - math.cos(turn)) / 2
        y = fat * long * math.sin(turn) * (0.45 + 0.55 * x / long)
        points.append(
            (at[0] + x * math.cos(angle) - y * math.sin(angle), at[1] + x * math.sin(angle) + y * math.cos(angle))
        )
    pen.polygon(points, fill=ink)


MOTIFS: dict[str, Callable[[Brush], Scene]] = {
    "hills": hills,
    "peaks": peaks,
    "sea": sea,
    "dunes": dunes,
    "firs": firs,
    "city": city,
    "planet": planet,
    "shapes": shapes,
    "ribbons": ribbons,
    "forest": forest,
    "bloom": bloom,
}


def _glow_mask() -> Image.Image:
    """White in the middle, fading to nothing at the rim."""
    # Pillow's gradient is 255 in the corners and 181 in the middle of each side; the light must end before the side.
    fall = [round(255 * max(0.0, 1 - value / 178) ** 2) for value in range(256)]
    return Image.radial_gradient("L").point(fall)


_GLOW = _glow_mask()


def glow_mask(size: Size, most: int) -> Image.Image:
    """The mask of a soft light of that size, `most` opaque in its middle."""
    return _GLOW.resize(size, Image.Resampling.BILINEAR).point([value * most // 255 for value in range(256)])


def _rgb(colour: str | Colour) -> Colour:
    if isinstance(colour, tuple):
        return colour
    red, green, blue, *_ = ImageColor.getrgb(colour)
    return red, green, blue


def _between(stops: list[Colour], share: float) -> Colour:
    where = min(1.0, max(0.0, share)) * (len(stops) - 1)
    at = min(int(where), len(stops) - 2) if len(stops) > 1 else 0
    one, two = stops[at], stops[min(at + 1, len(stops) - 1)]
    part = where - at
    return tuple(round(a + (b - a) * part) for a, b in zip(one, two, strict=True))  # type: ignore[return-value]


def _shifted(light: Light, turn: float) -> Light:
    """The same hour with every hue turned a little, so that no two pictures share their colours."""

    def shift(colour: str) -> str:
        hue, bright, full = colorsys.rgb_to_hls(*(part / 255 for part in _rgb(colour)))
        turned = colorsys.hls_to_rgb((hue + turn) % 1.0, bright, full)
        return "#" + "".join(f"{round(part * 255):02x}" for part in turned)

    sky = tuple(shift(colour) for colour in light.sky)
    return Light(sky, light.sun, shift(light.far), shift(light.near), shift(light.spark))
