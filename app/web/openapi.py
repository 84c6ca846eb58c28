"""Shared parts of the OpenAPI document: authentication, schemas and error responses."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from litestar import Request, Router
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Schema,
    SecurityRequirement,
    SecurityScheme,
)
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from app.web.errors import Envelope

SCHEME: Final = "bearer"
# `security=BEARER` on a route or router; `components=COMPONENTS` once, in the application's OpenAPIConfig.
BEARER: Final[list[SecurityRequirement]] = [{SCHEME: []}]
COMPONENTS: Final = Components(
    security_schemes={
        SCHEME: SecurityScheme(
            type="http", scheme="bearer", description="An access token from `/auth/login`, or an API key (`atl_…`)."
        )
    }
)

ERROR_DESCRIPTIONS: Final = {
    400: "The request is not valid. `details.fields` names the invalid fields.",
    401: "Not authenticated, or the token has expired.",
    403: "Not permitted.",
    404: "Not found, or owned by another user.",
    409: "Conflicts with the current state.",
    410: "No longer available.",
    413: "Payload too large.",
    415: "Unsupported file or content type.",
    429: "Rate limit or quota exceeded. Retry after `Retry-After` seconds.",
    502: "The provider failed.",
    503: "Service unavailable.",
}


def error_responses(*statuses: int) -> dict[int, ResponseSpec]:
    """`responses=` of a route: the error envelope for each status. 429 and 503 are added, as any route can return them."""
    return {
        status: ResponseSpec(Envelope, description=ERROR_DESCRIPTIONS[status], generate_examples=False)
        for status in sorted({*statuses, 429, 503})
    }


class StructSchemas(OpenAPISchemaPlugin):
    """Adds what Litestar's own plugin leaves out of struct schemas: `additionalProperties: false` and the struct's `example`."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        return not field_definition.is_union and field_definition.is_subclass_of(msgspec.Struct)

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        # Litestar keeps plugins in a set, in any order, and not all of its own have this method.
        others = (it for it in schema_creator.plugins if it is not self and isinstance(it, OpenAPISchemaPlugin))
        own = next(plugin for plugin in others if plugin.is_plugin_supported_field(field_definition))
        schema: Schema = own.to_openapi_schema(field_definition, schema_creator)
        struct: Any = field_definition.type_
        if struct.__struct_config__.forbid_unknown_fields:
            schema.additional_properties = False
        if example := getattr(struct, "example", None):
            schema.examples = [example]
        return schema


@dataclass
class StreamedOperation(Operation):
    """An operation that responds with JSON or, on request, with server-sent events. Litestar supports one media type per
    status."""

    def __post_init__(self) -> None:
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse) and answer.content is not None:
            # No type: tools differ in whether it describes the stream or each event.
            answer.content["text/event-stream"] = OpenAPIMediaType(
                schema=Schema(
                    description='`data: {"delta": "…"}` for each chunk, then `data:` with the full response (or'
                    ' `{"error": …}`), then `data: [DONE]`.',
                )
            )


async def build_document(request: Request[Any, Any, Any]) -> None:
    """`before_request` hook: build the document on first use, in a thread because it takes a while."""
    await asyncio.to_thread(lambda: request.app.openapi_schema)


class DocumentRouter(Router):
    """Serves only the document. Litestar would also add its own 404 page for every other path below it; without that page
    those paths return the error envelope like any unknown path."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(path, before_request=build_document, **options)

    def register(self, value: Any) -> Any:
        known_only = "not_found" not in getattr(getattr(value, "fn", None), "__name__", "")
        return super().register(value) if known_only else []
