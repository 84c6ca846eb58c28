"""The editor's form: a draft of a description as rows of text fields, and back.

A row keeps the JSON that it came from, so that what the form does not show, such as conditions, is still there when it is saved.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from app.catalog.schemas import DescriptionProblem
from app.providers.contract import InputRole

ROLES: Final[Mapping[InputRole, str]] = {
    InputRole.IMAGE: "Input image",
    InputRole.MASK: "Mask",
    InputRole.REFERENCE: "Reference image",
    InputRole.FIRST_FRAME: "First frame",
    InputRole.LAST_FRAME: "Last frame",
    InputRole.VIDEO: "Video",
    InputRole.AUDIO: "Audio",
}
API_ONLY: Final = "list"  # the control of parameters that the form does not show
CONTROLS: Final[Mapping[str, str]] = {
    "select": "Select",
    "slider": "Slider",
    "number": "Number",
    "seed": "Seed",
    "switch": "Yes or no",
    "text": "Text",
    "textarea": "Long text",
    API_ONLY: "List (API only)",
}
_NUMERIC: Final = ("slider", "number", "seed")
MEGABYTE: Final = 1024 * 1024


class ParameterRow(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter as text; `schema` is its JSON."""

    name: str = ""
    title: str = ""
    control: str = "number"
    minimum: str = ""
    maximum: str = ""
    step: str = ""
    default: str = ""
    options: str = ""  # one in each line
    unit: str = ""
    help: str = ""
    schema: str = "{}"
    errors: tuple[str, ...] = ()


class InputRow(msgspec.Struct, frozen=True, kw_only=True):
    """One role of input files as text; `slot` is its JSON. `use` is no, optional or required."""

    role: InputRole
    label: str
    use: str = "no"
    max: str = "1"
    formats: str = ""
    megabytes: str = ""
    min_side: str = ""
    max_side: str = ""
    field: str = ""
    slot: str = "{}"
    errors: tuple[str, ...] = ()


def values(draft: Mapping[str, Any]) -> dict[str, str]:
    """The parts of a description that are one text each, whatever the draft holds there."""
    outputs, help = _dict(draft.get("outputs")), _dict(draft.get("help"))
    return {
        **{name: _text(draft.get(name)) for name in ("name", "description", "type", "price", "button")},
        "default": _text(outputs.get("default", 1)),
        "max": _text(outputs.get("max", 1)),
        "what_is": _text(help.get("what_is")),
        **{name: "\n".join(map(_text, _sequence(help.get(name)))) for name in ("use_cases", "tips")},
    }


def parameter_rows(draft: Mapping[str, Any], problems: Sequence[DescriptionProblem]) -> list[ParameterRow]:
    """In the order of the form."""
    properties = _dict(_dict(draft.get("parameters")).get("properties"))
    order = {name: _dict(schema).get("x-order", len(properties)) for name, schema in properties.items()}
    names = sorted(properties, key=lambda name: order[name] if isinstance(order[name], int | float) else 0)
    return [_parameter_row(name, _dict(properties[name]), problems) for name in names]


def input_rows(draft: Mapping[str, Any], problems: Sequence[DescriptionProblem]) -> list[InputRow]:
    """All roles, whether the model takes them or not."""
    slots = {_dict(slot).get("role"): (index, _dict(slot)) for index, slot in enumerate(_sequence(draft.get("inputs")))}
    return [_input_row(role, label, slots.get(role.value), problems) for role, label in ROLES.items()]


def messages(problems: Sequence[DescriptionProblem], path: str) -> tuple[str, ...]:
    """What is wrong at this place or inside of it."""
    return tuple(
        f"{_inside(problem.path, path)}{problem.message}"
        for problem in problems
        if problem.path == path or problem.path.startswith(f"{path}.")
    )


def read(form: Mapping[str, str]) -> dict[str, Any]:
    """The draft that a form holds. Text that should be a number and is none stays text, which is a problem of the draft."""
    parameters = _json(form.get("parameters", "{}"))
    properties: dict[str, Any] = {}
    for index in _indices(form, "p", ".name"):
        row = {name.partition(".")[2]: text for name, text in form.items() if name.startswith(f"p{index}.")}
        if row["name"].strip():
            properties[row["name"].strip()] = {**_property(row), "x-order": len(properties) + 1}
    if properties or parameters:
        parameters = {"type": "object", **parameters, "properties": properties, "additionalProperties": False}
    outputs = _json(form.get("outputs", "{}"))
    return {
        "name": form.get("name", ""),
        "description": _lines(form.get("description", "")),
        "type": form.get("type", ""),
        "inputs": [slot for role in ROLES if (slot := _slot(role, form)) is not None],
        "outputs": {
            **outputs,
            "default": _number(form.get("outputs.default", "1")),
            "max": _number(form.get("outputs.max", "1")),
        },
        "parameters": parameters,
        "price": form.get("price", "").strip(),
        "button": form.get("button", ""),
        "help": {
            "what_is": _lines(form.get("help.what_is", "")),
            "use_cases": _list(form.get("help.use_cases", "")),
            "tips": _list(form.get("help.tips", "")),
        },
    }


def moved(draft: dict[str, Any], action: str) -> dict[str, Any]:
    """The draft after a button of the form: `add`, `remove:2`, `up:2` or `down:2` with the index of a parameter's row."""
    parameters = _dict(draft.get("parameters"))
    names = list(_dict(parameters.get("properties")))
    verb, _, text = action.partition(":")
    index = int(text) if text.isdecimal() and int(text[:4]) < len(names) else -1
    if verb == "add":
        new = next(name for number in range(len(names) + 1) if (name := f"parameter_{number + 1}") not in names)
        parameters["properties"] = {**_dict(parameters.get("properties")), new: {"title": "", "type": "number"}}
        names.append(new)
    elif verb == "remove" and index >= 0:
        names.pop(index)
    elif verb in ("up", "down") and index >= 0:
        names.insert(max(0, index + (1 if verb == "down" else -1)), names.pop(index))
    properties = _dict(parameters.get("properties"))
    ordered = {name: {**_dict(properties[name]), "x-order": number} for number, name in enumerate(names, 1)}
    return {**draft, "parameters": {"type": "object", **parameters, "properties": ordered}}


def _parameter_row(name: str, schema: dict[str, Any], problems: Sequence[DescriptionProblem]) -> ParameterRow:
    return ParameterRow(
        name=name,
        title=_text(schema.get("title")),
        control=_control(schema),
        minimum=_text(schema.get("minimum")),
        maximum=_text(schema.get("maximum")),
        step=_text(schema.get("multipleOf")),
        default=_text(schema.get("default")),
        options="\n".join(map(_text, _sequence(schema.get("enum")))),
        unit=_text(schema.get("x-unit")),
        help=_text(schema.get("description")),
        schema=_encoded(schema),
        errors=messages(problems, f"parameters.properties.{name[:80]}"),
    )


def _control(schema: Mapping[str, Any]) -> str:
    widget, kind = schema.get("x-widget"), schema.get("type")
    if "enum" in schema:
        return "select"
    if kind in ("integer", "number"):
        return widget if widget in _NUMERIC else "number"
    if kind == "boolean":
        return "switch"
    if kind == "array":
        return API_ONLY
    return "textarea" if widget == "textarea" else "text"


def _property(row: Mapping[str, str]) -> dict[str, Any]:
    """The schema of a parameter from its row."""
    schema, control = _json(row.get("schema", "{}")), row.get("control", "number")
    old = _control(schema) if schema else ""
    for name, key in (("title", "title"), ("help", "description"), ("unit", "x-unit")):
        _set(schema, key, row.get(name, "").strip() or None)
    if control == API_ONLY:
        return schema
    if control != old:
        for key in ("enum", "minimum", "maximum", "multipleOf", "x-widget"):
            schema.pop(key, None)
    schema["x-widget"] = control
    if control in _NUMERIC:
        for name, key in (("minimum", "minimum"), ("maximum", "maximum"), ("step", "multipleOf")):
            _set(schema, key, _number(row.get(name, "")))
        whole = all(isinstance(schema.get(key, 0), int) for key in ("minimum", "maximum", "multipleOf"))
        if control != old or schema.get("type") not in ("integer", "number"):
            schema["type"] = "integer" if control == "seed" or (whole and "multipleOf" in schema) else "number"
        _set(schema, "default", _number(row.get("default", "")))
    elif control == "switch":
        schema["type"] = "boolean"
        _set(
            schema,
            "default",
            {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(
                row.get("default", "").strip().lower(), row.get("default", "").strip() or None
            ),
        )
    elif control == "select":
        typed = {_text(option): option for option in schema.get("enum", []) if not isinstance(option, dict | list)}
        numeric = schema.get("type") in ("integer", "number")
        schema.setdefault("type", "string")
        schema["enum"] = [typed.get(each, _number(each) if numeric else each) for each in _list(row.get("options", ""))]
        default = row.get("default", "").strip()
        _set(schema, "default", typed.get(default, _number(default) if numeric else default or None))
    else:
        schema["type"] = "string"
        _set(schema, "default", row.get("default", "") or None)
    return schema


def _input_row(
    role: InputRole, label: str, given: tuple[int, dict[str, Any]] | None, problems: Sequence[DescriptionProblem]
) -> InputRow:
    if given is None:
        return InputRow(role=role, label=label)
    index, slot = given
    size = slot.get("max_bytes")
    return InputRow(
        role=role,
        label=label,
        use="required" if slot.get("required") else "optional",
        max=_text(slot.get("max", 1)),
        formats=" ".join(map(_text, _sequence(slot.get("formats")))),
        megabytes=_text(round(size / MEGABYTE, 3)).removesuffix(".0") if isinstance(size, int) else _text(size),
        min_side=_text(slot.get("min_width")),
        max_side=_text(slot.get("max_width")),
        field=_text(slot.get("field")),
        slot=_encoded(slot),
        errors=messages(problems, f"inputs.{index}"),
    )


def _slot(role: InputRole, form: Mapping[str, str]) -> dict[str, Any] | None:
    prefix = f"i.{role.value}."
    use = form.get(f"{prefix}use", "no")
    if use == "no":
        return None
    slot = _json(form.get(f"{prefix}slot", "{}"))
    slot |= {"role": role.value, "required": use == "required", "max": _number(form.get(f"{prefix}max", "")) or 1}
    slot["formats"] = form.get(f"{prefix}formats", "").replace(",", " ").split()
    size = _number(form.get(f"{prefix}megabytes", ""))
    _set(slot, "max_bytes", round(size * MEGABYTE) if isinstance(size, int | float) else size)
    for name, old in (("min", slot.get("min_width")), ("max", slot.get("max_width"))):
        side = _number(form.get(f"{prefix}{name}_side", ""))
        if side != old:  # else the two sides may differ
            for key in (f"{name}_width", f"{name}_height"):
                _set(slot, key, side)
    slot["field"] = form.get(f"{prefix}field", "").strip()
    return slot


def _indices(form: Mapping[str, str], start: str, end: str) -> list[int]:
    texts = [name[len(start) : -len(end)] for name in form if name.startswith(start) and name.endswith(end)]
    return sorted(int(text) for text in texts if text.isdecimal() and len(text) < 4)


def _inside(path: str, outer: str) -> str:
    """The part of the place that the row does not show."""
    names = {
        "default": "Default: ",
        "minimum": "Minimum: ",
        "maximum": "Maximum: ",
        "multipleOf": "Step: ",
        "enum": "Options: ",
    }
    inner = path[len(outer) + 1 :]
    return names.get(inner, f"{inner}: " if inner else "")


def _set(schema: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        schema.pop(key, None)
    else:
        schema[key] = value


def _number(text: str) -> int | float | str | None:
    """The number that is written; None for nothing, and the text if it is no number."""
    text = text.strip()
    if not text:
        return None
    try:
        return int(text) if text.lstrip("-").isdecimal() and len(text) < 20 else float(text)
    except ValueError:
        return text


def _json(text: str) -> dict[str, Any]:
    try:
        return _dict(msgspec.json.decode(text.encode()))
    except (msgspec.DecodeError, RecursionError):
        return {}


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _list(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
