"""The models of OpenAI and of compatible servers, and the descriptions of OpenAI's own."""

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from app.base.errors import Upstream as UpstreamError
from app.providers.contract import InputRole, ModelOffer, ModelType
from app.providers.openai.descriptions import FOLDER, known
from tests.kit import Cases
from tests.providers.fake_upstream import Silence, Upstream, js, plain
from tests.providers.openai.kit import provider, refusal

MODELS = "/api/v1/models"


def listed(*rows: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": row, "created": 5} if isinstance(row, str) else row for row in rows]}


async def offers(upstream: Upstream, **settings: Any) -> dict[str, ModelOffer]:
    async with provider(upstream, **settings) as openai:
        return {offer.id: offer for offer in await openai.offers()}


async def test_a_model_is_for_chat_unless_it_is_described(upstream: Upstream) -> None:
    upstream.on("GET", MODELS, js(listed("gpt-6", "gpt-image-2", "text-embedding-3-small", "whisper-1", "sora-2")))
    found = await offers(upstream)
    assert {id: (offer.route, offer.output_modalities) for id, offer in found.items()} == {
        "gpt-6": ("chat", ("text",)),
        "gpt-image-2": ("images", ("image",)),
        "text-embedding-3-small": ("embeddings", ("embeddings",)),
        "whisper-1": ("transcriptions", ("transcription",)),
        "sora-2": ("videos", ("video",)),
    }
    assert found["gpt-6"].type is ModelType.TEXT_TO_TEXT
    assert set(found["gpt-6"].parameters["properties"]) == {"temperature", "top_p", "max_tokens"}
    assert found["gpt-image-2"].created == 5


async def test_a_dated_snapshot_is_the_model_that_it_is_a_snapshot_of(upstream: Upstream) -> None:
    upstream.on("GET", MODELS, js(listed("gpt-image-2-2026-04-21", "gpt-6-2026-04-21")))
    found = await offers(upstream)
    assert (found["gpt-image-2-2026-04-21"].name, found["gpt-image-2-2026-04-21"].route) == (
        "GPT Image 2 (2026-04-21)",
        "images",
    )
    assert found["gpt-6-2026-04-21"].route == "chat"


async def test_models_that_were_shut_down_are_left_out(upstream: Upstream) -> None:
    rows = [
        {"id": "gone", "shutdown_date": "2026-05-12"},
        {"id": "gone-too", "shutdown_date": 1_700_000_000},
        {"id": "leaving", "shutdown_date": "2999-01-14T00:00:00Z"},
        {"id": "staying", "shutdown_date": None},
        {"id": "odd", "shutdown_date": "soon"},
    ]
    upstream.on("GET", MODELS, js(listed(*rows)))
    assert list(await offers(upstream)) == ["leaving", "staying", "odd"]


async def test_lists_of_other_servers_are_read(upstream: Upstream) -> None:
    table: dict[str, Any] = {
        "a bare list": [{"id": "a"}],
        "with rows of other kinds": listed("a", None, 7, {"id": None}, {"id": ""}, {"name": "b"}, {"id": "with space"}),
        "with a context length": listed({"id": "a", "max_model_len": 4096, "created": "yesterday"}),
    }
    with Cases() as cases:
        for name, body in table.items():
            upstream.on("GET", MODELS, js(body))
            with cases.case(name):
                assert list(await offers(upstream, is_openai=False)) == ["a"]


async def test_prices_are_openais_own(upstream: Upstream) -> None:
    upstream.on("GET", MODELS, js(listed("gpt-image-2")))
    assert (await offers(upstream))["gpt-image-2"].pricing["image_output"] == "0.00003"
    assert (await offers(upstream, is_openai=False))["gpt-image-2"].pricing == {}


async def test_a_list_that_cannot_be_fetched_or_is_empty_is_an_error(upstream: Upstream) -> None:
    replies = (refusal(401, "invalid_api_key"), js(listed()), js({}), plain(b"<html>", "text/html"), Silence("reset"))
    with Cases() as cases:
        for reply in replies:
            upstream.on("GET", MODELS, reply)
            with cases.case(reply), pytest.raises(UpstreamError):
                await offers(upstream)


def test_every_description_is_complete() -> None:
    with Cases() as cases:
        for model in known().values():
            with cases.case(model.id):
                assert (FOLDER / f"{model.id}.json").exists(), "a file is named after its model"
                jsonschema_rs.validator_for(model.parameters)
                properties = model.parameters["properties"]
                defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
                jsonschema_rs.validate(model.parameters, defaults)
                assert all(schema["title"] for schema in properties.values())
                assert model.parameters["additionalProperties"] is False
                assert model.name
                assert model.description.endswith(".")


def test_models_for_images_and_videos_say_what_they_take_and_make() -> None:
    with Cases() as cases:
        for model in known().values():
            if {"image", "video"} & set(model.output_modalities):
                with cases.case(model.id):
                    assert model.type is ModelType.HYBRID
                    assert model.inputs
                    assert all(slot.field for slot in model.inputs)
                    assert model.button
                    assert model.help.what_is
                    assert model.help.use_cases
    masks = {id for id, model in known().items() if any(slot.role is InputRole.MASK for slot in model.inputs)}
    assert masks == {id for id, model in known().items() if model.route == "images"}


def test_a_description_with_an_unknown_field_is_an_error() -> None:
    row = {**msgspec.json.decode((FOLDER / "tts-1.json").read_bytes()), "prize": "1"}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(row), type=ModelOffer)
