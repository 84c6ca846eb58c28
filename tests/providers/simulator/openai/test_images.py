"""Images as OpenAI answers them, and as compatible servers do."""

import base64
import io
from typing import Any

from PIL import Image

from tests.kit import Cases
from tests.providers.simulator.kit import SimulatorClient, image_of, open_image
from tests.providers.simulator.openai.kit import COMPATIBLE, edit, error_of, image, png

INVALID = "invalid_request_error"
SIZE = (256, 256)
RED = png(SIZE, "red")


def test_an_image_is_base64_with_the_tokens_it_took(sim: SimulatorClient) -> None:
    answer = image(sim, "A lighthouse", size="1536x1024", quality="low", output_format="webp")
    made = image_of(answer)
    assert (made.size, made.format) == ((1536, 1024), "WEBP")
    body = answer.json()
    assert set(body["data"][0]) == {"b64_json"}
    assert {name: body[name] for name in ("size", "quality", "output_format")} == {
        "size": "1536x1024",
        "quality": "low",
        "output_format": "webp",
    }
    usage = body["usage"]
    assert usage["input_tokens"] == usage["input_tokens_details"]["text_tokens"] > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert "cost" not in usage


def test_several_images_differ(sim: SimulatorClient) -> None:
    rows = image(sim, "[stamp] A lighthouse", n=3).json()["data"]
    assert len({row["b64_json"] for row in rows}) == 3


def test_what_a_gpt_image_model_does_not_know_is_refused(sim: SimulatorClient) -> None:
    table: dict[str, dict[str, Any]] = {
        "response_format": {"response_format": "b64_json"},
        "style": {"style": "vivid"},
        "quality of DALL-E": {"quality": "hd"},
        "size": {"size": "1000x1000"},
        "ratio": {"size": "3840x512"},
        "number": {"n": 11},
        "fidelity without an image": {"input_fidelity": "high"},
    }
    with Cases() as cases:
        for name, parameters in table.items():
            with cases.case(name):
                error_of(image(sim, "Fog", **parameters), 400, INVALID, None)


def test_a_compatible_server_answers_with_a_link_to_another_origin(sim: SimulatorClient) -> None:
    row = image(sim, "[stamp] A lighthouse", COMPATIBLE).json()["data"][0]
    assert set(row) == {"url"}
    assert not row["url"].startswith(sim.origin)
    assert open_image(sim.anonymous.get(row["url"]).content).size == (64, 64)
    assert sim.anonymous.get(row["url"][:-4] + "0000").status_code == 404


def test_a_compatible_server_answers_in_base64_on_request(sim: SimulatorClient) -> None:
    row = image(sim, "[stamp] A lighthouse", COMPATIBLE, response_format="b64_json").json()["data"][0]
    assert open_image(base64.b64decode(row["b64_json"])).size == (64, 64)


def test_an_edit_changes_only_what_the_mask_shows(sim: SimulatorClient) -> None:
    mask = Image.new("RGBA", SIZE, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 128, 256))
    files = [("image", ("a.png", RED, "image/png")), ("mask", ("m.png", encoded(mask), "image/png"))]
    answer = edit(sim, "A forest", files, size="256x256", quality="low")
    made = image_of(answer).convert("RGB")
    assert made.getpixel((200, 128)) == (255, 0, 0)
    assert made.getpixel((60, 128)) != (255, 0, 0)
    assert answer.json()["usage"]["input_tokens_details"]["image_tokens"] > 0


def test_an_edit_takes_several_images(sim: SimulatorClient) -> None:
    files = [("image[]", (f"{index}.png", RED, "image/png")) for index in range(3)]
    assert image_of(edit(sim, "[stamp] A forest", files, input_fidelity="high")).size == (64, 64)


def test_the_files_of_an_edit_are_checked(sim: SimulatorClient) -> None:
    opaque, small = png(SIZE, "white"), png((64, 64), (0, 0, 0, 0), "RGBA")
    shown = ("image", ("a.png", RED, "image/png"))
    table = {
        "no image": ([], "invalid_type"),
        "no type": ([("image", ("a.png", RED, "application/octet-stream"))], "invalid_type"),
        "not an image": ([("image", ("a.png", b"text", "image/png"))], None),
        "too many": ([("image[]", (f"{index}.png", RED, "image/png")) for index in range(17)], "invalid_type"),
        "a mask without transparency": ([shown, ("mask", ("m.png", opaque, "image/png"))], None),
        "a mask of another size": ([shown, ("mask", ("m.png", small, "image/png"))], None),
    }
    with Cases() as cases:
        for name, (files, code) in table.items():
            with cases.case(name):
                error_of(edit(sim, "Fog", files or [("other", ("a.png", RED, "image/png"))]), 400, INVALID, code)
    without_files = sim.http.post(f"{sim.origin}/openai/v1/images/edits", json={"model": "gpt-image-2", "prompt": "x"})
    error_of(without_files, 400, INVALID, "invalid_type")


def test_a_stream_has_partial_images_and_ends_with_the_tokens(sim: SimulatorClient) -> None:
    text = image(sim, "[stamp] A lighthouse", stream=True, partial_images=1).text
    assert "event: image_generation.partial_image\n" in text
    assert "event: image_generation.completed\n" in text
    assert '"usage"' in text.split("image_generation.completed")[-1]


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
