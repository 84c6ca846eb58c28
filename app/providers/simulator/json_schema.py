"""Reads a JSON Schema: follows its references, merges its combinations and finds its smallest values, also of recursive ones."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import unquote

import jsonschema_rs

Schema = dict[str, Any]
Choose = Callable[[list[Any]], Any]

MAX_SIZE: Final = 2_000  # values in the smallest value; references can multiply it beyond all memory
MAX_REFERENCES: Final = 1_000
MAX_PARTS: Final = 100  # schemas merged into one; more are references in a circle
_COMBINING: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "then", "else", "$defs", "definitions"})
_LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "multipleOf")
_UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


class JsonSchema:
    """One schema document. Raises ValueError when it is not a valid schema or refers to another document."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        try:
            self._validator = jsonschema_rs.validator_for(root, validate_formats=True, retriever=_refuse)
            self._measure_references()
            size = self.size(root)
        except Exception as exc:  # the library also raises its own kinds for references, and for deep nesting
            raise ValueError(str(exc).splitlines()[0]) from exc
        if size > MAX_SIZE:
            raise ValueError("its smallest value would be too large")

    def allows(self, value: Any) -> bool:
        """Whether the whole schema allows this value."""
        return self._validator.is_valid(value)

    def size(self, schema: Any) -> float:
        """The number of values in the smallest value; infinite above `MAX_SIZE`, and for a value that would never end."""
        if not isinstance(schema, dict):
            return math.inf if schema is False else 1
        parts: list[float] = [1]
        if "$ref" in schema:
            parts.append(self._sizes.get(schema["$ref"], math.inf))
        parts += [self.size(part) for part in schema.get("allOf", [])]
        parts += [min(map(self.size, schema[key])) for key in ("anyOf", "oneOf") if schema.get(key)]
        if "null" not in types_of(schema):
            parts.append(1 + sum(count * self.size(inner) for count, inner in _required_parts(schema)))
        size = max(parts)
        return size if size <= MAX_SIZE else math.inf

    def plain(self, schema: Any, choose: Choose) -> Schema:
        """The schema without references and combinations. `choose` selects one of the alternatives."""
        merged: Schema = {}
        waiting = [schema]
        for _ in range(MAX_PARTS):
            if not waiting:
                break
            part = waiting.pop(0)
            if not isinstance(part, dict):
                continue
            _merge(merged, {name: value for name, value in part.items() if name not in _COMBINING})
            waiting += [self._target(part["$ref"])] if "$ref" in part else []
            waiting += part.get("allOf", [])
            waiting += [choose(part[name]) for name in ("anyOf", "oneOf") if part.get(name)]
            # A value that fits the condition and its consequence fits the whole.
            waiting += [part[name] for name in ("if", "then") if "then" in part] or [part.get("else", True)]
        return merged

    def _measure_references(self) -> None:
        """The size of what each reference points to: infinite at first, then less as long as the others allow it."""
        self._sizes: dict[str, float] = dict.fromkeys(_references(self.root), math.inf)
        if len(self._sizes) > MAX_REFERENCES:
            raise ValueError("it has too many references")
        while (found := {name: self.size(self._target(name)) for name in self._sizes}) != self._sizes:
            self._sizes = found

    def _target(self, reference: str) -> Any:
        """The schema that a reference points to."""
        found: Any = self.root
        for name in reference.removeprefix("#").split("/")[1:]:
            name = unquote(name).replace("~1", "/").replace("~0", "~")
            found = (
                found[int(name)] if isinstance(found, list) else found.get(name) if isinstance(found, dict) else None
            )
        return found


def types_of(schema: Schema) -> list[str]:
    """The types that a schema names."""
    named = schema.get("type", [])
    return [named] if isinstance(named, str) else named


def _required_parts(schema: Schema) -> Iterator[tuple[int, Any]]:
    """The schemas of the values that every value contains, and how often."""
    properties = schema.get("properties", {})
    yield from ((1, properties.get(name, True)) for name in schema.get("required", []))
    least, first = schema.get("minItems", 0), schema.get("prefixItems", [])
    yield from ((1, inner) for inner in first[:least])
    if least > len(first):
        yield least - len(first), schema.get("items", True)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for part in schema.values():
            yield from _references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _merge(merged: Schema, other: Schema) -> None:
    """Add the keywords of another schema that a value must fit as well."""
    for name, value in other.items():
        if name not in merged:
            merged[name] = value
        elif name in _LOWER_BOUNDS:
            merged[name] = max(merged[name], value)
        elif name in _UPPER_BOUNDS:
            merged[name] = min(merged[name], value)
        elif name == "properties":
            both = {key: {"allOf": [merged[name][key], value[key]]} for key in value if key in merged[name]}
            merged[name] = {**merged[name], **value, **both}
        elif name == "required":
            merged[name] = list(dict.fromkeys([*merged[name], *value]))
        elif name == "enum":
            merged[name] = [option for option in merged[name] if option in value]
        elif name == "type":
            merged[name] = _common_types(types_of(merged), types_of(other))
        elif name in ("items", "additionalProperties"):
            merged[name] = {"allOf": [merged[name], value]} if merged[name] and value else False


def _common_types(some: list[str], others: list[str]) -> list[str]:
    common = [name for name in some if name in others]
    return common or (["integer"] if {"integer", "number"} <= {*some, *others} else some)


def _refuse(uri: str) -> Any:
    raise ValueError(f"references to other documents are not supported: {uri}")
