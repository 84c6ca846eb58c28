"""Routes of the Responses API below `/v1/responses`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import Stream

from app.accounts.guards import may_use, signed_in
from app.base.config import MB
from app.responses import requests
from app.responses.input_items import invalid
from app.responses.schemas import DeletedResponse
from app.responses.service import Responses
from app.web.disconnect import cancel_on_disconnect
from app.web.limits import PAID
from app.web.result_headers import result_headers

ApiRequest = Request[Any, Any, State]

MAX_BODY: Final = 24 * MB  # as of a chat completion; the input may contain images
MAX_PAGE_SIZE: Final = 100
JSON: Final = "application/json"


@post(
    "/",
    status_code=200,
    opt=PAID,
    request_max_body_size=MAX_BODY,
    summary="Create a response, optionally streamed",
)
async def create(
    request: ApiRequest, data: JSONBody[dict[str, Any]], responses: NamedDependency[Responses]
) -> Response[bytes] | Stream:
    """Stops the generation if the client disconnects."""
    if isinstance(model := data.get("model"), str) and model.strip():
        may_use(request.auth, model.strip())
    if requests.flag(data, "stream"):
        return await _stream(request, data, responses)
    key = request.headers.get("Idempotency-Key")
    found = await cancel_on_disconnect(request, responses.create(request.user.id, data, key, request.auth.limits))
    headers = result_headers(request.scope, found.model, found.provider_seconds, found.cost_nano)
    return Response(found.content, media_type=JSON, headers=headers)


async def _stream(request: ApiRequest, data: dict[str, Any], responses: Responses) -> Stream:
    """Wait for the first event before sending headers, so that an early failure gets its own HTTP status."""
    answer, pieces = await responses.stream(request.user.id, data, request.auth.limits)
    first = await cancel_on_disconnect(request, anext(pieces))
    return Stream(
        _from(first, pieces),
        media_type="text/event-stream",
        headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            **result_headers(request.scope, answer.message.model or "", answer.first_chunk_seconds, None),
        },
    )


async def _from(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


@get("/{id:str}", summary="Get a stored response")
async def find(
    request: ApiRequest, id: FromPath[str], responses: NamedDependency[Responses], stream: FromQuery[bool] = False
) -> Response[bytes]:
    if stream:
        raise invalid("stream", "A stored response cannot be streamed. Leave `stream` out.")
    found = await responses.find(request.user.id, id)
    return Response(found.response.encode(), media_type=JSON)


@delete("/{id:str}", status_code=200, summary="Delete a stored response")
async def remove(request: ApiRequest, id: FromPath[str], responses: NamedDependency[Responses]) -> DeletedResponse:
    await responses.delete(request.user.id, id)
    return DeletedResponse(id)


@get("/{id:str}/input_items", summary="List the input items of a stored response")
async def list_input_items(
    request: ApiRequest,
    id: FromPath[str],
    responses: NamedDependency[Responses],
    after: FromQuery[str | None] = None,
    limit: FromQuery[int] = 20,
    order: FromQuery[str] = "desc",
) -> Response[bytes]:
    """Those of its own request, the last one first unless `order` is asc."""
    if order not in ("asc", "desc"):
        raise invalid("order", "`order` must be asc or desc.")
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise invalid("limit", f"`limit` must be from 1 to {MAX_PAGE_SIZE}.")
    page = await responses.input_items(request.user.id, id, after=after, limit=limit, ascending=order == "asc")
    return Response(page, media_type=JSON)


@post("/{id:str}/cancel", status_code=200, summary="Refuse to cancel a response: none runs in the background")
async def cancel(request: ApiRequest, id: FromPath[str], responses: NamedDependency[Responses]) -> None:
    await responses.cancel(request.user.id, id)


routes = [
    Router(
        "/v1/responses",
        route_handlers=[create, find, remove, list_input_items, cancel],
        guards=[signed_in],
        include_in_schema=False,
    )
]
