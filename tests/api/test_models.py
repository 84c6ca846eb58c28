"""`/ai/models`: what is on offer, and with which parameters."""

from decimal import Decimal
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.api.kit import CLIP, PICTURE, TEXT, Json, check_list, invalid, problem
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


async def test_openrouters_ids_are_unchanged(reader: httpx.AsyncClient) -> None:
    assert {TEXT, PICTURE, CLIP} <= {model["id"] for model in await models(reader)}


async def test_the_parameters_are_a_json_schema_that_takes_nothing_else(reader: httpx.AsyncClient) -> None:
    for model in await models(reader):
        schema = model["parameters"]
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        taker = jsonschema_rs.validator_for(schema)
        assert taker.is_valid({}), model["id"]
        assert not taker.is_valid({"no_such_parameter": 1}), model["id"]


async def test_prices_are_decimal_strings(reader: httpx.AsyncClient) -> None:
    def strings(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for part in value.values() for text in strings(part)]
        if isinstance(value, list):
            return [text for part in value for text in strings(part)]
        assert isinstance(value, str), f"money as {value!r}"
        return [value]

    text = next(model for model in await models(reader) if model["id"] == TEXT)
    prices = [Decimal(price) for price in strings(text["pricing"])]
    assert prices
    assert all(price >= 0 for price in prices)


@pytest.mark.parametrize("modality", ["text", "image", "video"])
async def test_output_keeps_only_models_that_make_it(reader: httpx.AsyncClient, modality: str) -> None:
    every = await models(reader)
    found = await models(reader, output=modality)
    assert {model["id"] for model in found} == {
        model["id"] for model in every if modality in model["output_modalities"]
    }
    assert 0 < len(found) < len(every)


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
async def test_input_keeps_only_models_that_take_it(reader: httpx.AsyncClient, modality: str) -> None:
    every = await models(reader)
    found = await models(reader, input=modality)
    assert {model["id"] for model in found} == {model["id"] for model in every if modality in model["input_modalities"]}
    assert 0 < len(found) < len(every)


async def test_provider_keeps_only_its_models(reader: httpx.AsyncClient) -> None:
    assert len(await models(reader, provider="openrouter")) == len(await models(reader))
    assert await models(reader, provider="nobody") == []


@pytest.mark.parametrize("words", ["kling", "KLING", "Kling", "kwaivgi/"])
async def test_q_finds_a_model_without_regard_to_case(reader: httpx.AsyncClient, words: str) -> None:
    assert [model["id"] for model in await models(reader, q=words)] == ["kwaivgi/kling-v3.0-pro"]


@pytest.mark.parametrize("words", ["%", "_", "'", '"; drop table models; --', "\\", "\x00", "é李🎨"])
async def test_q_takes_every_sign_literally(reader: httpx.AsyncClient, words: str) -> None:
    for model in await models(reader, q=words):
        assert words in f"{model['id']} {model['name']} {model['description']}"


async def test_filters_combine(reader: httpx.AsyncClient) -> None:
    found = await models(reader, output="video", input="image", q="kling")
    assert [model["id"] for model in found] == ["kwaivgi/kling-v3.0-pro"]
    assert await models(reader, output="text", q="kling") == []


async def test_the_list_can_be_read_in_pages(reader: httpx.AsyncClient) -> None:
    every = [model["id"] for model in await models(reader)]
    pages: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "5", **({"cursor": cursor} if cursor else {})}
        body = (await reader.get("/api/v1/ai/models", params=query)).json()
        assert body["total"] == len(every)
        assert len(body["items"]) <= 5
        pages += [model["id"] for model in body["items"]]
        cursor = body["next"]
        if cursor is None:
            break
    assert pages == every


@pytest.mark.parametrize("limit", ["0", "-1", "101", "1000000000000", "x", "1.5", ""])
async def test_a_limit_outside_1_to_100_is_400(reader: httpx.AsyncClient, limit: str) -> None:
    invalid(await reader.get("/api/v1/ai/models", params={"limit": limit}), "limit")


@pytest.mark.parametrize("cursor", ["x", "=", "é", "\x00", "-1", "x" * 5000])
async def test_a_cursor_that_we_did_not_give_is_400(reader: httpx.AsyncClient, cursor: str) -> None:
    invalid(await reader.get("/api/v1/ai/models", params={"cursor": cursor}), "cursor")


async def test_the_models_are_not_told_to_somebody_signed_out(atelier: Studio) -> None:
    problem(await atelier.client().get("/api/v1/ai/models"), 401, "AUTHENTICATION_ERROR")
