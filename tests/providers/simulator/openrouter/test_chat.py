"""Chat: whole and streamed text, and images."""

import jsonschema_rs
import msgspec

from tests.kit import Cases
from tests.providers.simulator.kit import (
    CHAT_IMAGE_MODEL,
    CHAT_TEXT_AND_IMAGE_MODEL,
    IMAGE_MODEL,
    STAMP,
    ManualClock,
    SimulatorClient,
    conversation,
    data_url,
    events,
    image_in,
    streamed_text,
    two_halves,
    until,
)

USAGE = {
    *("prompt_tokens", "completion_tokens", "total_tokens", "cost", "is_byok", "cost_details"),
    *("prompt_tokens_details", "completion_tokens_details"),
}


def test_an_answer_has_the_fields_of_the_service_and_its_price(sim: SimulatorClient) -> None:
    answer = sim.chat("Tell me about granite")
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}
    assert body["id"].startswith("gen-")
    assert answer.headers["x-generation-id"] == body["id"]
    assert body["object"] == "chat.completion"
    choice = body["choices"][0]
    assert choice["finish_reason"] == choice["native_finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert "granite" in choice["message"]["content"]
    assert set(body["usage"]) == USAGE
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert body["usage"]["cost"] > 0


def test_a_free_model_costs_nothing(sim: SimulatorClient) -> None:
    usage = sim.chat("Tell me about basalt", model="meta-llama/llama-3.3-70b-instruct:free").json()["usage"]
    assert usage["cost"] == 0


def test_a_stream_has_the_same_text_in_many_chunks(sim: SimulatorClient) -> None:
    whole = sim.chat("Tell me about marble").json()["choices"][0]["message"]["content"]
    chunks = events(sim.stream("Tell me about marble"))
    assert streamed_text(chunks) == whole
    assert len(chunks) > 20
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_a_stream_has_comments_a_repeated_finish_reason_usage_at_the_end_and_an_end_mark(sim: SimulatorClient) -> None:
    answer = sim.chat("Tell me about slate", stream=True)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text.startswith(": OPENROUTER PROCESSING\n\n")
    assert answer.text.endswith("data: [DONE]\n\n")
    chunks = events(answer.text)
    finished = [chunk for chunk in chunks if chunk["choices"][0]["finish_reason"]]
    assert [chunk["choices"][0]["finish_reason"] for chunk in finished] == ["stop", "stop"]
    assert chunks[-2:] == finished
    assert "usage" not in finished[0]
    assert finished[1]["usage"]["cost"] > 0
    assert finished[1]["choices"][0]["delta"]["content"] == ""


def test_an_answer_above_the_token_limit_is_cut_with_the_reason_length(sim: SimulatorClient) -> None:
    choice = sim.chat("Tell me about chalk", max_tokens=3).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert len(choice["message"]["content"]) < 60


def test_an_image_only_model_answers_with_a_data_url(sim: SimulatorClient) -> None:
    answer = sim.chat("a lighthouse", model=CHAT_IMAGE_MODEL, modalities=["image"]).json()
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert [image["type"] for image in message["images"]] == ["image_url"]
    assert image_in(message["images"][0]["image_url"]["url"]).size == (1024, 1024)
    assert answer["usage"]["completion_tokens_details"]["image_tokens"] > 0
    assert answer["usage"]["cost"] > 0


def test_the_image_has_the_requested_shape(sim: SimulatorClient) -> None:
    table: list[tuple[dict[str, str], tuple[int, int]]] = [
        ({"aspect_ratio": "16:9"}, (1344, 768)),
        ({"aspect_ratio": "2:3"}, (832, 1248)),
        ({"image_size": "0.5K"}, (512, 512)),
        ({"aspect_ratio": "21:9", "image_size": "0.5K"}, (768, 336)),
    ]
    with Cases() as cases:
        for config, size in table:
            with cases.case(config, size):
                answer = sim.chat("a harbour", model=CHAT_IMAGE_MODEL, modalities=["image"], image_config=config).json()
                assert image_in(answer["choices"][0]["message"]["images"][0]["image_url"]["url"]).size == size


def test_a_model_for_text_and_images_answers_with_both(sim: SimulatorClient) -> None:
    message = sim.chat("[stamp] a heron", model=CHAT_TEXT_AND_IMAGE_MODEL, modalities=["image", "text"]).json()[
        "choices"
    ][0]["message"]
    assert "heron" in message["content"]
    assert len(message["images"]) == 1


def test_a_streamed_image_arrives_in_one_delta(sim: SimulatorClient) -> None:
    chunks = events(
        sim.stream("[stamp] a heron at noon", model=CHAT_TEXT_AND_IMAGE_MODEL, modalities=["image", "text"])
    )
    with_images = [chunk for chunk in chunks if chunk["choices"][0]["delta"].get("images")]
    assert len(with_images) == 1
    url = with_images[0]["choices"][0]["delta"]["images"][0]["image_url"]["url"]
    assert image_in(url).size == STAMP
    assert "heron" in streamed_text(chunks)


def test_an_input_image_is_visible_in_the_result(sim: SimulatorClient) -> None:
    parts = [
        {"type": "text", "text": "[stamp] make it warmer"},
        {"type": "image_url", "image_url": {"url": data_url(two_halves())}},
    ]
    body = {"messages": [{"role": "user", "content": parts}], "model": CHAT_IMAGE_MODEL, "modalities": ["image"]}
    answer = sim.http.post("/chat/completions", json=body).json()
    image = image_in(answer["choices"][0]["message"]["images"][0]["image_url"]["url"]).convert("RGB")
    left, right = (image.getpixel((x, 25)) for x in (12, 51))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > right[0]
    assert left[2] < right[2]


def test_unsupported_modalities_are_not_found(sim: SimulatorClient) -> None:
    table: list[tuple[str, list[str] | None]] = [
        (CHAT_IMAGE_MODEL, ["image", "text"]),
        (CHAT_IMAGE_MODEL, None),
        (CHAT_TEXT_AND_IMAGE_MODEL, ["image"]),
        ("openai/gpt-5.5", ["image", "text"]),
        (IMAGE_MODEL, ["image"]),
        ("google/veo-3.1", ["video"]),
    ]
    with Cases() as cases:
        for model, modalities in table:
            with cases.case(model, modalities):
                answer = sim.chat("unsupported modalities", model=model, modalities=modalities)
                assert answer.status_code == 404
                assert "modalities" in answer.json()["error"]["message"]
                assert sim.submits("unsupported modalities") == []


def test_a_conversation_above_the_context_length_is_refused(sim: SimulatorClient) -> None:
    answer = sim.chat("word " * 20_000, model="meta-llama/llama-3.3-70b-instruct:free")
    assert answer.status_code == 400
    assert answer.json()["error"]["metadata"]["error_type"] == "context_length_exceeded"


def test_an_invalid_request_is_refused_with_an_error_envelope(sim: SimulatorClient) -> None:
    table: list[dict[str, object]] = [
        {"model": None},
        {"model": "unknown/model"},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"role": "wizard", "content": "hello"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"temperature": 3},
        {"max_tokens": 0},
        {"modalities": "image"},
        {"image_config": {"image_size": "8K"}},
        {"image_config": {"aspect_ratio": "round"}},
    ]
    with Cases() as cases:
        for wrong in table:
            with cases.case(wrong):
                answer = sim.http.post("/chat/completions", json={**conversation("hello"), **wrong})
                assert answer.status_code == 400
                assert answer.json()["error"]["code"] == 400
                assert answer.json()["error"]["message"]


def test_a_body_that_is_no_object_is_refused(sim: SimulatorClient) -> None:
    table: list[bytes] = [b"", b"{", b"[]", b"\xff", b"[" * 5000]
    with Cases() as cases:
        for body in table:
            with cases.case(body):
                assert sim.http.post("/chat/completions", content=body).status_code == 400


def test_hanging_up_ends_a_stream_and_charges_for_the_text_so_far(timed: SimulatorClient, clock: ManualClock) -> None:
    clock.allowed = 5  # pauses, one before each chunk
    with timed.http.stream("POST", "/chat/completions", json=conversation("Tell me about jade", stream=True)) as answer:
        id = answer.headers["x-generation-id"]
        for line in answer.iter_lines():
            if '"content":"' in line and '"content":""' not in line:
                break
    until(lambda: timed.get("/generation", id=id).status_code == 200)
    generation = timed.get("/generation", id=id).json()["data"]
    assert generation["cancelled"] is True
    assert 0 < generation["tokens_completion"] <= 5


def test_structured_output_fits_the_given_schema(sim: SimulatorClient) -> None:
    node = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "required": ["name", "children"],
        "additionalProperties": False,
    }
    schema = {"$defs": {"node": node}, "$ref": "#/$defs/node"}
    wanted = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    }
    whole = sim.chat("A family tree of pears", **wanted).json()["choices"][0]["message"]["content"]
    jsonschema_rs.validate(schema, msgspec.json.decode(whole))
    assert streamed_text(events(sim.stream("A family tree of pears", **wanted))) == whole
    assert sim.chat("A family tree of pears", seed=7, **wanted).json()["choices"][0]["message"]["content"] != whole


def test_structured_output_with_an_invalid_schema_is_refused(sim: SimulatorClient) -> None:
    invalid: list[object] = [{"type": "magic"}, {"$ref": "https://example.com/x"}, {"$ref": "#"}, [], "object"]
    for schema in invalid:
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        answer = sim.chat("invalid schemas", response_format=wanted)
        assert answer.status_code == 400
        assert "invalid schema" in answer.json()["error"]["message"]
    assert sim.submits("invalid schemas") == []
