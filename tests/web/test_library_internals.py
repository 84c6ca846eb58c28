"""What `app.web` uses of libraries beyond their documented interface. When an upgrade breaks one of these tests, the module that
it names has to change."""

from typing import Annotated, Any, cast

import httpx
import msgspec
from litestar import Litestar, Request, post
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.web import forms
from app.web.openapi import StructSchemas


class OneFile(msgspec.Struct, forbid_unknown_fields=True):
    file: UploadFile


async def parse_first(request: Request[Any, Any, Any]) -> None:
    await forms.parsed(request)


@post("/", before_request=parse_first)
async def read(data: Annotated[OneFile, Body(media_type=RequestEncodingType.MULTI_PART)]) -> str:
    return (await data.file.read()).decode()


async def test_litestar_takes_a_form_from_its_scope_state_when_it_was_parsed_before() -> None:
    app = Litestar([read], logging_config=None, openapi_config=None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, app)), base_url="http://studio.test") as http:
        answer = await http.post("/", files={"file": ("a.txt", b"content")})
    assert answer.text == "content", "Litestar no longer reads ScopeState.form: see app/web/forms.py"


def test_litestars_own_plugin_for_structs_can_be_asked_by_ours() -> None:
    app = Litestar([read], plugins=[StructSchemas()], logging_config=None)
    schema: Any = app.openapi_schema.to_schema()["components"]["schemas"]
    (struct,) = [found for name, found in schema.items() if name.endswith("OneFile")]
    assert list(struct["properties"]) == ["file"], "SchemaCreator.plugins has changed: see app/web/openapi.py"
    assert struct["additionalProperties"] is False


def test_uvicorns_protocols_have_the_attributes_that_ours_uses() -> None:
    for name in ("_unset_keepalive_if_required", "data_received", "send_400_response", "on_header", "on_message_begin"):
        assert hasattr(HttpToolsProtocol, name), f"uvicorn has no {name} any more: see app/web/http_protocol.py"
    assert hasattr(H11Protocol, "connection_made")
