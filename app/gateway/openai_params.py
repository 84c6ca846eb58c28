"""What a request in OpenAI's words means in ours."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from app.base.errors import Invalid, Missing
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.providers.contract import Kind

# What says nothing to any model of ours, and harms nobody: clients send it by themselves.
SILENT: Final = (
    "metadata",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
)
_NEAR: Final = 0.05  # how far the ratio of a size may be from one that the model offers
_PIXELS: Final = (("1K", 1024), ("2K", 2048), ("4K", 4096))  # the longer side, by the name of the size
_LINES: Final = re.compile(r"(\d+)p")


def wrong(field: str, message: str) -> Invalid:
    return Invalid(message, fields={field: message}, details={"param": field})


def choose(catalog: Catalog, body: Mapping[str, Any], kind: Kind) -> Model:
    """The model of a request; Missing, as OpenAI says it, for one that is not there."""
    given = body.get("model")
    if not isinstance(given, str) or not given.strip():
        raise wrong("model", "You must name a model: `model` is the id of one from /v1/models.")
    try:
        catalog.find(given.strip())
    except Missing:
        if not catalog.search():
            return catalog.choose(given.strip(), kind)  # says that the list is not there yet
        raise not_there(given) from None
    return catalog.choose(given.strip(), kind)


def not_there(model: str) -> Missing:
    message = f"The model `{model[:100]}` does not exist here or is switched off. See /v1/models."
    return Missing(message, details={"param": "model", "code": "model_not_found"})


def whole(body: Mapping[str, Any], name: str, *, least: int, most: int) -> int | None:
    """A whole number, also as text (of a form) or as 4.0; None when it is not given."""
    value = body.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise wrong(name, f"`{name}` must be a whole number from {least} to {most}.")
    return value


def text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong(name, f"`{name}` must be a string.")
    return value or None


def flag(body: Mapping[str, Any], name: str) -> bool:
    """True or false, also as text (of a form); false when it is not given."""
    value = body.get(name)
    if value in ("true", "false"):
        return bool(value == "true")
    if not isinstance(value, bool | None):
        raise wrong(name, f"`{name}` must be true or false.")
    return bool(value)


def only(body: Mapping[str, Any], known: frozenset[str]) -> None:
    """Invalid for a field that OpenAI's format does not have, or that nothing here could follow."""
    for name, value in body.items():
        if name not in known and value is not None:
            raise wrong(str(name)[:60], f"Unknown or unsupported parameter: '{str(name)[:60]}'.")


def frame(model: Model, size: str | None) -> dict[str, Any]:
    """`size` as OpenAI has it (`1024x1536`) in the parameters of this model; nothing for `auto`."""
    if size is None or size == "auto":
        return {}
    properties: dict[str, dict[str, Any]] = model.parameters.get("properties", {})
    if "size" in properties:
        return {"size": size}
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", size)
    if not found:
        raise wrong("size", "`size` must be auto or width x height in pixels, as in 1024x1024.")
    width, height = int(found[1]), int(found[2])
    return _ratio(model, properties, width, height) | _resolution(model, properties, width, height)


def size(params: Mapping[str, Any]) -> str:
    """The other way round: the size of a clip that is asked for, `1280x720`; empty where the parameters do not say."""
    if "size" in params:
        return str(params["size"])
    lines = _LINES.fullmatch(str(params.get("resolution")))
    ratio = re.fullmatch(r"([1-9]\d*):([1-9]\d*)", str(params.get("aspect_ratio")))
    if not lines or not ratio:
        return ""
    short, across, down = int(lines[1]), int(ratio[1]), int(ratio[2])
    long = round(short * max(across, down) / min(across, down) / 2) * 2
    return f"{long}x{short}" if across >= down else f"{short}x{long}"


def _ratio(model: Model, properties: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    offered = [it for it in properties.get("aspect_ratio", {}).get("enum", []) if re.fullmatch(r"\d+:\d+", str(it))]
    if not offered:
        return {}

    def distance(ratio: str) -> float:
        across, down = map(int, ratio.split(":"))
        return abs(math.log(width / height) - math.log(across / down)) if across and down else math.inf

    nearest = min(offered, key=distance)
    if distance(nearest) > _NEAR:
        raise wrong("size", f"{model.name} makes {', '.join(offered)}; {width}x{height} is none of these.")
    return {"aspect_ratio": nearest}


def _resolution(model: Model, properties: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    """Pictures are named by their longer side, clips by their shorter one."""
    sizes = properties.get("image_size", {}).get("enum", [])
    for name, pixels in _PIXELS:
        if name in sizes and max(width, height) <= pixels * 1.5:
            return {"image_size": name}
    lines = [str(it) for it in properties.get("resolution", {}).get("enum", [])]
    known = {it: int(found[1]) for it in lines if (found := _LINES.fullmatch(it))}
    if not known:
        return {}
    nearest = min(known, key=lambda it: abs(known[it] - min(width, height)))
    if abs(math.log(known[nearest] / min(width, height))) > _NEAR:
        raise wrong("size", f"{model.name} makes {', '.join(lines)}; {width}x{height} is none of these.")
    return {"resolution": nearest}
