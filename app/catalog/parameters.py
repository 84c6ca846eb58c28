"""The parameters of models: validated against their JSON Schema, and as the controls of a form."""

import contextlib
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec

from app.base.errors import Invalid
from app.catalog.schemas import Field, Model


class Parameters:
    """Validates parameters and converts them from and to forms."""

    def __init__(self) -> None:
        # By model id: the parameter schema and its validator.
        self._validators: dict[str, tuple[dict[str, Any], jsonschema_rs.Validator]] = {}

    def check(self, model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
        """Validate `params` against the model's schema and return them. Raises Invalid with every wrong field. A float
        such as 4.0 is an integer in JSON Schema but not to providers, so it is returned as 4."""
        fields: dict[str, str] = {}
        for error in self._validator(model).iter_errors(dict(params)):
            for name, message in _field_errors(error, model):
                fields.setdefault(name, message)
        if fields:
            raise Invalid(f"Invalid parameters for {model.name}: {'; '.join(fields.values())}", fields=fields)
        known = _properties(model)
        return {name: _to_integer(value, known.get(name, {})) for name, value in params.items()}

    def valid(self, model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the parameters that the model accepts."""
        known = {name: value for name, value in params.items() if name in _properties(model)}
        wrong = {name for error in self._validator(model).iter_errors(known) for name, _ in _field_errors(error, model)}
        return self.check(model, {name: value for name, value in known.items() if name not in wrong})

    def _validator(self, model: Model) -> jsonschema_rs.Validator:
        """The cached validator of a model; compiling one is slower than validating with it."""
        cached = self._validators.get(model.id)
        if cached is None or cached[0] is not model.parameters:
            cached = self._validators[model.id] = (
                model.parameters,
                jsonschema_rs.validator_for(_closed(model.parameters)),
            )
        return cached[1]

    def read_form(self, model: Model, form: Mapping[str, str]) -> dict[str, Any]:
        """Parameters from a form's text fields. An empty field is omitted: the model uses its default. So is one that the form does
        not show with the other values."""
        params: dict[str, Any] = {}
        for name, schema in _shown(model, form):
            text = form.get(name, "")
            if text if schema.get("type") == "string" else text.strip():
                params[name] = _parse(text, schema)
        return params

    def to_form(self, params: Mapping[str, Any]) -> dict[str, str]:
        """The text fields of a form from which `read_form` reads these parameters."""
        return {name: _as_text(value) for name, value in params.items()}

    def fields(self, model: Model, values: Mapping[str, Any], errors: Mapping[str, str] | None = None) -> list[Field]:
        """The form controls of a model that are shown with these values."""
        deciding = {name for _, schema in _controls(model) for name in schema.get("x-show-when", {})}
        return [
            msgspec.structs.replace(
                _field(name, schema, values.get(name), (errors or {}).get(name)), decides=name in deciding
            )
            for name, schema in _shown(model, values)
        ]


def _properties(model: Model) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = model.parameters.get("properties", {})
    return found


def _controls(model: Model) -> list[tuple[str, dict[str, Any]]]:
    """The parameters in the order of their form controls: that of `x-order`, else that of the schema."""
    controls = list(_properties(model).items())
    return sorted(controls, key=lambda control: control[1].get("x-order", len(controls)))


def _shown(model: Model, values: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Those whose condition holds: `x-show-when` maps names of other parameters to a value or a list of values."""
    properties = _properties(model)

    def is_met(name: str, wanted: Any) -> bool:
        value = values.get(name) or properties.get(name, {}).get("default")
        return _as_text(value) in [_as_text(each) for each in (wanted if isinstance(wanted, list) else [wanted])]

    return [
        (name, schema)
        for name, schema in _controls(model)
        if all(is_met(other, wanted) for other, wanted in schema.get("x-show-when", {}).items())
    ]


def _as_text(value: Any) -> str:
    """A value as a form has it. An array has an item on each line, or is JSON if the lines would not be the same array."""
    if isinstance(value, list | tuple):
        lines = "\n".join(map(str, value))
        simple = all(isinstance(item, str) and item == item.strip() for item in value) and not lines.startswith("[")
        return lines if simple and lines.splitlines() == list(value) else msgspec.json.encode(value).decode()
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, **schema}


def _field_errors(error: jsonschema_rs.ValidationError, model: Model) -> list[tuple[str, str]]:
    """Field names and messages of one validation error. Messages never repeat the input."""
    path = [str(part) for part in error.instance_path]
    if path:
        return [(path[0], _expectation(path[0], _properties(model).get(path[0], {})))]
    known = _properties(model)
    unknown = [str(name) for name in error.instance if name not in known] if isinstance(error.instance, dict) else []
    return [(name[:60], f"unknown parameter {name[:60]!r}") for name in unknown] or [("params", "is invalid")]


def _expectation(name: str, schema: Mapping[str, Any]) -> str:
    title = schema.get("title", name)
    if "enum" in schema:
        return f"{title} must be one of {', '.join(str(value) for value in schema['enum'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    kind = {"integer": "an integer", "number": "a number", "boolean": "true or false"}.get(
        schema.get("type", ""), "a string"
    )
    if low is not None and high is not None:
        return f"{title} must be {kind} between {low} and {high}"
    return f"{title} must be {kind}"


def _to_integer(value: Any, schema: Mapping[str, Any]) -> Any:
    """A validated value; a float where the schema wants an integer is converted."""
    if not isinstance(value, float):
        return value
    if "enum" in schema:
        return next((option for option in schema["enum"] if not isinstance(option, bool) and option == value), value)
    return int(value) if schema.get("type") == "integer" else value


def _parse(text: str, schema: Mapping[str, Any]) -> Any:
    """Form text as the JSON type of the schema. Text that does not convert is kept, and `check` rejects it."""
    if "enum" in schema:
        return next((value for value in schema["enum"] if _as_text(value) == text), text)
    kind = schema.get("type")
    if kind == "array" or kind == "object":
        return _parse_items(text.strip())
    if kind == "string":
        return text
    text = text.strip()
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        return text
    if kind == "boolean":
        return {"true": True, "on": True, "false": False}.get(text.lower(), text)
    return text


def _parse_items(text: str) -> Any:
    """A JSON array or object; else the lines as texts."""
    if text.startswith(("[", "{")):
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _field(name: str, schema: Mapping[str, Any], value: Any, error: str | None) -> Field:
    kind = schema.get("type")
    options: tuple[str, ...] = ()
    control = "text"
    if "enum" in schema:
        control, options = "select", tuple(_as_text(option) for option in schema["enum"])
    elif kind == "boolean":
        # Three-valued: true, false, or the model's default.
        control, options = "select", ("true", "false")
    elif kind in ("integer", "number"):
        control = "number"
    current = schema.get("default") if value is None else value
    if control == "text" and (
        kind in ("array", "object") or schema.get("x-widget") == "textarea" or "\n" in _as_text(current)
    ):
        control = "textarea"
    return Field(
        name=name,
        title=schema.get("title", name),
        control=control,
        options=options,
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        step="1" if kind == "integer" else "any",
        value=_as_text(current),
        help=schema.get("description", "") or ("One on each line." if kind == "array" else ""),
        unit=schema.get("x-unit", ""),
        error=error,
    )
