"""The dedicated image endpoint: real pictures of the right size, strict parameters, streams."""

import base64
from typing import Any

import pytest

from tests.providers.simulator.caller import (
    PAINTER,
    STREAMING_PAINTER,
    WRITER,
    Caller,
    data_url,
    events,
    opened,
    picture_of,
    two_halves,
)

TINY = {"model": STREAMING_PAINTER, "size": "1024x1024"}


def test_an_answer_has_a_real_png_its_type_and_its_price(sim: Caller) -> None:
    answer = sim.image("a quiet lake")
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"created", "data", "usage"}
    assert set(body["data"][0]) == {"b64_json", "media_type"}
    assert body["data"][0]["media_type"] == "image/png"
    assert picture_of(answer).format == "PNG"
    assert picture_of(answer).size == (1024, 1024)
    assert body["usage"]["cost"] == 0.03
    assert body["usage"]["completion_tokens_details"]["image_tokens"] > 0


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"aspect_ratio": "16:9"}, (1344, 768)),
        ({"aspect_ratio": "9:16", "resolution": "1K"}, (768, 1344)),
        ({"resolution": "2K"}, (2048, 2048)),
        ({"model": STREAMING_PAINTER, "size": "1024x1536"}, (1024, 1536)),
    ],
)
def test_the_picture_has_the_size_that_was_asked_for(sim: Caller, asked: dict[str, Any], size: tuple[int, int]) -> None:
    assert picture_of(sim.image("a tall tree", **asked)).size == size


def test_several_pictures_of_one_request_differ_and_are_all_charged(sim: Caller) -> None:
    body = sim.image("three boats", n=3).json()
    assert len({entry["b64_json"] for entry in body["data"]}) == 3
    assert body["usage"]["cost"] == pytest.approx(0.09)


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(sim: Caller) -> None:
    first, again, other = (sim.image("a red barn", seed=seed).json()["data"][0]["b64_json"] for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_without_a_seed_every_try_gives_another_picture(sim: Caller) -> None:
    first, second = (sim.image("a red barn").json()["data"][0]["b64_json"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize(("format", "named"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_the_picture_comes_in_the_format_that_was_asked_for(sim: Caller, format: str, named: str) -> None:
    answer = sim.image("a blue door", **TINY, output_format=format)
    assert picture_of(answer).format == named
    assert answer.json()["data"][0]["media_type"] == f"image/{format}"


def test_a_transparent_background_is_transparent(sim: Caller) -> None:
    picture = picture_of(sim.image("a sticker of a whale", **TINY, background="transparent"))
    assert picture.mode == "RGBA"
    assert picture.getchannel("A").getextrema() == (0, 255)


def test_one_model_does_not_name_the_type_of_its_pictures(sim: Caller) -> None:
    assert set(sim.image("a lamp", model="recraft/recraft-v4").json()["data"][0]) == {"b64_json"}


def test_a_reference_picture_is_seen_in_the_result(sim: Caller) -> None:
    reference = {"type": "image_url", "image_url": {"url": data_url(two_halves())}}
    picture = picture_of(sim.image("make it evening", input_references=[reference])).convert("RGB")
    left, right = picture.getpixel((200, 400)), picture.getpixel((824, 400))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] - left[2] > right[0] - right[2] + 40


def test_a_reference_that_is_only_an_address_is_drawn_and_never_fetched(sim: Caller) -> None:
    # Port 9 of this machine answers nobody; a fetch would fail or hang.
    reference = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/picture.png"}}
    assert picture_of(sim.image("like this", input_references=[reference])).size == (1024, 1024)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
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
        ({"model": STREAMING_PAINTER, "size": "100x100"}, "size"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"model": "nobody/nothing"}, "model"),
    ],
)
def test_what_a_model_does_not_take_is_refused_by_name_and_not_ignored(
    sim: Caller, wrong: dict[str, Any], said: str
) -> None:
    answer = sim.http.post("/images", json={"model": PAINTER, "prompt": "refused picture", **wrong})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert sim.submits("refused picture") == []


def test_base64_that_is_none_is_refused(sim: Caller) -> None:
    reference = {"type": "image_url", "image_url": {"url": "data:image/png;base64,!!!"}}
    answer = sim.image("broken", input_references=[reference])
    assert answer.status_code == 400
    assert answer.json()["error"]["metadata"]["error_type"] == "invalid_image"


@pytest.mark.parametrize("model", [WRITER, "google/veo-3.1", "black-forest-labs/flux.2-pro"])
def test_a_model_of_another_endpoint_is_missing_here(sim: Caller, model: str) -> None:
    assert sim.image("elsewhere", model=model).status_code == 404


def test_a_model_that_streams_shows_a_preview_first(sim: Caller) -> None:
    answer = sim.image("a slow dawn", **TINY, stream=True, n=2)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text.endswith("data: [DONE]\n\n")
    preview, *finished = events(answer.text)
    assert preview["type"] == "image_generation.partial_image"
    assert preview["partial_image_index"] == 0
    assert opened(base64.b64decode(preview["b64_json"])).size == (256, 256)
    assert [event["type"] for event in finished] == ["image_generation.completed"] * 2
    assert opened(base64.b64decode(finished[0]["b64_json"])).size == (1024, 1024)
    assert finished[0]["media_type"] == "image/png"
    assert finished[0]["usage"]["cost"] == pytest.approx(0.084)


def test_a_model_that_does_not_stream_ignores_the_wish(sim: Caller) -> None:
    answer = sim.image("a plain answer", stream=True)
    assert answer.headers["content-type"] == "application/json"
    assert picture_of(answer).size == (1024, 1024)


def test_the_old_address_is_not_there(sim: Caller) -> None:
    answer = sim.http.post("/images/generations", json={"model": STREAMING_PAINTER, "prompt": "an old friend"})
    assert answer.status_code == 404
    assert sim.submits("an old friend") == []
