"""The published schema of an endpoint narrows its description, and nothing that is published can widen or break it."""

import random
from typing import Any

import jsonschema_rs
import msgspec

from app.providers.contract import ModelOffer
from app.providers.fal.descriptions import described
from app.providers.fal.live_schemas import narrowed
from tests.kit import Cases
from tests.providers.fake_upstream import Recorded, Reply, Silence, Upstream, js, plain
from tests.providers.fal.kit import MODEL, provider
from tests.providers.openrouter.kit import random_json, random_object

SCHEMA = "/site/api/openapi/queue/openapi.json"
NAMES = ("paths", f"/{MODEL}", "post", "requestBody", "content", "application/json", "schema", "$ref", "anyOf", "enum")


def document(model: str, properties: dict[str, Any], **schemas: Any) -> dict[str, Any]:
    """An OpenAPI document in the form in which fal publishes it."""
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Input"}}}}
    return {
        "openapi": "3.0.4",
        "components": {"schemas": {"Input": {"type": "object", "properties": properties}, **schemas}},
        "paths": {
            f"/{model}/requests/{{request_id}}/status": {"get": {}},
            f"/{model}": {"post": {"requestBody": body}},
        },
    }


def parameter(offer: ModelOffer, name: str) -> dict[str, Any]:
    found: dict[str, Any] = offer.parameters["properties"][name]
    return found


def test_values_that_are_not_accepted_any_more_are_not_offered() -> None:
    properties = {
        "image_size": {"anyOf": [{"$ref": "#/components/schemas/Size"}, {"enum": ["square", "portrait_4_3", "new"]}]},
        "num_inference_steps": {"type": "integer", "minimum": 5, "maximum": 20},
        "num_images": {"type": "integer", "minimum": 1, "maximum": 2},
        "guidance_scale": {"type": "number"},
        "acceleration": {"enum": ["another"]},
        "strength": {"minimum": 3, "maximum": 9},
    }
    offer = narrowed(described()[MODEL], document(MODEL, properties, Size={"type": "object"}))
    before = described()[MODEL]
    size, steps = parameter(offer, "image_size"), parameter(offer, "num_inference_steps")
    assert (size["enum"], size["default"]) == (["square", "portrait_4_3"], "square")
    assert (steps["minimum"], steps["maximum"], steps["default"]) == (5, 20, 20)
    assert (offer.outputs.max, offer.outputs.default, parameter(offer, "n")["maximum"]) == (2, 2, 2)
    for name in ("guidance_scale", "acceleration", "strength", "seed"):
        assert parameter(offer, name) == parameter(before, name)


def test_no_document_breaks_a_description() -> None:
    rng = random.Random(7)
    documents = [random_json(rng, NAMES) for _ in range(300)]
    properties = tuple(described()[MODEL].parameters["properties"])
    schemas = [random_object(rng, (*properties, "num_images")) for _ in range(100)]
    parts = ("minimum", "maximum", "enum", "anyOf", "$ref", "properties")
    schemas += [{name: random_object(rng, parts) for name in (*properties, "num_images")} for _ in range(100)]
    endless = {"$ref": "#/components/schemas/Loop"}
    documents += [document(MODEL, one, Loop=endless) for one in [*schemas, {"seed": endless}]]
    with Cases() as cases:
        for one in documents:
            with cases.case(one):
                offer = narrowed(described()[MODEL], one)
                msgspec.json.decode(msgspec.json.encode(offer), type=ModelOffer)
                for schema in offer.parameters["properties"].values():
                    jsonschema_rs.validator_for(schema).validate(schema.get("default", schema.get("minimum")))


async def test_the_schemas_are_read_without_the_key_and_may_be_missing(upstream: Upstream) -> None:
    def publish(request: Recorded) -> Reply | Silence:
        model = request.query["endpoint_id"]
        if model == "fal-ai/veo3.1":
            return Silence("reset")
        if model == "fal-ai/recraft/v3/text-to-image":
            return plain(b"<html>", "text/html", 404)
        return js(document(model, {"num_inference_steps": {"maximum": 7}}))

    upstream.on("GET", SCHEMA, publish)
    site_url = f"{upstream.origin}/site"
    async with provider(upstream, site_url=site_url) as fal:
        offers = {offer.id: offer for offer in await fal.offers()}
    assert offers.keys() == described().keys()
    assert parameter(offers[MODEL], "num_inference_steps")["maximum"] == 7
    assert offers["fal-ai/veo3.1"] == described()["fal-ai/veo3.1"]
    asked = [request for request in upstream.requests if request.path.startswith("/site")]
    assert {request.key for request in asked} == {None}
    assert len(asked) == len(offers)
