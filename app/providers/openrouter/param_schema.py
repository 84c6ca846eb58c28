"""JSON Schemas (2020-12) of each model's `params`, used for validation and for building forms.

Property names are those of Atelier's API; their order is the order in the form. A property without a default may be
omitted, so that the model chooses. Three extensions cover what properties cannot express: `x-frames` lists the input
frames that a video model accepts, `x-prompt: "optional"` means that images alone suffice, and `x-tools` marks models
with function calling.
"""

from typing import Any

from app.providers.coerce import amount, integer, mapping, rows, texts
from app.providers.openai_format.chat_params import SEED, Schema, object_schema

_MAX_IMAGES = 10
_CHAT_RATIOS = ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]
_CHAT_SIZES = ["1K", "2K", "4K"]
_VIDEO_RATIOS = ["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "9:21"]
_VIDEO_RESOLUTIONS = ["360p", "480p", "720p", "768p", "1080p", "1K", "2K", "4K"]
_MAX_SECONDS = 60  # seconds, when the model's durations are not listed

# Our name, the upstream name, the title.
_IMAGE = (
    ("aspect_ratio", "aspect_ratio", "Aspect ratio"),
    ("image_size", "resolution", "Image size"),
    ("size", "size", "Size in pixels"),
    ("n", "n", "Number of images"),
    ("quality", "quality", "Quality"),
    ("background", "background", "Background"),
    ("output_format", "output_format", "File format"),
    ("output_compression", "output_compression", "Compression"),
    ("negative_prompt", "negative_prompt", "Negative prompt"),
    ("seed", "seed", "Seed"),
)


def chat_image(row: dict[str, Any]) -> Schema:
    """From a row of `/models`. Supported `image_config` values are not listed per model; these are the documented ones."""
    properties: dict[str, Schema] = {
        "aspect_ratio": {"title": "Aspect ratio", "type": "string", "enum": _CHAT_RATIOS, "default": "1:1"},
        "image_size": {"title": "Image size", "type": "string", "enum": _CHAT_SIZES, "default": "1K"},
    }
    if "seed" in texts(row.get("supported_parameters")):
        properties["seed"] = SEED
    return object_schema(properties)


def images(row: dict[str, Any]) -> Schema:
    """From a row of `/images/models`, whose `supported_parameters` maps names to descriptors."""
    descriptors = mapping(row.get("supported_parameters"))
    properties = {}
    for name, upstream, title in _IMAGE:
        if upstream in descriptors:
            schema = _image_property(name, mapping(descriptors[upstream]))
            if schema is not None:
                properties[name] = {"title": title, **schema}
    return object_schema(properties)


def video(row: dict[str, Any], inputs: list[str]) -> Schema:
    """From a row of `/videos/models`. `inputs` are the input modalities declared in `/models`."""
    properties = {
        "aspect_ratio": _one_of("Aspect ratio", row.get("supported_aspect_ratios"), _VIDEO_RATIOS),
        "resolution": _one_of("Resolution", row.get("supported_resolutions"), _VIDEO_RESOLUTIONS),
        "size": _one_of("Size in pixels", row.get("supported_sizes"), []),
        "duration": _duration(row.get("supported_durations")),
        "generate_audio": {"title": "Generate audio", "type": "boolean", "default": True}
        if row.get("generate_audio") is True
        else None,
        "creativity": _optional_number("Creativity", "integer", row.get("creativity")),
        "upscale_factor": _optional_number("Upscale factor", "number", row.get("upscale_factor")),
        "seed": SEED if row.get("seed") is True else None,
    }
    extensions: dict[str, Any] = {}
    frames = frames_of(row)
    if frames:
        extensions["x-frames"] = frames
    upscales = properties["creativity"] is not None or properties["upscale_factor"] is not None
    if upscales or (inputs and "text" not in inputs):
        extensions["x-prompt"] = "optional"
    return object_schema({name: schema for name, schema in properties.items() if schema is not None}, **extensions)


def frames_of(row: dict[str, Any]) -> list[str]:
    declared = texts(row.get("supported_frame_images"))
    return [frame for frame in ("first_frame", "last_frame") if frame in declared]


def _image_property(name: str, descriptor: dict[str, Any]) -> Schema | None:
    if name == "negative_prompt":
        return {"type": "string", "maxLength": 2000}
    schema = _from_descriptor(descriptor)
    if name == "seed" and (schema is None or "minimum" not in schema):
        return {key: value for key, value in SEED.items() if key != "title"}
    if schema is None:
        return None
    if name == "n":
        return _count(schema)
    if "enum" in schema:
        if name == "output_format":
            schema["enum"] = [
                value for value in schema["enum"] if value != "svg"
            ]  # SVG is active content and is never stored
        if "auto" in schema["enum"]:
            schema["default"] = "auto"
    return None if schema.get("enum") == [] else schema


def _from_descriptor(descriptor: dict[str, Any]) -> Schema | None:
    kind = descriptor.get("type")
    if kind == "boolean":
        return {"type": "boolean"}
    if kind == "enum":
        return _enum(rows(descriptor.get("values")))
    low, high = integer(descriptor.get("min")), integer(descriptor.get("max"))
    if kind != "range" or low is None or high is None or low > high:
        return None
    return {"type": "integer", "minimum": low, "maximum": high}


def _enum(values: list[Any]) -> Schema | None:
    strings = list(dict.fromkeys(texts(values)))
    if strings:
        return {"type": "string", "enum": strings}
    numbers = sorted({number for value in values if (number := integer(value)) is not None})
    return {"type": "integer", "enum": numbers} if numbers else None


def _count(schema: Schema) -> Schema | None:
    """Schema of `n`; None when the model generates one image only."""
    maximum = max(schema["enum"]) if schema.get("type") == "integer" and "enum" in schema else schema.get("maximum")
    if maximum is None or maximum < 2:
        return None
    return {"type": "integer", "minimum": 1, "maximum": min(maximum, _MAX_IMAGES), "default": 1}


def _one_of(title: str, declared: Any, fallback: list[str]) -> Schema | None:
    """An empty list means that the model does not have this parameter; without a list, `fallback` applies."""
    values = list(dict.fromkeys(texts(declared))) if isinstance(declared, list) else fallback
    return {"title": title, "type": "string", "enum": values} if values else None


def _duration(declared: Any) -> Schema | None:
    schema: Schema = {"title": "Duration in seconds", "type": "integer"}
    if not isinstance(declared, list):
        return {**schema, "minimum": 1, "maximum": _MAX_SECONDS}
    seconds = sorted({number for value in declared if (number := integer(value)) is not None and number > 0})
    return {**schema, "enum": seconds} if seconds else None


def _optional_number(title: str, kind: str, declared: Any) -> Schema | None:
    """A parameter of a few models, with bounds where they are given."""
    if not declared:
        return None
    schema: Schema = {"title": title, "type": kind}
    for name, upstream in (("minimum", "min"), ("maximum", "max")):
        bound = amount(mapping(declared).get(upstream))
        if bound is not None:
            schema[name] = int(bound) if bound == int(bound) else float(bound)
    return schema
