"""The JSON Schema (2020-12) of the `params` of a text model, in the order of its form. Names are those of chat completions."""

from typing import Any

from app.providers.coerce import integer, mapping, texts

Schema = dict[str, Any]

SEED = {"title": "Seed", "type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_TEXT: dict[str, Schema] = {
    "temperature": {"title": "Temperature", "type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"title": "Top P", "type": "number", "minimum": 0, "maximum": 1},
    "max_tokens": {"title": "Max tokens", "type": "integer", "minimum": 1},
    "reasoning_effort": {
        "title": "Reasoning effort",
        "type": "string",
        "enum": ["minimal", "low", "medium", "high"],  # more exist, but which models accept them is not listed
    },
    "frequency_penalty": {"title": "Frequency penalty", "type": "number", "minimum": -2, "maximum": 2},
    "presence_penalty": {"title": "Presence penalty", "type": "number", "minimum": -2, "maximum": 2},
    "stop": {
        "title": "Stop sequences",
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "maxItems": 4,
    },
    "seed": SEED,
}
_TEXT_DEFAULT = ("temperature", "top_p", "max_tokens")  # when a server does not list its models' parameters


def object_schema(properties: dict[str, Schema], **extensions: Any) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties, **extensions}


def chat_params(row: dict[str, Any]) -> Schema:
    """From a row of `/models`, of which many servers give no more than the id."""
    declared = row.get("supported_parameters")
    supported = set(texts(declared)) if isinstance(declared, list) else set(_TEXT_DEFAULT)
    if "reasoning" in supported:
        supported.add("reasoning_effort")
    properties = {name: dict(schema) for name, schema in _TEXT.items() if name in supported}
    max_tokens = integer(mapping(row.get("top_provider")).get("max_completion_tokens")) or integer(
        row.get("context_length")
    )
    if "max_tokens" in properties and max_tokens is not None and max_tokens > 0:
        properties["max_tokens"]["maximum"] = max_tokens
    for name, value in mapping(row.get("default_parameters")).items():
        if name in properties and _fits(value, properties[name]):
            properties[name]["default"] = value
    has_tools = not isinstance(declared, list) or "tools" in supported
    return object_schema(properties, **({"x-tools": True} if has_tools else {}))


def _fits(value: Any, schema: Schema) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or "minimum" not in schema:
        return False
    if schema["type"] == "integer" and integer(value) is None:
        return False
    return bool(schema["minimum"] <= value <= schema.get("maximum", value))
