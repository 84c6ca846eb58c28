"""Converts the OpenAPI document to the data of the API reference page."""

from typing import Any, Final

import msgspec

METHODS: Final = ("get", "post", "put", "patch", "delete")


class Parameter(msgspec.Struct, frozen=True):
    name: str
    where: str
    type: str
    required: bool
    description: str


class DocumentedResponse(msgspec.Struct, frozen=True):
    status: str
    description: str


class ApiOperation(msgspec.Struct, frozen=True):
    method: str
    path: str
    summary: str
    description: str
    anchor: str
    parameters: list[Parameter]
    body: str | None
    responses: list[DocumentedResponse]


class Info(msgspec.Struct, frozen=True):
    title: str
    version: str
    description: str


class Reference(msgspec.Struct, frozen=True):
    info: Info
    groups: list[tuple[str, list[ApiOperation]]]
    curl: str


def read(document: dict[str, Any], origin: str) -> Reference:
    """`origin` is the public URL, used in the example."""
    groups: dict[str, list[ApiOperation]] = {}
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            if operation := item.get(method):
                name = (operation.get("tags") or ["Other"])[0]
                groups.setdefault(name, []).append(_operation(document, method, path, operation))
    info = document["info"]
    return Reference(
        Info(info["title"], info["version"], info.get("description", "")), list(groups.items()), _example(origin)
    )


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> ApiOperation:
    return ApiOperation(
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", ""),
        anchor=f"{method}{path.replace('/', '-').replace('{', '').replace('}', '')}",
        parameters=[_parameter(document, parameter) for parameter in operation.get("parameters", [])],
        body=_body(document, operation.get("requestBody")),
        responses=[
            DocumentedResponse(status, response.get("description", ""))
            for status, response in sorted(operation["responses"].items())
        ],
    )


def _parameter(document: dict[str, Any], parameter: dict[str, Any]) -> Parameter:
    schema = _resolved(document, parameter.get("schema", {}))
    return Parameter(
        name=parameter["name"],
        where=parameter["in"],
        type=_type(document, schema),
        required=bool(parameter.get("required")),
        description=parameter.get("description", "") or schema.get("description", ""),
    )


def _body(document: dict[str, Any], body: dict[str, Any] | None) -> str | None:
    """The fields of a request body, one per line: name (`?` if optional), type and description."""
    if not body:
        return None
    content: dict[str, Any] = next(iter(body.get("content", {}).values()), {})
    schema = _resolved(document, content.get("schema", {}))
    required = schema.get("required", [])
    lines = []
    for name, property in schema.get("properties", {}).items():
        property = _resolved(document, property)
        optional = "" if name in required else "?"
        note = f"  {property['description']}" if property.get("description") else ""
        lines.append(f"{name}{optional}: {_type(document, property)}{note}")
    return "\n".join(lines) or None


def _type(document: dict[str, Any], schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return " | ".join(_type(document, _resolved(document, part)) for part in schema[key])
    found = schema.get("type", "any")
    return " | ".join(found) if isinstance(found, list) else str(found)


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if not reference:
        return schema
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _example(origin: str) -> str:
    return (
        f"TOKEN=$(curl -s {origin}/api/v1/auth/login -H 'Content-Type: application/json' \\\n"
        """  -d '{"email": "you@example.org", "password": "…"}' | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')\n"""
        f"curl -s {origin}/api/v1/generate/image -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\n"
        """  -d '{"model": "MODEL", "prompt": "A lighthouse at dawn"}'"""
    )
