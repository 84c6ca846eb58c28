"""What `params` may hold for a model, as a closed JSON Schema (2020-12) from which checks and forms are made.

The names are the contract's, the order is that of the form. A property without a default means: leave it out and let
the model choose. Three extensions tell what no property can: `x-frames`, the frames that a clip may be given,
`x-prompt: "optional"` where pictures alone are enough, and `x-tools` where a model calls functions.
"""

from typing import Any

from app.providers.openrouter.coerce import amount, mapping, rows, texts, whole

Schema = dict[str, Any]

_SEED = {"title": "Seed", "type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_MAX_PICTURES = 10
_CHAT_RATIOS = ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]
_CHAT_SIZES = ["1K", "2K", "4K"]
_CLIP_RATIOS = ["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "9:21"]
_CLIP_RESOLUTIONS = ["360p", "480p", "720p", "768p", "1080p", "1K", "2K", "4K"]
_MAX_CLIP = 60  # seconds, where the model's own durations are not known

_TEXT: dict[str, Schema] = {
    "temperature": {"title": "Temperature", "type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"title": "Top P", "type": "number", "minimum": 0, "maximum": 1},
    "max_tokens": {"title": "Longest answer in tokens", "type": "integer", "minimum": 1},
    "reasoning_effort": {
        "title": "Reasoning effort",
        "type": "string",
        "enum": ["minimal", "low", "medium", "high"],  # more exist, but no list says which model takes them
    },
    "frequency_penalty": {"title": "Frequency penalty", "type": "number", "minimum": -2, "maximum": 2},
    "presence_penalty": {"title": "Presence penalty", "type": "number", "minimum": -2, "maximum": 2},
    "stop": {
        "title": "Stop at these words",
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "maxItems": 4,
    },
    "seed": _SEED,
}
_TEXT_ALWAYS = ("temperature", "top_p", "max_tokens")  # where a server does not say what its models take

# Our name, the name in the catalogue, the title.
_IMAGE = (
    ("aspect_ratio", "aspect_ratio", "Aspect ratio"),
    ("image_size", "resolution", "Image size"),
    ("size", "size", "Size in pixels"),
    ("n", "n", "Number of pictures"),
    ("quality", "quality", "Quality"),
    ("background", "background", "Background"),
    ("output_format", "output_format", "File format"),
    ("output_compression", "output_compression", "Compression"),
    ("negative_prompt", "negative_prompt", "Leave out of the picture"),
    ("seed", "seed", "Seed"),
)


def closed(properties: dict[str, Schema], **extensions: Any) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties, **extensions}


def text(row: dict[str, Any]) -> Schema:
    """From a row of `/models`."""
    told = row.get("supported_parameters")
    taken = set(texts(told)) if isinstance(told, list) else set(_TEXT_ALWAYS)
    if "reasoning" in taken:
        taken.add("reasoning_effort")
    properties = {name: dict(schema) for name, schema in _TEXT.items() if name in taken}
    longest = whole(mapping(row.get("top_provider")).get("max_completion_tokens")) or whole(row.get("context_length"))
    if "max_tokens" in properties and longest is not None and longest > 0:
        properties["max_tokens"]["maximum"] = longest
    for name, value in mapping(row.get("default_parameters")).items():
        if name in properties and _fits(value, properties[name]):
            properties[name]["default"] = value
    calls = not isinstance(told, list) or "tools" in taken
    return closed(properties, **({"x-tools": True} if calls else {}))


def chat_image(row: dict[str, Any]) -> Schema:
    """From a row of `/models`. What a model takes of `image_config` no list tells: these are the documented values."""
    properties: dict[str, Schema] = {
        "aspect_ratio": {"title": "Aspect ratio", "type": "string", "enum": _CHAT_RATIOS, "default": "1:1"},
        "image_size": {"title": "Image size", "type": "string", "enum": _CHAT_SIZES, "default": "1K"},
    }
    if "seed" in texts(row.get("supported_parameters")):
        properties["seed"] = _SEED
    return closed(properties)


def images(row: dict[str, Any]) -> Schema:
    """From a row of `/images/models`, whose `supported_parameters` is a map of descriptors."""
    descriptors = mapping(row.get("supported_parameters"))
    properties = {}
    for ours, theirs, title in _IMAGE:
        if theirs in descriptors:
            schema = _image_property(ours, mapping(descriptors[theirs]))
            if schema is not None:
                properties[ours] = {"title": title, **schema}
    return closed(properties)


def video(row: dict[str, Any], inputs: list[str]) -> Schema:
    """From a row of `/videos/models`; `inputs` are the model's input modalities as far as `/models` tells them."""
    properties = {
        "aspect_ratio": _one_of("Aspect ratio", row.get("supported_aspect_ratios"), _CLIP_RATIOS),
        "resolution": _one_of("Resolution", row.get("supported_resolutions"), _CLIP_RESOLUTIONS),
        "size": _one_of("Size in pixels", row.get("supported_sizes"), []),
        "duration": _duration(row.get("supported_durations")),
        "generate_audio": {"title": "With sound", "type": "boolean", "default": True}
        if row.get("generate_audio") is True
        else None,
        "creativity": _extra("Creativity", "integer", row.get("creativity")),
        "upscale_factor": _extra("Enlarge by", "number", row.get("upscale_factor")),
        "seed": _SEED if row.get("seed") is True else None,
    }
    extensions: dict[str, Any] = {}
    frames = frames_of(row)
    if frames:
        extensions["x-frames"] = frames
    upscales = properties["creativity"] is not None or properties["upscale_factor"] is not None
    if upscales or (inputs and "text" not in inputs):
        extensions["x-prompt"] = "optional"
    return closed({name: schema for name, schema in properties.items() if schema is not None}, **extensions)


def frames_of(row: dict[str, Any]) -> list[str]:
    told = texts(row.get("supported_frame_images"))
    return [frame for frame in ("first_frame", "last_frame") if frame in told]


def _image_property(name: str, descriptor: dict[str, Any]) -> Schema | None:
    if name == "negative_prompt":
        return {"type": "string", "maxLength": 2000}
    schema = _described(descriptor)
    if name == "seed" and (schema is None or "minimum" not in schema):
        return {key: value for key, value in _SEED.items() if key != "title"}
    if schema is None:
        return None
    if name == "n":
        return _count(schema)
    if "enum" in schema:
        if name == "output_format":
            schema["enum"] = [value for value in schema["enum"] if value != "svg"]  # active content: it is never kept
        if "auto" in schema["enum"]:
            schema["default"] = "auto"
    return None if schema.get("enum") == [] else schema


def _described(descriptor: dict[str, Any]) -> Schema | None:
    kind = descriptor.get("type")
    if kind == "boolean":
        return {"type": "boolean"}
    if kind == "enum":
        return _enum(rows(descriptor.get("values")))
    low, high = whole(descriptor.get("min")), whole(descriptor.get("max"))
    if kind != "range" or low is None or high is None or low > high:
        return None
    return {"type": "integer", "minimum": low, "maximum": high}


def _enum(values: list[Any]) -> Schema | None:
    words = list(dict.fromkeys(texts(values)))
    if words:
        return {"type": "string", "enum": words}
    numbers = sorted({number for value in values if (number := whole(value)) is not None})
    return {"type": "integer", "enum": numbers} if numbers else None


def _count(schema: Schema) -> Schema | None:
    """How many at once: no field where one is all there is."""
    most = max(schema["enum"]) if schema.get("type") == "integer" and "enum" in schema else schema.get("maximum")
    if most is None or most < 2:
        return None
    return {"type": "integer", "minimum": 1, "maximum": min(most, _MAX_PICTURES), "default": 1}


def _one_of(title: str, told: Any, otherwise: list[str]) -> Schema | None:
    """An empty list means that the model does not take it; none at all that it is not known what the model takes."""
    values = list(dict.fromkeys(texts(told))) if isinstance(told, list) else otherwise
    return {"title": title, "type": "string", "enum": values} if values else None


def _duration(told: Any) -> Schema | None:
    schema: Schema = {"title": "Duration in seconds", "type": "integer"}
    if not isinstance(told, list):
        return {**schema, "minimum": 1, "maximum": _MAX_CLIP}
    seconds = sorted({number for value in told if (number := whole(value)) is not None and number > 0})
    return {**schema, "enum": seconds} if seconds else None


def _extra(title: str, kind: str, told: Any) -> Schema | None:
    """A knob that only some models have; its bounds where they are told."""
    if not told:
        return None
    schema: Schema = {"title": title, "type": kind}
    for ours, theirs in (("minimum", "min"), ("maximum", "max")):
        bound = amount(mapping(told).get(theirs))
        if bound is not None:
            schema[ours] = int(bound) if bound == int(bound) else float(bound)
    return schema


def _fits(value: Any, schema: Schema) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or "minimum" not in schema:
        return False
    if schema["type"] == "integer" and whole(value) is None:
        return False
    return bool(schema["minimum"] <= value <= schema.get("maximum", value))
