"""`/ai/models`: the models that are offered, with their parameters and prices."""

from decimal import Decimal
from typing import Any

import httpx
import jsonschema_rs

from app.providers.contract import ModelType
from tests.kit import IMAGE_MODEL, TEXT_MODEL, VIDEO_MODEL, Cases, Json, check_list, error_of, validation_error
from tests.studio import Studio

FIELDS = {
    "id",
    "name",
    "provider",
    "description",
    "input_modalities",
    "output_modalities",
    "context_length",
    "pricing",
    "parameters",
    "type",
    "inputs",
    "outputs",
    "price",
    "button",
    "help",
}


async def models(client: httpx.AsyncClient, **query: Any) -> list[Json]:
    answer = await client.get("/api/v1/ai/models", params={"limit": 100, **query})
    assert answer.status_code == 200, answer.text
    return check_list(answer.json())


async def test_a_model_is_described_in_full(reader: httpx.AsyncClient) -> None:
    found = await models(reader)
    assert {"text", "image", "video"} <= {kind for model in found for kind in model["output_modalities"]}
    for model in found:
        assert set(model) == FIELDS
        assert model["provider"] == "openrouter"
        assert "/" in model["id"]
        assert model["name"].strip()
        assert model["output_modalities"]
        assert isinstance(model["input_modalities"], list)
        assert model["context_length"] is None or model["context_length"] > 0
        assert isinstance(model["pricing"], dict)
        assert model["type"] in [*ModelType]


async def test_the_ids_of_openrouter_are_unchanged(reader: httpx.AsyncClient) -> None:
    assert {TEXT_MODEL, IMAGE_MODEL, VIDEO_MODEL} <= {model["id"] for model in await models(reader)}


async def test_the_parameters_are_a_json_schema_that_accepts_nothing_else(reader: httpx.AsyncClient) -> None:
    for model in await models(reader):
        schema = model["parameters"]
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        validator = jsonschema_rs.validator_for(schema)
        assert validator.is_valid({}), model["id"]
        assert not validator.is_valid({"no_such_parameter": 1}), model["id"]


async def test_prices_are_decimal_strings(reader: httpx.AsyncClient) -> None:
    def strings(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for part in value.values() for text in strings(part)]
        if isinstance(value, list):
            return [text for part in value for text in strings(part)]
        assert isinstance(value, str), f"money as {value!r}"
        return [value]

    text = next(model for model in await models(reader) if model["id"] == TEXT_MODEL)
    prices = [Decimal(price) for price in strings(text["pricing"])]
    assert prices
    assert all(price >= 0 for price in prices)


async def test_output_keeps_only_models_with_that_output(reader: httpx.AsyncClient) -> None:
    all_models = await models(reader)
    for modality in ("text", "image", "video"):
        found = await models(reader, output=modality)
        able = {model["id"] for model in all_models if modality in model["output_modalities"]}
        assert {model["id"] for model in found} == able
        assert 0 < len(found) < len(all_models)


async def test_input_keeps_only_models_with_that_input(reader: httpx.AsyncClient) -> None:
    all_models = await models(reader)
    for modality in ("text", "image", "audio"):
        found = await models(reader, input=modality)
        able = {model["id"] for model in all_models if modality in model["input_modalities"]}
        assert {model["id"] for model in found} == able
        assert 0 < len(found) < len(all_models)


async def test_provider_keeps_only_its_models(reader: httpx.AsyncClient) -> None:
    assert len(await models(reader, provider="openrouter")) == len(await models(reader))
    assert await models(reader, provider="unknown") == []


async def test_q_finds_a_model_without_regard_to_case(reader: httpx.AsyncClient) -> None:
    for text in ("kling", "KLING", "Kling", "kwaivgi/"):
        assert [model["id"] for model in await models(reader, q=text)] == ["kwaivgi/kling-v3.0-pro"]


async def test_q_takes_every_character_literally(reader: httpx.AsyncClient) -> None:
    for text in ("%", "_", "'", '"; drop table models; --', "\\", "\x00", "é李🎨"):
        for model in await models(reader, q=text):
            assert text in f"{model['id']} {model['name']} {model['description']}"


async def test_filters_combine(reader: httpx.AsyncClient) -> None:
    found = await models(reader, output="video", input="image", q="kling")
    assert [model["id"] for model in found] == ["kwaivgi/kling-v3.0-pro"]
    assert await models(reader, output="text", q="kling") == []


async def test_the_list_is_read_in_pages(reader: httpx.AsyncClient) -> None:
    all_ids = [model["id"] for model in await models(reader)]
    pages: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "5", **({"cursor": cursor} if cursor else {})}
        body = (await reader.get("/api/v1/ai/models", params=query)).json()
        assert body["total"] == len(all_ids)
        assert len(body["items"]) <= 5
        pages += [model["id"] for model in body["items"]]
        cursor = body["next"]
        if cursor is None:
            break
    assert pages == all_ids


async def test_an_invalid_limit_or_cursor_is_400(reader: httpx.AsyncClient) -> None:
    queries = [("limit", value) for value in ("0", "-1", "101", "1000000000000", "x", "1.5", "")]
    queries += [("cursor", value) for value in ("x", "=", "é", "\x00", "-1", "x" * 5000)]
    with Cases() as cases:
        for name, value in queries:
            with cases.case(name, value):
                validation_error(await reader.get("/api/v1/ai/models", params={name: value}), name)


async def test_the_models_are_not_listed_without_credentials(atelier: Studio) -> None:
    error_of(await atelier.direct().get("/api/v1/ai/models"), 401, "AUTHENTICATION_ERROR")
