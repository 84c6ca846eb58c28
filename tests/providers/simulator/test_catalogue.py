"""The catalogue says what there is, in the field names of the service."""

from decimal import Decimal
from typing import Any

import pytest

from app.providers.simulator.openrouter.catalogue import MODELS
from tests.providers.simulator.caller import Caller

ROW = {
    *("id", "canonical_slug", "name", "created", "description", "context_length", "architecture", "pricing"),
    *("supported_parameters", "supported_voices", "default_parameters", "per_request_limits", "top_provider"),
    *("expiration_date", "knowledge_cutoff", "alias_target", "hugging_face_id", "links"),
}
ARCHITECTURE = {"input_modalities", "output_modalities", "modality", "tokenizer", "instruct_type"}
IMAGE_ROW = {
    *("id", "name", "description", "created", "architecture", "supported_parameters", "supports_streaming"),
    "endpoints",
}
VIDEO_ROW = {
    *("id", "canonical_slug", "name", "description", "created", "supported_resolutions", "supported_aspect_ratios"),
    *("supported_sizes", "supported_durations", "supported_frame_images", "generate_audio", "seed", "creativity"),
    *("upscale_factor", "pricing_skus", "allowed_passthrough_parameters", "hugging_face_id"),
}


def rows(sim: Caller, **query: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = sim.get("/models", **query).json()["data"]
    return listed


def ids(sim: Caller, **query: Any) -> set[str]:
    return {row["id"] for row in rows(sim, **query)}


def test_without_a_word_about_modalities_only_models_that_write_are_listed(sim: Caller) -> None:
    listed = rows(sim)
    assert listed
    assert all("text" in row["architecture"]["output_modalities"] for row in listed)
    assert "google/veo-3.1" not in ids(sim)


def test_all_modalities_list_every_model(sim: Caller) -> None:
    assert ids(sim, output_modalities="all") == set(MODELS)
    assert 12 <= len(MODELS) <= 16


def test_modalities_may_be_a_list_with_commas(sim: Caller) -> None:
    found = ids(sim, output_modalities="image,video")
    assert found == ids(sim, output_modalities="image") | ids(sim, output_modalities="video")
    assert "anthropic/claude-sonnet-5" not in found


def test_models_are_found_by_what_they_take_in_and_by_what_they_are_called(sim: Caller) -> None:
    assert "deepseek/deepseek-v4" not in ids(sim, input_modalities="text,image")
    assert ids(sim, output_modalities="all", q="FLUX") == {"black-forest-labs/flux.2-pro"}
    assert "openai/gpt-5.5" not in ids(sim, supported_parameters="temperature")


def test_every_row_has_the_fields_of_the_service_and_prices_as_decimal_text(sim: Caller) -> None:
    for row in rows(sim, output_modalities="all"):
        assert set(row) == ROW, row["id"]
        assert set(row["architecture"]) == ARCHITECTURE
        assert "/" in row["id"]
        assert all(Decimal(price) >= 0 for price in row["pricing"].values())


def test_the_list_comes_whole_or_page_by_page(sim: Caller) -> None:
    whole = sim.get("/models", output_modalities="all").json()
    assert whole["links"] == {"next": None}
    assert whole["total_count"] == len(whole["data"]) == len(MODELS)

    seen: list[str] = []
    page = sim.get("/models", output_modalities="all", limit=5).json()
    while True:
        assert page["total_count"] == len(MODELS)
        assert len(page["data"]) <= 5
        seen += [row["id"] for row in page["data"]]
        if page["links"]["next"] is None:
            break
        page = sim.get(page["links"]["next"]).json()
    assert seen == [row["id"] for row in whole["data"]]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": "many"}, {"offset": -1}])
def test_a_page_that_cannot_be_is_refused(sim: Caller, query: dict[str, Any]) -> None:
    answer = sim.get("/models", **query)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == 400


def test_image_models_describe_each_parameter_they_take(sim: Caller) -> None:
    listed = sim.get("/images/models").json()["data"]
    kinds = set()
    for row in listed:
        assert set(row) == IMAGE_ROW
        for descriptor in row["supported_parameters"].values():
            kinds.add(descriptor["type"])
            assert descriptor["type"] != "enum" or descriptor["values"]
            assert descriptor["type"] != "range" or descriptor["min"] <= descriptor["max"]
    assert kinds == {"enum", "range", "boolean"}
    assert {row["supports_streaming"] for row in listed} == {True, False}
    assert any("input_references" in row["supported_parameters"] for row in listed)


def test_the_endpoints_of_an_image_model_say_what_a_picture_costs(sim: Caller) -> None:
    row = sim.get("/images/models").json()["data"][0]
    answer = sim.get(row["endpoints"]).json()
    assert answer["id"] == row["id"]
    endpoint = answer["endpoints"][0]
    assert {"provider_name", "provider_slug", "provider_tag", "allowed_passthrough_parameters"} <= set(endpoint)
    assert endpoint["supported_parameters"] == row["supported_parameters"]
    price = endpoint["pricing"][0]
    assert price["billable"] == "output_image"
    assert price["unit"] == "image"
    assert price["cost_usd"] > 0


def test_endpoints_of_a_model_that_is_not_there_are_missing(sim: Caller) -> None:
    assert sim.get("/images/models/nobody/nothing/endpoints").status_code == 404


def test_video_models_say_which_values_they_take(sim: Caller) -> None:
    listed = {row["id"]: row for row in sim.get("/videos/models").json()["data"]}
    assert all(set(row) == VIDEO_ROW for row in listed.values())
    assert all(isinstance(price, str) for row in listed.values() for price in row["pricing_skus"].values())
    assert listed["google/veo-3.1"]["supported_frame_images"] == ["first_frame", "last_frame"]
    assert listed["google/veo-3.1"]["generate_audio"] is True
    assert listed["alibaba/wan-2.6"]["supported_durations"] is None


def test_a_model_that_only_animates_pictures_says_so_by_its_inputs(sim: Caller) -> None:
    row = next(row for row in rows(sim, output_modalities="video") if row["id"] == "minimax/hailuo-2.3-fast")
    assert row["architecture"]["input_modalities"] == ["image"]


@pytest.mark.parametrize("path", ["/models", "/images/models", "/videos/models"])
def test_the_catalogue_needs_no_key(sim: Caller, path: str) -> None:
    assert sim.stranger.get(f"{sim.origin}/api/v1{path}").status_code == 200
