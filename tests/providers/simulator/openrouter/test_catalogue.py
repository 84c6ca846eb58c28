"""The catalogues list the models with the field names of the real service."""

from decimal import Decimal
from typing import Any

from app.providers.simulator.openrouter.catalog import MODELS
from tests.kit import Cases
from tests.providers.simulator.kit import EMBEDDING_MODEL, SPEECH_MODEL, TRANSCRIPTION_MODEL, SimulatorClient

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


def rows(sim: SimulatorClient, **query: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = sim.get("/models", **query).json()["data"]
    return listed


def ids(sim: SimulatorClient, **query: Any) -> set[str]:
    return {row["id"] for row in rows(sim, **query)}


def test_without_modalities_only_text_models_are_listed(sim: SimulatorClient) -> None:
    listed = rows(sim)
    assert listed
    assert all("text" in row["architecture"]["output_modalities"] for row in listed)
    assert "google/veo-3.1" not in ids(sim)


def test_all_modalities_list_every_model(sim: SimulatorClient) -> None:
    assert ids(sim, output_modalities="all") == set(MODELS)
    assert 16 <= len(MODELS) <= 22


def test_modalities_may_be_a_list_with_commas(sim: SimulatorClient) -> None:
    found = ids(sim, output_modalities="image,video")
    assert found == ids(sim, output_modalities="image") | ids(sim, output_modalities="video")
    assert "anthropic/claude-sonnet-5" not in found


def test_models_of_the_other_calls_are_listed_by_their_modality(sim: SimulatorClient) -> None:
    assert EMBEDDING_MODEL in ids(sim, output_modalities="embeddings")
    assert ids(sim, output_modalities="embeddings") == {
        row["id"] for row in sim.get("/embeddings/models").json()["data"]
    }
    assert ids(sim, output_modalities="transcription") == {TRANSCRIPTION_MODEL}
    (speech,) = rows(sim, output_modalities="speech")
    assert speech["id"] == SPEECH_MODEL
    assert "alloy" in speech["supported_voices"]


def test_models_are_found_by_their_inputs_and_by_their_names(sim: SimulatorClient) -> None:
    assert "deepseek/deepseek-v4" not in ids(sim, input_modalities="text,image")
    assert ids(sim, output_modalities="all", q="FLUX") == {"black-forest-labs/flux.2-pro"}
    assert "openai/gpt-5.5" not in ids(sim, supported_parameters="temperature")


def test_every_row_has_the_fields_of_the_service_and_decimal_prices(sim: SimulatorClient) -> None:
    for row in rows(sim, output_modalities="all"):
        assert set(row) == ROW, row["id"]
        assert set(row["architecture"]) == ARCHITECTURE
        assert "/" in row["id"]
        assert all(Decimal(price) >= 0 for price in row["pricing"].values())


def test_the_list_comes_at_once_or_page_by_page(sim: SimulatorClient) -> None:
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


def test_an_invalid_page_is_refused(sim: SimulatorClient) -> None:
    table: list[dict[str, Any]] = [{"limit": 0}, {"limit": 1001}, {"limit": "many"}, {"offset": -1}]
    with Cases() as cases:
        for query in table:
            with cases.case(query):
                answer = sim.get("/models", **query)
                assert answer.status_code == 400
                assert answer.json()["error"]["code"] == 400


def test_image_models_describe_each_parameter(sim: SimulatorClient) -> None:
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


def test_the_endpoints_of_an_image_model_have_the_price_of_an_image(sim: SimulatorClient) -> None:
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


def test_endpoints_of_an_unknown_model_are_not_found(sim: SimulatorClient) -> None:
    assert sim.get("/images/models/unknown/model/endpoints").status_code == 404


def test_video_models_list_the_values_they_accept(sim: SimulatorClient) -> None:
    listed = {row["id"]: row for row in sim.get("/videos/models").json()["data"]}
    assert all(set(row) == VIDEO_ROW for row in listed.values())
    assert all(isinstance(price, str) for row in listed.values() for price in row["pricing_skus"].values())
    assert listed["google/veo-3.1"]["supported_frame_images"] == ["first_frame", "last_frame"]
    assert listed["google/veo-3.1"]["generate_audio"] is True
    assert listed["alibaba/wan-2.6"]["supported_durations"] is None


def test_an_image_to_video_model_has_images_as_its_only_input(sim: SimulatorClient) -> None:
    row = next(row for row in rows(sim, output_modalities="video") if row["id"] == "minimax/hailuo-2.3-fast")
    assert row["architecture"]["input_modalities"] == ["image"]


def test_the_catalogue_needs_no_key(sim: SimulatorClient) -> None:
    table: list[str] = ["/models", "/images/models", "/videos/models", "/embeddings/models"]
    with Cases() as cases:
        for path in table:
            with cases.case(path):
                assert sim.anonymous.get(f"{sim.origin}/api/v1{path}").status_code == 200
