"""Reads and validates parameters in OpenAI's format."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from app.base.errors import Invalid, Missing
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.providers.contract import Kind

# Ignored: clients send these by default, and they have no effect here.
IGNORED: Final = (
    "metadata",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
)
_RATIO_TOLERANCE: Final = 0.05  # maximum difference, as a logarithm, from a size that the model supports
_IMAGE_SIZES: Final = (("1K", 1024), ("2K", 2048), ("4K", 4096))  # longer side in pixels
_VIDEO_HEIGHT: Final = re.compile(r"(\d+)p")


def invalid(field: str, message: str) -> Invalid:
    return Invalid(message, fields={field: message}, details={"param": field})


def require_model(catalog: Catalog, body: Mapping[str, Any], kind: Kind) -> Model:
    """The model of a request. Raises Missing with OpenAI's error code if it does not exist."""
    model_id = body.get("model")
    if not isinstance(model_id, str) or not model_id.strip():
        raise invalid("model", "`model` is required. Use the id of a model from /v1/models.")
    try:
        catalog.find(model_id.strip())
    except Missing:
        if not catalog.search():
            return catalog.choose(model_id.strip(), kind)  # reports that the catalogue is not loaded yet
        raise model_not_found(model_id) from None
    return catalog.choose(model_id.strip(), kind)


def model_not_found(model: str) -> Missing:
    message = f"The model `{model[:100]}` does not exist or is disabled. See /v1/models."
    return Missing(message, details={"param": "model", "code": "model_not_found"})


def integer(body: Mapping[str, Any], name: str, *, minimum: int, maximum: int) -> int | None:
    """An integer, which may be given as a string (in forms) or a float such as 4.0; None if it is missing."""
    value = body.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise invalid(name, f"`{name}` must be an integer from {minimum} to {maximum}.")
    return value


def text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid(name, f"`{name}` must be a string.")
    return value or None


def flag(body: Mapping[str, Any], name: str) -> bool:
    """A boolean, which may be given as a string (in forms); False if it is missing."""
    value = body.get(name)
    if value in ("true", "false"):
        return bool(value == "true")
    if not isinstance(value, bool | None):
        raise invalid(name, f"`{name}` must be true or false.")
    return bool(value)


def reject_unknown(body: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise Invalid for unknown or unsupported fields."""
    for name, value in body.items():
        if name not in known and value is not None:
            raise invalid(str(name)[:60], f"Unknown or unsupported parameter: '{str(name)[:60]}'.")


def size_params(model: Model, size: str | None) -> dict[str, Any]:
    """Convert OpenAI's `size` (`1024x1536`) to parameters of this model; empty for `auto`."""
    if size is None or size == "auto":
        return {}
    properties: dict[str, dict[str, Any]] = model.parameters.get("properties", {})
    if "size" in properties:
        return {"size": size}
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", size)
    if not found:
        raise invalid("size", "`size` must be auto or a width and height in pixels, such as 1024x1024.")
    width, height = int(found[1]), int(found[2])
    return _ratio(model, properties, width, height) | _resolution(model, properties, width, height)


def size(params: Mapping[str, Any]) -> str:
    """The size of a requested video, such as `1280x720`; empty if the parameters do not determine it."""
    if "size" in params:
        return str(params["size"])
    height = _VIDEO_HEIGHT.fullmatch(str(params.get("resolution")))
    ratio = re.fullmatch(r"([1-9]\d*):([1-9]\d*)", str(params.get("aspect_ratio")))
    if not height or not ratio:
        return ""
    short, across, down = int(height[1]), int(ratio[1]), int(ratio[2])
    long = round(short * max(across, down) / min(across, down) / 2) * 2
    return f"{long}x{short}" if across >= down else f"{short}x{long}"


def _ratio(model: Model, properties: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    offered = [
        value for value in properties.get("aspect_ratio", {}).get("enum", []) if re.fullmatch(r"\d+:\d+", str(value))
    ]
    if not offered:
        return {}

    def distance(ratio: str) -> float:
        across, down = map(int, ratio.split(":"))
        return abs(math.log(width / height) - math.log(across / down)) if across and down else math.inf

    nearest = min(offered, key=distance)
    if distance(nearest) > _RATIO_TOLERANCE:
        raise invalid(
            "size",
            f"{model.name} supports the aspect ratios {', '.join(offered)}; {width}x{height} matches none of them.",
        )
    return {"aspect_ratio": nearest}


def _resolution(model: Model, properties: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    """Image sizes are named by their longer side, video resolutions by their shorter side."""
    sizes = properties.get("image_size", {}).get("enum", [])
    for name, pixels in _IMAGE_SIZES:
        if name in sizes and max(width, height) <= pixels * 1.5:
            return {"image_size": name}
    resolutions = [str(value) for value in properties.get("resolution", {}).get("enum", [])]
    known = {value: int(found[1]) for value in resolutions if (found := _VIDEO_HEIGHT.fullmatch(value))}
    if not known:
        return {}
    nearest = min(known, key=lambda value: abs(known[value] - min(width, height)))
    if abs(math.log(known[nearest] / min(width, height))) > _RATIO_TOLERANCE:
        raise invalid(
            "size",
            f"{model.name} supports the resolutions {', '.join(resolutions)}; {width}x{height} matches none of them.",
        )
    return {"resolution": nearest}
