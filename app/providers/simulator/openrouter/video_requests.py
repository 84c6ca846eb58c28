"""Validates video requests and derives the properties and the price of the video that they ask for."""

import msgspec

from app.providers.simulator import sizes
from app.providers.simulator.openai_format.admission import JsonObject, reference_image
from app.providers.simulator.openai_format.errors import bad_request, not_found
from app.providers.simulator.openai_format.models import SimulatedModel, VideoAbility
from app.providers.simulator.state import JobStore

MAX_FRAME_PIXELS = 2560 * 1080
"""Pixels; a larger frame would keep a small machine busy for minutes."""


class VideoSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of the video that a request asks for."""

    size: tuple[int, int]
    seconds: int
    audio: bool


def ability_of(model: SimulatedModel) -> VideoAbility:
    if model.video is None:
        raise not_found(f"{model.id} is not available on this endpoint")
    return model.video


def prompt_of(body: JsonObject, video: VideoAbility) -> str:
    prompt = body.get("prompt")
    if prompt is None and video.needs_frame:
        return ""
    if not isinstance(prompt, str) or not prompt.strip():
        raise bad_request("prompt: Required", "invalid_prompt")
    return prompt


def check(body: JsonObject, video: VideoAbility) -> None:
    """Raises an error answer for invalid parameters, and for those that the model does not support."""
    for name, values in (
        ("resolution", video.resolutions),
        ("aspect_ratio", video.aspect_ratios),
        ("duration", video.durations),
        ("size", video.sizes),
    ):
        value = body.get(name)
        if value is not None and values is not None and value not in values:
            raise bad_request(f"{name}: expected one of {', '.join(map(str, values))}")
    if not all(isinstance(body.get(name), str | None) for name in ("resolution", "aspect_ratio", "size")):
        raise bad_request("resolution, aspect_ratio and size must be strings")
    if body.get("resolution") is not None and body["resolution"] not in sizes.VIDEO_HEIGHTS:
        raise bad_request(f"resolution: expected one of {', '.join(sizes.VIDEO_HEIGHTS)}")
    duration = body.get("duration")
    if duration is not None and (
        not isinstance(duration, int) or isinstance(duration, bool) or not 1 <= duration <= 20
    ):
        raise bad_request("duration: expected a whole number of seconds")
    if body.get("generate_audio") is True and video.audio is False:
        raise bad_request("generate_audio: this model does not generate audio")
    if body.get("seed") is not None and (video.seed is False or not isinstance(body["seed"], int)):
        raise bad_request("seed: not supported, or not a whole number")
    callback = body.get("callback_url")
    if callback is not None and not str(callback).startswith("https://"):
        raise bad_request("callback_url: must be an https URL")
    _check_frames(body, video)
    spec_of(body, video)


def check_images(store: JobStore, body: JsonObject) -> None:
    from app.providers.simulator import images  # late: it loads Pillow

    for part in [*image_parts(body, "frame_images"), *image_parts(body, "input_references")]:
        if part.get("type") == "image_url":
            image = reference_image(store, part["image_url"]["url"])
            if isinstance(image, bytes) and not images.is_readable(image):
                raise bad_request("A reference could not be read as an image", "invalid_image")


def spec_of(body: JsonObject, video: VideoAbility) -> VideoSpec:
    size = body.get("size")
    try:
        exact = sizes.pixels(str(size)) if size else None
        if size and exact is None:
            raise bad_request(f"size: {size} is not a valid size")
        exact = exact or sizes.video_size_in_pixels(
            body.get("aspect_ratio"), body.get("resolution") or _default_resolution(video)
        )
    except (ValueError, ZeroDivisionError) as exc:
        raise bad_request(f"aspect_ratio: {body.get('aspect_ratio')} is not an aspect ratio") from exc
    if exact[0] * exact[1] > MAX_FRAME_PIXELS:
        raise bad_request("size: the video is too large")
    audio = body.get("generate_audio")
    return VideoSpec(
        size=(exact[0] // 2 * 2, exact[1] // 2 * 2),
        seconds=body.get("duration") or video.default_duration,
        audio=bool(video.audio if audio is None else audio),
    )


def price_of(video: VideoAbility, spec: VideoSpec, body: JsonObject) -> float:
    """In US dollars."""
    skus = video.skus
    if "cents_per_second_output" in skus:
        return round(float(skus["cents_per_second_output"]) / 100 * spec.seconds, 6)
    sound = "with" if spec.audio else "without"
    resolution = body.get("resolution") or _default_resolution(video)
    for name in (f"duration_seconds_{sound}_audio", f"duration_seconds_{resolution}", "duration_seconds"):
        if name in skus:
            return round(float(skus[name]) * spec.seconds, 6)
    return round(max(map(float, skus.values()), default=0.0) * spec.seconds, 6)


def image_parts(body: JsonObject, name: str) -> list[JsonObject]:
    parts = body.get(name) or []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise bad_request(f"{name}: expected a list of objects")
    for part in parts:
        image = part.get("image_url")
        if part.get("type") == "image_url" and not (isinstance(image, dict) and isinstance(image.get("url"), str)):
            raise bad_request(f"{name}: image_url needs a url")
    return parts


def _check_frames(body: JsonObject, video: VideoAbility) -> None:
    for part in image_parts(body, "frame_images"):
        if part.get("type") != "image_url" or part.get("frame_type") not in ("first_frame", "last_frame"):
            raise bad_request("frame_images: expected type image_url and frame_type first_frame or last_frame")
        if part["frame_type"] not in (video.frame_images or []):
            raise bad_request(f"frame_images: this model does not support {part['frame_type']}")
    for part in image_parts(body, "input_references"):
        if part.get("type") not in ("image_url", "audio_url", "video_url"):
            raise bad_request("input_references: each entry must have the type image_url, audio_url or video_url")
        if not video.references:
            raise bad_request("input_references: this model does not support references")
    if video.needs_frame and "first_frame" not in [part["frame_type"] for part in image_parts(body, "frame_images")]:
        raise bad_request("frame_images: this model requires a first_frame")


def _default_resolution(video: VideoAbility) -> str:
    return "720p" if video.resolutions is None or "720p" in video.resolutions else video.resolutions[0]
