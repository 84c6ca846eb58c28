"""Conversations: words in one piece, words as a stream, pictures in between."""

import pytest

from tests.providers.simulator.caller import (
    CHAT_PAINTER,
    PAINTER,
    TALKING_PAINTER,
    Caller,
    conversation,
    data_url,
    events,
    picture_in,
    said,
    two_halves,
)

USAGE = {
    *("prompt_tokens", "completion_tokens", "total_tokens", "cost", "is_byok", "cost_details"),
    *("prompt_tokens_details", "completion_tokens_details"),
}


def test_an_answer_has_the_fields_of_the_service_and_its_price(sim: Caller) -> None:
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


def test_a_free_model_costs_nothing(sim: Caller) -> None:
    usage = sim.chat("Tell me about basalt", model="meta-llama/llama-3.3-70b-instruct:free").json()["usage"]
    assert usage["cost"] == 0


def test_a_stream_says_the_same_words_one_after_the_other(sim: Caller) -> None:
    whole = sim.chat("Tell me about marble").json()["choices"][0]["message"]["content"]
    chunks = events(sim.stream("Tell me about marble"))
    assert said(chunks) == whole
    assert len(chunks) > 20
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_a_stream_has_comments_a_doubled_finish_reason_usage_at_the_end_and_an_end_mark(sim: Caller) -> None:
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


def test_an_answer_that_is_too_long_is_cut_at_the_limit_and_says_so(sim: Caller) -> None:
    choice = sim.chat("Tell me about chalk", max_tokens=3).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert len(choice["message"]["content"]) < 60


def test_a_model_that_only_draws_gives_a_picture_as_a_data_url(sim: Caller) -> None:
    answer = sim.chat("a lighthouse", model=CHAT_PAINTER, modalities=["image"]).json()
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert [image["type"] for image in message["images"]] == ["image_url"]
    assert picture_in(message["images"][0]["image_url"]["url"]).size == (1024, 1024)
    assert answer["usage"]["completion_tokens_details"]["image_tokens"] > 0
    assert answer["usage"]["cost"] > 0


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"aspect_ratio": "16:9"}, (1344, 768)),
        ({"aspect_ratio": "2:3"}, (832, 1248)),
        ({"image_size": "0.5K"}, (512, 512)),
        ({"aspect_ratio": "21:9", "image_size": "0.5K"}, (768, 336)),
    ],
)
def test_the_picture_has_the_shape_that_was_asked_for(
    sim: Caller, config: dict[str, str], size: tuple[int, int]
) -> None:
    answer = sim.chat("a harbour", model=CHAT_PAINTER, modalities=["image"], image_config=config).json()
    assert picture_in(answer["choices"][0]["message"]["images"][0]["image_url"]["url"]).size == size


def test_a_model_that_writes_and_draws_does_both(sim: Caller) -> None:
    message = sim.chat("a heron", model=TALKING_PAINTER, modalities=["image", "text"]).json()["choices"][0]["message"]
    assert "heron" in message["content"]
    assert len(message["images"]) == 1


def test_a_streamed_picture_arrives_in_one_delta(sim: Caller) -> None:
    chunks = events(sim.stream("a heron at noon", model=TALKING_PAINTER, modalities=["image", "text"]))
    with_images = [chunk for chunk in chunks if chunk["choices"][0]["delta"].get("images")]
    assert len(with_images) == 1
    url = with_images[0]["choices"][0]["delta"]["images"][0]["image_url"]["url"]
    assert picture_in(url).size == (1024, 1024)
    assert "heron" in said(chunks)


def test_a_picture_that_is_sent_along_is_seen_in_the_result(sim: Caller) -> None:
    parts = [
        {"type": "text", "text": "make it warmer"},
        {"type": "image_url", "image_url": {"url": data_url(two_halves())}},
    ]
    body = {"messages": [{"role": "user", "content": parts}], "model": CHAT_PAINTER, "modalities": ["image"]}
    answer = sim.http.post("/chat/completions", json=body).json()
    picture = picture_in(answer["choices"][0]["message"]["images"][0]["image_url"]["url"]).convert("RGB")
    left, right = (picture.getpixel((x, 400)) for x in (200, 824))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > right[0]
    assert left[2] < right[2]


@pytest.mark.parametrize(
    ("model", "modalities"),
    [
        (CHAT_PAINTER, ["image", "text"]),
        (CHAT_PAINTER, None),
        (TALKING_PAINTER, ["image"]),
        ("openai/gpt-5.5", ["image", "text"]),
        (PAINTER, ["image"]),
        ("google/veo-3.1", ["video"]),
    ],
)
def test_the_wrong_set_of_modalities_finds_no_endpoint(sim: Caller, model: str, modalities: list[str] | None) -> None:
    answer = sim.chat("a wrong door", model=model, modalities=modalities)
    assert answer.status_code == 404
    assert "modalities" in answer.json()["error"]["message"]
    assert sim.submits("a wrong door") == []


def test_a_conversation_that_does_not_fit_is_refused(sim: Caller) -> None:
    answer = sim.chat("word " * 20_000, model="meta-llama/llama-3.3-70b-instruct:free")
    assert answer.status_code == 400
    assert answer.json()["error"]["metadata"]["error_type"] == "context_length_exceeded"


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": None},
        {"model": "nobody/nothing"},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"role": "wizard", "content": "hello"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"temperature": 3},
        {"max_tokens": 0},
        {"modalities": "image"},
        {"image_config": {"image_size": "8K"}},
        {"image_config": {"aspect_ratio": "round"}},
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_the_envelope(sim: Caller, wrong: dict[str, object]) -> None:
    answer = sim.http.post("/chat/completions", json={**conversation("hello"), **wrong})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 5000])
def test_a_body_that_is_no_object_is_refused(sim: Caller, body: bytes) -> None:
    assert sim.http.post("/chat/completions", content=body).status_code == 400


def test_hanging_up_on_a_stream_ends_the_work_and_is_charged_for_what_was_said(unhurried: Caller) -> None:
    with unhurried.http.stream(
        "POST", "/chat/completions", json=conversation("Tell me about jade", stream=True)
    ) as out:
        id = out.headers["x-generation-id"]
        for line in out.iter_lines():
            if '"content":"' in line and '"content":""' not in line:
                break
    told = None
    for _ in range(50):
        answer = unhurried.get("/generation", id=id)
        if answer.status_code == 200:
            told = answer.json()["data"]
            break
    assert told is not None
    assert told["cancelled"] is True
    assert 0 < told["tokens_completion"] < 20
