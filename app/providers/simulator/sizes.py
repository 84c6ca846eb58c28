"""Converts aspect ratios and resolutions, such as 16:9 at 720p, to sizes in pixels."""

import math
import re

MAX_SIDE = 4096

TIERS = {"0.5K": 512, "512": 512, "768": 768, "1K": 1024, "1.5K": 1536, "2K": 2048, "4K": 4096}
"""Side of a square image in pixels; other aspect ratios have about the same area."""

STAMP = (64, 64)
"""The size for prompts with [stamp], which renders quickly."""

VIDEO_HEIGHTS = {"360p": 360, "480p": 480, "720p": 720, "768p": 768, "1080p": 1080, "1K": 1080, "2K": 1440, "4K": 2160}
"""Shorter side of a video in pixels."""

GEMINI_SIZES = {
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
}
"""The sizes at 1K in Gemini's documentation."""


def image_size_in_pixels(aspect_ratio: str | None, tier: str | None) -> tuple[int, int]:
    """Width and height of an image; the default, and "auto", is a square at 1K."""
    side = TIERS.get(tier or "1K", 1024)
    ratio = "1:1" if aspect_ratio in (None, "", "auto") else str(aspect_ratio)
    if ratio in GEMINI_SIZES:
        return _within(GEMINI_SIZES[ratio][0] * side / 1024, GEMINI_SIZES[ratio][1] * side / 1024, 16)
    across = _ratio(ratio)
    return _within(side * math.sqrt(across), side / math.sqrt(across), 16)


def video_size_in_pixels(aspect_ratio: str | None, resolution: str | None) -> tuple[int, int]:
    """Width and height of a video, both even as H.264 requires; the default is 16:9 at 720p."""
    short = VIDEO_HEIGHTS.get(resolution or "720p", 720)
    across = _ratio(aspect_ratio or "16:9")
    if across >= 1:
        return _within(short * across, short, 2)
    return _within(short, short / across, 2)


def pixels(size: str) -> tuple[int, int] | None:
    """Width and height in "1024x1536", or None if the text is not a supported size."""
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", size)
    if match is None:
        return None
    width, height = int(match[1]), int(match[2])
    return (width, height) if min(width, height) >= 16 and max(width, height) <= MAX_SIDE else None


def matches_ratio(size: tuple[int, int], aspect_ratio: str) -> bool:
    """Whether the size has about this aspect ratio."""
    return abs(size[0] / size[1] / _ratio(aspect_ratio) - 1) < 0.05


def _ratio(text: str) -> float:
    across, _, down = text.partition(":")
    return float(across) / float(down)


def _within(width: float, height: float, step: int) -> tuple[int, int]:
    scale = min(1.0, MAX_SIDE / max(width, height))
    return tuple(max(step, round(side * scale / step) * step) for side in (width, height))  # type: ignore[return-value]
