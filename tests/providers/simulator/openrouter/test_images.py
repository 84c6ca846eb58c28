"""The image endpoint: real images of the right size, strict parameters, streams."""

import base64
from typing import Any

import pytest

from tests.kit import Cases
from tests.providers.simulator.kit import (
    IMAGE_MODEL,
    STAMP,
    STREAMING_IMAGE_MODEL,
    TEXT_MODEL,
    SimulatorClient,
    data_url,
    events,
    image_of,
    open_image,
    two_halves,
)

SQUARE = {"model": STREAMING_IMAGE_MODEL, "size": "1024x1024"}


def test_an_answer_has_a_real_png_its_type_and_its_price(sim: SimulatorClient) -> None:
    answer = sim.image("a quiet lake")
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"created", "data", "usage"}
    assert set(body["data"][0]) == {"b64_json", "media_type"}
    assert body["data"][0]["media_type"] == "image/png"
    image = image_of(answer)
    image.load()
    assert (image.format, image.size) == ("PNG", (1024, 1024))
    assert body["usage"]["cost"] == 0.03
    assert body["usage"]["completion_tokens_details"]["image_tokens"] > 0


def test_the_image_has_the_requested_size(sim: SimulatorClient) -> None:
    table: list[tuple[dict[str, Any], tuple[int, int]]] = [
        ({"aspect_ratio": "16:9"}, (1344, 768)),
        ({"aspect_ratio": "9:16", "resolution": "1K"}, (768, 1344)),
        ({"resolution": "2K"}, (2048, 2048)),
        ({"model": STREAMING_IMAGE_MODEL, "size": "1024x1536"}, (1024, 1536)),
    ]
    with Cases() as cases:
        for settings, size in table:
            with cases.case(settings):
                assert image_of(sim.image("a tall tree", **settings)).size == size


def test_several_images_of_one_request_differ_and_are_all_charged(sim: SimulatorClient) -> None:
    body = sim.image("[stamp] three boats", n=3).json()
    assert len({entry["b64_json"] for entry in body["data"]}) == 3
    assert body["usage"]["cost"] == pytest.approx(0.09)


def test_the_same_seed_gives_the_same_image_and_another_seed_another(sim: SimulatorClient) -> None:
    first, again, other = (
        sim.image("[stamp] a red barn", seed=seed).json()["data"][0]["b64_json"] for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_without_a_seed_every_request_gives_another_image(sim: SimulatorClient) -> None:
    first, second = (sim.image("[stamp] a red barn").json()["data"][0]["b64_json"] for _ in range(2))
    assert first != second


def test_the_image_has_the_requested_format(sim: SimulatorClient) -> None:
    table: list[tuple[str, str]] = [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")]
    with Cases() as cases:
        for format, name in table:
            with cases.case(format):
                answer = sim.image("[stamp] a blue door", **SQUARE, output_format=format)
                assert image_of(answer).format == name
                assert answer.json()["data"][0]["media_type"] == f"image/{format}"


def test_a_transparent_background_is_transparent(sim: SimulatorClient) -> None:
    image = image_of(sim.image("[stamp] a sticker of a whale", **SQUARE, background="transparent"))
    assert image.mode == "RGBA"
    assert image.getchannel("A").getextrema() == (0, 255)


def test_one_model_does_not_name_the_type_of_its_images(sim: SimulatorClient) -> None:
    assert set(sim.image("[stamp] a lamp", model="recraft/recraft-v4").json()["data"][0]) == {"b64_json"}


def test_a_reference_image_is_visible_in_the_result(sim: SimulatorClient) -> None:
    reference = {"type": "image_url", "image_url": {"url": data_url(two_halves())}}
    image = image_of(sim.image("[stamp] make it evening", input_references=[reference])).convert("RGB")
    left, right = image.getpixel((12, 25)), image.getpixel((51, 25))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] - left[2] > right[0] - right[2] + 40


def test_a_reference_by_url_is_drawn_and_never_fetched(sim: SimulatorClient) -> None:
    # Nothing listens on port 9 of this machine: fetching would fail.
    reference = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/image.png"}}
    assert image_of(sim.image("[stamp] like this", input_references=[reference])).size == STAMP


def test_an_unsupported_parameter_is_refused_by_name_and_not_ignored(sim: SimulatorClient) -> None:
    table: list[tuple[dict[str, Any], str]] = [
        ({"quality": "high"}, "quality"),
        ({"negative_prompt": "rain"}, "negative_prompt"),
        ({"n": 5}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"model": "recraft/recraft-v4", "n": 2}, "n"),
        ({"aspect_ratio": "7:3"}, "aspect_ratio"),
        ({"resolution": "8K"}, "resolution"),
        ({"seed": "lucky"}, "seed"),
        ({"seed": True}, "seed"),
        ({"input_references": ["https://example.org/a.png"]}, "input_references"),
        ({"input_references": [{"type": "image_url"}]}, "input_references"),
        ({"model": STREAMING_IMAGE_MODEL, "size": "100x100"}, "size"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"model": "unknown/model"}, "model"),
    ]
    with Cases() as cases:
        for wrong, name in table:
            with cases.case(wrong):
                answer = sim.http.post("/images", json={"model": IMAGE_MODEL, "prompt": "a refused image", **wrong})
                assert answer.status_code == 400
                assert name in answer.json()["error"]["message"]
                assert sim.submits("a refused image") == []


def test_invalid_base64_is_refused(sim: SimulatorClient) -> None:
    reference = {"type": "image_url", "image_url": {"url": "data:image/png;base64,!!!"}}
    answer = sim.image("broken", input_references=[reference])
    assert answer.status_code == 400
    assert answer.json()["error"]["metadata"]["error_type"] == "invalid_image"


def test_a_model_of_another_endpoint_is_not_found(sim: SimulatorClient) -> None:
    table: list[str] = [TEXT_MODEL, "google/veo-3.1", "black-forest-labs/flux.2-pro"]
    with Cases() as cases:
        for model in table:
            with cases.case(model):
                assert sim.image("elsewhere", model=model).status_code == 404


def test_a_model_that_streams_shows_a_preview_first(sim: SimulatorClient) -> None:
    answer = sim.image("a slow dawn", **SQUARE, stream=True, n=2)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text.endswith("data: [DONE]\n\n")
    preview, *finished = events(answer.text)
    assert preview["type"] == "image_generation.partial_image"
    assert preview["partial_image_index"] == 0
    assert open_image(base64.b64decode(preview["b64_json"])).size == (256, 256)
    assert [event["type"] for event in finished] == ["image_generation.completed"] * 2
    assert open_image(base64.b64decode(finished[0]["b64_json"])).size == (1024, 1024)
    assert finished[0]["media_type"] == "image/png"
    assert finished[0]["usage"]["cost"] == pytest.approx(0.084)


def test_a_model_that_cannot_stream_ignores_the_request_for_a_stream(sim: SimulatorClient) -> None:
    answer = sim.image("[stamp] a plain answer", stream=True)
    assert answer.headers["content-type"] == "application/json"
    assert image_of(answer).size == STAMP


def test_the_old_route_is_not_found(sim: SimulatorClient) -> None:
    answer = sim.http.post("/images/generations", json={"model": STREAMING_IMAGE_MODEL, "prompt": "the old route"})
    assert answer.status_code == 404
    assert sim.submits("the old route") == []
