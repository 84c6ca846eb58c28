"""Narrows the described models to what their endpoints accept today, as fal's public OpenAPI documents say.

The descriptions decide what is offered and how; an endpoint that takes fewer values than when it was described would reject
what the form still offers. Without a document the description stays as it is.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from app.base import logging
from app.providers.client import Client
from app.providers.coerce import mapping, rows, text
from app.providers.contract import ModelOffer
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import ClientError
from app.providers.fal.request_body import COUNT

_PATH: Final = "/api/openapi/queue/openapi.json"
_TOTAL: Final = 20.0  # seconds for all documents; the rest are read at the next refresh
_AT_A_TIME: Final = 4
_MAX_BYTES: Final = 1024 * 1024
_MAX_DEPTH: Final = 5  # of references and alternatives

_log = logging.get("providers.fal")


class LiveSchemas:
    """`site_url` is fal's public site; it must be among the base URLs that `client` was built with. It gets no key."""

    def __init__(self, client: Client, site_url: str) -> None:
        self._client = client
        self._endpoint = ProviderEndpoint(site_url)
        self._documents: dict[str, Any] = {}  # by model id, the last that was read

    async def narrowed(self, offers: Iterable[ModelOffer]) -> list[ModelOffer]:
        """The descriptions, each narrowed by its endpoint's document if there is one."""
        found = list(offers)
        slots = asyncio.Semaphore(_AT_A_TIME)
        try:
            async with asyncio.timeout(_TOTAL), asyncio.TaskGroup() as tasks:
                for offer in found:
                    tasks.create_task(self._read(offer.id, slots))
        except TimeoutError:
            _log.warning("not all schemas were read in time")
        return [narrowed(offer, self._documents.get(offer.id)) for offer in found]

    async def _read(self, model: str, slots: asyncio.Semaphore) -> None:
        async with slots:
            try:
                response = await self._client.request_json(
                    "GET",
                    f"{self._endpoint.base_url}{_PATH}?endpoint_id={model}",
                    endpoint=self._endpoint,
                    max_bytes=_MAX_BYTES,
                    total=10,
                )
            except ClientError as exc:
                _log.info("schema not read", model=model, reason=str(exc))
                return
        if response.status == 200:
            self._documents[model] = response.body


def narrowed(offer: ModelOffer, document: Any) -> ModelOffer:
    """The description without values that the endpoint's OpenAPI document does not allow."""
    live = _inputs(offer.id, document)
    properties = {
        name: _narrowed(own, list(_alternatives(live.get(offer.outputs.field if name == COUNT else name), document)))
        for name, own in offer.parameters["properties"].items()
    }
    parameters = {**offer.parameters, "properties": properties}
    if COUNT not in properties:
        return msgspec.structs.replace(offer, parameters=parameters)
    count = properties[COUNT]
    outputs = msgspec.structs.replace(offer.outputs, max=count["maximum"], default=count.get("default", 1))
    return msgspec.structs.replace(offer, parameters=parameters, outputs=outputs)


def _inputs(model: str, document: Any) -> Mapping[str, Any]:
    """The properties of the input object: what is posted to the endpoint itself."""
    path = mapping(mapping(mapping(document).get("paths")).get(f"/{model}"))
    content = mapping(mapping(mapping(path.get("post")).get("requestBody")).get("content"))
    schema = mapping(content.get("application/json")).get("schema")
    for alternative in _alternatives(schema, document):
        if found := mapping(alternative.get("properties")):
            return found
    return {}


def _alternatives(schema: Any, document: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The schema and those that it refers to or consists of."""
    own = mapping(schema)
    if depth > _MAX_DEPTH or not own:
        return
    yield own
    name = text(own.get("$ref")).rpartition("/")[2]
    if name:
        components = mapping(mapping(mapping(document).get("components")).get("schemas"))
        yield from _alternatives(components.get(name), document, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        for part in rows(own.get(key)):
            yield from _alternatives(part, document, depth + 1)


def _narrowed(own: dict[str, Any], live: list[Mapping[str, Any]]) -> dict[str, Any]:
    found = dict(own)
    if "enum" in own:
        allowed = [value for part in live for value in rows(part.get("enum"))]
        found["enum"] = [value for value in own["enum"] if value in allowed] or own["enum"]
        if "default" in own and own["default"] not in found["enum"]:
            found["default"] = found["enum"][0]
    elif "minimum" in own:
        low = max([own["minimum"], *_numbers(own, live, "minimum")])
        high = min([own["maximum"], *_numbers(own, live, "maximum")])
        if low < high:
            found |= {"minimum": low, "maximum": high}
            if "default" in own:
                found["default"] = min(max(own["default"], low), high)
    return found


def _numbers(own: dict[str, Any], live: list[Mapping[str, Any]], name: str) -> list[float]:
    types = (int,) if own["type"] == "integer" else (int, float)
    return [part[name] for part in live if isinstance(part.get(name), types) and not isinstance(part[name], bool)]
