"""Descriptions of models as admins write them: what is valid, and every problem with its place.

A description drives the form, the validation, the API and the price of a model. It is checked as a whole before it is stored, so
that no stored one can break a form, loop, or take long to evaluate.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema_rs
import msgspec

from app.base.errors import Invalid
from app.catalog import price_formula
from app.catalog.price_formula import FormulaError
from app.catalog.schemas import Description, DescriptionProblem
from app.providers.contract import InputRole, InputSlot, ModelHelp, ModelType, Outputs

MAX_BYTES: Final = 256 * 1024  # of a description as JSON
MAX_PARAMETERS: Final = 100
MAX_OUTPUTS: Final = 16
MAX_INPUTS: Final = 16  # files in one role
CONTROLS: Final = ("select", "slider", "number", "text", "textarea", "seed", "switch")
# Linear-time regular expressions: one that explodes, or looks around, is not accepted. They need no network either.
SCHEMA_OPTIONS: Final[Mapping[str, Any]] = {"pattern_options": jsonschema_rs.RegexOptions(), "offline": True}

_PARAMETER_TYPES: Final = ("string", "integer", "number", "boolean", "array")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_RESERVED: Final = frozenset(
    [
        "model",
        "prompt",
        "system_prompt",
        "inputs",
        "image_url",
        "image_asset_id",
        "mask_asset_id",
        "enhance",
        "stream",
        "mode",
        "source",
        "image",
    ]
)
_REFERENCES: Final = frozenset(("$ref", "$dynamicRef", "$recursiveRef", "$defs", "definitions", "$id", "$anchor"))
_MAX_DEPTH: Final = 12
_TYPES: Final[Mapping[str, Any]] = {
    "name": str,
    "description": str,
    "type": ModelType,
    "inputs": tuple[InputSlot, ...],
    "outputs": Outputs,
    "parameters": dict[str, Any],
    "price": str,
    "button": str,
    "help": ModelHelp,
}
_LENGTHS: Final = {"name": (1, 200), "description": (0, 4000), "button": (0, 60)}


def check(raw: Any) -> Description:
    """The description. Raises Invalid with every problem by its path."""
    found = problems(raw)
    if found:
        count = f"{len(found)} problems: " if len(found) > 1 else ""
        message = f"The description has {count or 'a problem: '}{found[0].path}: {found[0].message}"
        raise Invalid(message, fields={problem.path: problem.message for problem in reversed(found)})
    return msgspec.convert(raw, Description)


def problems(raw: Any) -> list[DescriptionProblem]:
    """Everything that is wrong with a description, in the order of its parts."""
    if not isinstance(raw, dict):
        return [DescriptionProblem("$", "must be a JSON object")]
    if _too_deep(raw):
        return [DescriptionProblem("$", f"is nested deeper than {_MAX_DEPTH} levels")]
    if len(msgspec.json.encode(raw)) > MAX_BYTES:
        return [DescriptionProblem("$", f"is larger than {MAX_BYTES // 1024} kB")]
    found = [DescriptionProblem(str(name), "is not a part of a description") for name in raw if name not in _TYPES]
    found += [DescriptionProblem(name, "is missing") for name in ("name", "type") if name not in raw]
    parts: dict[str, Any] = {}
    for name, type_ in _TYPES.items():
        if name in raw:
            try:
                parts[name] = msgspec.convert(raw[name], type_)
            except msgspec.ValidationError as exc:
                found.append(_conversion_problem(name, exc))
    for name, (least, most) in _LENGTHS.items():
        if name in parts and not least <= len(parts[name].strip()) <= most:
            found.append(DescriptionProblem(name, f"must have {least} to {most:,} characters"))
    found += _of_outputs(parts.get("outputs", Outputs()))
    found += _of_inputs(parts.get("inputs", ()))
    schema = parts.get("parameters", {})
    in_schema = list(_of_parameters(schema))
    found += in_schema
    if not in_schema and "price" in parts:
        found += _of_price(parts["price"], schema, parts.get("outputs", Outputs()))
    return list({problem.path: problem for problem in reversed(found)}.values())[::-1]  # the first of each place


def usable(raw: Any) -> Description:
    """As much of a draft as is valid, for a preview: parts and parameters with problems are left out."""
    parts = dict(raw) if isinstance(raw, dict) else {}
    for problem in problems(parts):
        first, *rest = problem.path.split(".")
        if rest[:1] == ["properties"] and len(rest) > 1:
            properties = {name: part for name, part in parts[first]["properties"].items() if name[:80] != rest[1]}
            parts[first] = {**parts[first], "properties": properties}
        else:
            parts.pop(first, None)
    if problems({"name": "x", "type": "text_to_image", **parts}):  # nothing of it can be shown
        parts = {}
    return msgspec.convert({"name": "Unnamed model", "type": "text_to_image", **parts}, Description)


def _conversion_problem(name: str, error: msgspec.ValidationError) -> DescriptionProblem:
    """msgspec says where as in ``Expected `int`, got `str` - at `$[0].max` ``."""
    message, _, place = str(error).partition(" - at `$")
    return DescriptionProblem(
        name + re.sub(r"\[(\d+|\.\.\.)\]", r".\1", place.rstrip("`")), message[:1].lower() + message[1:]
    )


def _too_deep(value: Any, depth: int = 0) -> bool:
    if depth > _MAX_DEPTH:
        return True
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_too_deep(part, depth + 1) for part in parts)


def _of_outputs(outputs: Outputs) -> Iterator[DescriptionProblem]:
    if not 1 <= outputs.max <= MAX_OUTPUTS:
        yield DescriptionProblem("outputs.max", f"must be 1 to {MAX_OUTPUTS}")
    if not 1 <= outputs.default <= outputs.max:
        yield DescriptionProblem("outputs.default", f"must be 1 to the maximum, {outputs.max}")


def _of_inputs(inputs: tuple[InputSlot, ...]) -> Iterator[DescriptionProblem]:
    seen: set[InputRole] = set()
    for index, slot in enumerate(inputs):
        path = f"inputs.{index}"
        if slot.role in seen:
            yield DescriptionProblem(f"{path}.role", f"stands here twice: {slot.role.value}")
        seen.add(slot.role)
        if not 1 <= slot.max <= MAX_INPUTS:
            yield DescriptionProblem(f"{path}.max", f"must be 1 to {MAX_INPUTS}")
        for unknown in (each for each in slot.formats if not re.fullmatch(r"(image|video|audio)/[\w.+-]{1,60}", each)):
            yield DescriptionProblem(f"{path}.formats", f"must be media types such as image/png, not {unknown[:60]!r}")
        for side in ("width", "height"):
            least, most = getattr(slot, f"min_{side}"), getattr(slot, f"max_{side}")
            if any(bound is not None and bound < 1 for bound in (least, most)):
                yield DescriptionProblem(f"{path}.max_{side}", "must be at least 1")
            elif least is not None and most is not None and least > most:
                yield DescriptionProblem(f"{path}.min_{side}", f"is above the maximum, {most}")
        if slot.max_bytes is not None and slot.max_bytes < 1:
            yield DescriptionProblem(f"{path}.max_bytes", "must be at least 1")


def _of_parameters(schema: dict[str, Any]) -> Iterator[DescriptionProblem]:
    """`schema` is the JSON Schema of all parameters."""
    if not schema:
        return
    reference = next(_references(schema, "parameters"), None)
    if reference is not None:
        yield DescriptionProblem(
            reference, "is not supported: write the schema out instead of referring to another part of it"
        )
        return
    if schema.get("type", "object") != "object":
        yield DescriptionProblem("parameters.type", "must be object")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        yield DescriptionProblem("parameters.properties", "must be an object")
        return
    if len(properties) > MAX_PARAMETERS:
        yield DescriptionProblem(
            "parameters.properties", f"has {len(properties):,} parameters; at most {MAX_PARAMETERS} are possible"
        )
        return
    found = [problem for name, part in properties.items() for problem in _of_parameter(name, part, properties)]
    yield from found
    if not found:
        yield from _of_schema("parameters", schema)


def _references(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name in _REFERENCES and not path.endswith(".properties"):
                yield f"{path}.{name}"
            yield from _references(part, f"{path}.{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _references(part, f"{path}.{index}")


def _of_parameter(name: str, schema: Any, properties: Mapping[str, Any]) -> Iterator[DescriptionProblem]:
    path = f"parameters.properties.{name[:80]}"
    if not _NAME.fullmatch(name):
        yield DescriptionProblem(path, "must be named with letters, digits and underscores, and begin with a letter")
        return
    if name in _RESERVED:
        yield DescriptionProblem(path, "has a name that requests use for something else")
    if not isinstance(schema, dict):
        yield DescriptionProblem(path, "must be an object")
        return
    if "enum" not in schema and schema.get("type") not in _PARAMETER_TYPES:
        yield DescriptionProblem(f"{path}.type", f"must be one of {', '.join(_PARAMETER_TYPES)}")
        return
    for key in ("title", "description", "x-unit"):
        if not isinstance(schema.get(key, ""), str):
            yield DescriptionProblem(f"{path}.{key}", "must be text")
    if schema.get("x-widget", "text") not in CONTROLS:
        yield DescriptionProblem(f"{path}.x-widget", f"must be one of {', '.join(CONTROLS)}")
    if not _is_number(schema.get("x-order", 0)):
        yield DescriptionProblem(f"{path}.x-order", "must be a number")
    if "enum" in schema and not (isinstance(schema["enum"], list) and schema["enum"]):
        yield DescriptionProblem(f"{path}.enum", "must have at least one option")
        return
    yield from _of_bounds(path, schema)
    yield from _of_condition(path, name, schema.get("x-show-when", {}), properties)
    invalid = list(_of_schema(path, schema))
    yield from invalid
    if "default" in schema and not invalid:
        yield from _of_default(path, schema)


def _of_bounds(path: str, schema: Mapping[str, Any]) -> Iterator[DescriptionProblem]:
    least, most = schema.get("minimum"), schema.get("maximum")
    for key in ("minimum", "maximum", "multipleOf"):
        if key in schema and not _is_number(schema[key]):
            yield DescriptionProblem(f"{path}.{key}", "must be a number")
            return
    if least is not None and most is not None and least > most:
        yield DescriptionProblem(f"{path}.minimum", f"is above the maximum, {most}")


def _of_condition(path: str, name: str, condition: Any, properties: Mapping[str, Any]) -> Iterator[DescriptionProblem]:
    if not isinstance(condition, dict):
        yield DescriptionProblem(f"{path}.x-show-when", "must map a parameter's name to its values")
        return
    for other in condition:
        if other == name or other not in properties:
            yield DescriptionProblem(f"{path}.x-show-when", f"must name another parameter, not {str(other)[:60]!r}")


def _of_default(path: str, schema: Mapping[str, Any]) -> Iterator[DescriptionProblem]:
    default, least, most = schema["default"], schema.get("minimum"), schema.get("maximum")
    if _is_number(default) and most is not None and default > most:
        yield DescriptionProblem(
            f"{path}.default", f"{default} is above the maximum {most}. Lower the default, or raise the maximum."
        )
    elif _is_number(default) and least is not None and default < least:
        yield DescriptionProblem(
            f"{path}.default", f"{default} is below the minimum {least}. Raise the default, or lower the minimum."
        )
    elif not jsonschema_rs.validator_for(dict(schema), **SCHEMA_OPTIONS).is_valid(default):
        yield DescriptionProblem(f"{path}.default", "is not a value that the parameter accepts")


def _of_schema(path: str, schema: dict[str, Any]) -> Iterator[DescriptionProblem]:
    """Whether it compiles: unknown types, patterns that are no linear regular expressions, bounds of a wrong type."""
    try:
        jsonschema_rs.validator_for(schema, **SCHEMA_OPTIONS)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as exc:
        place = "".join(f".{part}" for part in getattr(exc, "instance_path", ()))
        reason = str(exc).partition("\n")[0][:200]
        yield DescriptionProblem(path + place, f"is not a valid JSON Schema: {reason}")


def _of_price(formula: str, schema: Mapping[str, Any], outputs: Outputs) -> Iterator[DescriptionProblem]:
    """The formula has a price for the defaults, and for each parameter at its bounds and options."""
    if not formula:
        return
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    known = {"n", *properties}
    try:
        unknown = sorted(price_formula.names_in(formula) - known)
        if unknown:
            yield DescriptionProblem("price", f"reads {unknown[0][:60]!r}, which is not a parameter")
            return
        defaults = {"n": outputs.default, **{name: part.get("default") for name, part in properties.items()}}
        used = price_formula.names_in(formula)
        settings = {**defaults, **{name: _some_value(properties[name]) for name in used if defaults.get(name) is None}}
        price_formula.price(formula, settings)
        for name in sorted(used & properties.keys()):
            for value in _extremes(properties[name]):
                price_formula.price(formula, {**settings, name: value})
    except FormulaError as exc:
        yield DescriptionProblem("price", str(exc))


def _some_value(schema: Mapping[str, Any]) -> Any:
    return next(iter(_extremes(schema)), None)


def _extremes(schema: Mapping[str, Any]) -> list[Any]:
    if "enum" in schema:
        return list(schema["enum"])
    if schema.get("type") == "boolean":
        return [False, True]
    return [schema[key] for key in ("minimum", "maximum") if key in schema]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
