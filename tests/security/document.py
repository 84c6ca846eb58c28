"""The program's own OpenAPI document, and the check of responses against it."""

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any, NamedTuple

import httpx
import jsonschema_rs

from tests.studio import Studio

METHODS = ("get", "post", "put", "patch", "delete")
Json = dict[str, Any]


class Operation(NamedTuple):
    """One operation of the API; `spec` is its part of the document."""

    method: str
    path: str
    spec: Json

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def closed(self) -> bool:
        """Whether it needs a bearer."""
        return bool(self.spec.get("security"))

    def parameters(self, where: str) -> list[Json]:
        return [one for one in self.spec.get("parameters", []) if one["in"] == where]


class Document:
    """The OpenAPI document as a client reads it."""

    def __init__(self, body: Json) -> None:
        self.body = body
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self.operations = {
            str(one): one
            for path, item in body["paths"].items()
            for method, spec in item.items()
            if method in METHODS
            for one in (Operation(method.upper(), path, spec),)
        }

    def resolved(self, schema: Json) -> Json:
        while "$ref" in schema:
            found: Any = self.body
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        return schema

    def body_of(self, operation: Operation) -> Json | None:
        """The schema of the JSON body, or None."""
        content = operation.spec.get("requestBody", {}).get("content", {})
        return self.resolved(content["application/json"]["schema"]) if "application/json" in content else None

    def problems(self, operation: Operation, answer: httpx.Response) -> Iterator[str]:
        """How a response differs from its declaration."""
        declared = operation.spec["responses"].get(str(answer.status_code))
        if declared is None:
            yield f"{operation} answers {answer.status_code}, which is not declared"
            return
        content = declared.get("content") or {}
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if not content:
            if answer.content:
                yield f"{operation} answers {answer.status_code} with a body, and none is declared"
            return
        if not any(fnmatch(kind, name.partition(";")[0]) for name in content):
            yield f"{operation} answers {answer.status_code} as {kind!r}, declared is {sorted(content)}"
        elif kind == "application/json":
            for problem in self._validator(content[kind]["schema"]).iter_errors(answer.json()):
                yield f"{operation} {answer.status_code}: {problem.message} at {problem.instance_path}"

    def _validator(self, schema: Json) -> jsonschema_rs.Draft202012Validator:
        """Kept by its schema: compiling one takes longer than the call that it validates."""
        key = str(schema)
        if key not in self._validators:
            whole = {**schema, "components": self.body["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return self._validators[key]


async def document(studio: Studio) -> Document:
    answer = await studio.client().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    return Document(answer.json())
