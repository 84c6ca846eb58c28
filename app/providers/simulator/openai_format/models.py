"""What a persona knows of one simulated model."""

from typing import Any, Literal

import msgspec

Route = Literal["chat", "images", "videos", "embeddings", "speech", "transcription", "moderation"]
Descriptor = dict[str, Any]


class ImageAbility(msgspec.Struct, frozen=True, kw_only=True):
    """The image endpoint's parameters for a model, and the price of one image at 1K in US dollars."""

    parameters: dict[str, Descriptor]
    price_per_image: float
    streams: bool = False
    returns_media_type: bool = True


class VideoAbility(msgspec.Struct, frozen=True, kw_only=True):
    """The video endpoint's parameters for a model. As in the real API, None means "not constrained or not known"."""

    resolutions: list[str] | None = None
    aspect_ratios: list[str] | None = None
    sizes: list[str] | None = None
    durations: list[int] | None = None
    frame_images: list[str] | None = None
    references: bool = False
    audio: bool | None = None
    seed: bool | None = None
    skus: dict[str, str] = {}
    needs_frame: bool = False
    default_duration: int = 5


class SimulatedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One catalogue entry. `pricing` is in US dollars per unit, as decimal text."""

    id: str
    name: str
    created: int
    description: str
    inputs: list[str]
    outputs: list[str]
    routes: tuple[Route, ...]
    context_length: int | None = None
    max_completion_tokens: int | None = None
    tokenizer: str = "Other"
    pricing: dict[str, str] = {}
    parameters: list[str] = []
    moderated: bool = False
    dimensions: int = 0  # of an embedding
    voices: list[str] | None = None
    image: ImageAbility | None = None
    video: VideoAbility | None = None
