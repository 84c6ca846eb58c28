"""What the API's document says again and again: how a call proves itself, what its shapes are, and how it can be refused."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from litestar import Request, Router
from litestar._openapi.schema_generation import SchemaCreator
from litestar._openapi.schema_generation.plugins.struct import StructSchemaPlugin
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
from litestar.typing import FieldDefinition

from app.web.errors import Envelope

SCHEME: Final = "bearer"
# `security=BEARER` on a route or router; `components=COMPONENTS` once, in the program's OpenAPIConfig.
BEARER: Final[list[SecurityRequirement]] = [{SCHEME: []}]
COMPONENTS: Final = Components(
    security_schemes={
        SCHEME: SecurityScheme(
            type="http", scheme="bearer", description="An access token from `/auth/login`, or an API key (`atl_…`)."
        )
    }
)

MEANINGS: Final = {
    400: "The request is not valid; `details.fields` names what is wrong.",
    401: "Not signed in, or no longer.",
    403: "Not allowed to this person.",
    404: "Not there, or not yours.",
    409: "It clashes with what is.",
    410: "No longer there.",
    413: "Larger than what is taken here.",
    415: "Not the kind of file, or of body, that is taken here.",
    429: "Too many requests, or too much; come back after `Retry-After` seconds.",
    502: "The provider did not do its part.",
    503: "Not ready to serve.",
}


def error_responses(*statuses: int) -> dict[int, ResponseSpec]:
    """`responses=` of a route: the envelope under each status; 429 and 503, which any route can answer, are added."""
    return {
        status: ResponseSpec(Envelope, description=MEANINGS[status], generate_examples=False)
        for status in sorted({*statuses, 429, 503})
    }


class Shapes(StructSchemaPlugin):
    """Structs as they are: one that takes no unknown fields says so, and one that has an `example` shows it."""

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        schema = super().to_openapi_schema(field_definition, schema_creator)
        shape: Any = field_definition.type_
        if shape.__struct_config__.forbid_unknown_fields:
            schema.additional_properties = False
        if example := getattr(shape, "example", None):
            schema.examples = [example]
        return schema


@dataclass
class Streamed(Operation):
    """A call that answers whole or, when asked, piece by piece: Litestar knows one media type for a status."""

    def __post_init__(self) -> None:
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse) and answer.content is not None:
            # No type: readers of the document differ in whether it would be that of the stream or of each event.
            answer.content["text/event-stream"] = OpenAPIMediaType(
                schema=Schema(
                    description='`data: {"delta": "…"}` for each piece, then `data:` with the whole answer (or with'
                    ' `{"error": …}`), last `data: [DONE]`.',
                )
            )


async def made(request: Request[Any, Any, Any]) -> None:
    """`before_request` of what shows the document: it is made when it is first asked for, which takes a while."""
    await asyncio.to_thread(lambda: request.app.openapi_schema)


class DocumentRouter(Router):
    """Serves the document and nothing else. Litestar would add a page of its own for every other path beneath; without
    it they are unknown like all others, and answered in the envelope."""

    def __init__(self, path: str, **more: Any) -> None:
        super().__init__(path, before_request=made, **more)

    def register(self, value: Any) -> Any:
        known_only = "not_found" not in getattr(getattr(value, "fn", None), "__name__", "")
        return super().register(value) if known_only else []
