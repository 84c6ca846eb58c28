"""Validates image requests and reads what they ask for."""

from typing import Any

from app.providers.simulator import sizes
from app.providers.simulator.openai_format.admission import JsonObject
from app.providers.simulator.openai_format.errors import bad_request, not_found
from app.providers.simulator.openai_format.models import Descriptor, ImageAbility, SimulatedModel


def ability_of(model: SimulatedModel) -> ImageAbility:
    if model.image is None:
        raise not_found(f"{model.id} is not available on this endpoint")
    return model.image


def prompt_of(body: JsonObject) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise bad_request("prompt: Required", "invalid_prompt")
    return prompt


def check(model: SimulatedModel, name: str, value: Any, descriptor: Descriptor | None) -> None:
    """Raises an error answer for an invalid value. Parameters that the model does not support are rejected, not ignored."""
    if descriptor is None:
        raise bad_request(f"{model.id} does not support the parameter {name}")
    if name == "input_references":
        return _check_references(value, descriptor)
    if descriptor["type"] == "enum" and value not in descriptor["values"]:
        raise bad_request(f"{name}: expected one of {', '.join(descriptor['values'])}")
    if name == "seed" and (not isinstance(value, int) or isinstance(value, bool)):
        raise bad_request("seed: expected a whole number")
    if descriptor["type"] == "range":
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not descriptor["min"] <= value <= descriptor["max"]:
            raise bad_request(f"{name}: expected a whole number from {descriptor['min']} to {descriptor['max']}")
    return None


def size_of(body: JsonObject) -> tuple[int, int]:
    """The requested size in pixels. Contradictory parameters are rejected."""
    size, ratio, tier = body.get("size"), body.get("aspect_ratio"), body.get("resolution")
    if not all(isinstance(value, str | None) for value in (size, ratio, tier)):
        raise bad_request("size, aspect_ratio and resolution must be strings")
    try:
        if size is None or size in sizes.TIERS:
            return sizes.image_size_in_pixels(ratio, size or tier)
        exact = sizes.pixels(size)
        if exact is None:
            raise bad_request(f"size: {size} is not a valid size")
        if ratio not in (None, "auto") and not sizes.matches_ratio(exact, ratio):
            raise bad_request(f"size {size} contradicts aspect_ratio {ratio}")
        return exact
    except (ValueError, ZeroDivisionError) as exc:
        raise bad_request(f"aspect_ratio: {ratio} is not an aspect ratio") from exc


def reference_urls(body: JsonObject) -> list[str]:
    return [part["image_url"]["url"] for part in body.get("input_references") or []]


def _check_references(value: Any, descriptor: Descriptor) -> None:
    if not isinstance(value, list) or len(value) > descriptor["max"]:
        raise bad_request(f"input_references: expected at most {descriptor['max']} images")
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "image_url":
            raise bad_request("input_references: each entry must have the type image_url")
        url = part.get("image_url")
        if not isinstance(url, dict) or not isinstance(url.get("url"), str):
            raise bad_request("input_references: image_url needs a url")
