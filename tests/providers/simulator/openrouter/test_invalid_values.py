"""Invalid values in any field give a proper error response: a crash of the simulator would hide errors of its clients."""

from typing import Any

from tests.kit import Cases
from tests.providers.simulator.kit import (
    EMBEDDING_MODEL,
    IMAGE_MODEL,
    SPEECH_MODEL,
    STREAMING_IMAGE_MODEL,
    TEXT_MODEL,
    TRANSCRIPTION_MODEL,
    SimulatorClient,
)

INVALID: tuple[Any, ...] = (
    *(None, -1, 1.5, 10**18, True, "x", "1:0", [], {"a": {}}, [[]], [None]),
    *({"url": 3}, [{"type": "image_url", "image_url": "x", "frame_type": "first_frame"}]),
    [{"type": "image_url", "image_url": {"url": {}}, "frame_type": "first_frame"}],
)

CHAT = {"model": TEXT_MODEL, "messages": [{"role": "user", "content": "hello"}]}
# A model that answers with text renders nothing, and a video is not rendered until it is downloaded: requests are cheap here.
IMAGE = {"model": IMAGE_MODEL, "prompt": "[text-only]"}
OLD = {"model": STREAMING_IMAGE_MODEL, "prompt": "[text-only] [generations]"}
# This model constrains next to nothing.
VIDEO = {"model": "alibaba/wan-2.6", "prompt": "hello"}
EMBEDDINGS = {"model": EMBEDDING_MODEL, "input": "hello"}
SPEECH = {"model": SPEECH_MODEL, "input": "hello"}
TRANSCRIPTION = {
    "model": TRANSCRIPTION_MODEL,
    "input_audio": {"data": "AAAA", "format": "pcm"},
    "response_format": "verbose_json",
}

FIELDS = {
    "/chat/completions": (
        *("model", "messages", "stream", "modalities", "image_config", "temperature", "max_tokens", "seed"),
        *("response_format", "tools", "stop", "n", "logprobs"),
    ),
    "/images": (
        *("model", "prompt", "n", "size", "aspect_ratio", "resolution", "quality", "seed", "input_references"),
        *("stream", "output_format", "output_compression", "background"),
    ),
    "/images/generations": ("model", "prompt", "n", "size", "quality", "response_format"),
    "/videos": (
        *("model", "prompt", "duration", "resolution", "aspect_ratio", "size", "frame_images", "input_references"),
        *("generate_audio", "seed", "callback_url"),
    ),
    "/embeddings": ("model", "input", "dimensions", "encoding_format"),
    "/audio/speech": ("model", "input", "voice", "response_format", "speed"),
    "/audio/transcriptions": (
        *("model", "input_audio", "response_format", "language", "prompt", "keyterms", "timestamp_granularities"),
    ),
    "/moderations": ("model", "input"),
}


def test_no_value_of_any_field_causes_a_server_error(sim: SimulatorClient) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/chat/completions": CHAT,
        "/images": IMAGE,
        "/images/generations": OLD,
        "/videos": VIDEO,
        "/embeddings": EMBEDDINGS,
        "/audio/speech": SPEECH,
        "/audio/transcriptions": TRANSCRIPTION,
        "/moderations": {"input": "hello"},
    }
    with Cases() as cases:
        for path, body in bodies.items():
            for field in FIELDS[path]:
                for value in INVALID:
                    if field == "prompt" and isinstance(value, str):
                        value = f"[text-only] {value}"
                    with cases.case(path, field, value):
                        answer = sim.http.post(path, json={**body, field: value})
                        assert answer.status_code < 500, answer.text


def test_no_message_causes_a_server_error(sim: SimulatorClient) -> None:
    with Cases() as cases:
        for part in INVALID:
            for message in (part, {"role": "user", "content": part}, {"role": part, "content": "x"}):
                with cases.case(message):
                    body = {**CHAT, "messages": [message]}
                    assert sim.http.post("/chat/completions", json=body).status_code < 500


def test_no_query_causes_a_server_error(sim: SimulatorClient) -> None:
    table: list[str] = ["q=%00", "output_modalities=%2C", "limit=1e3", "offset=9999999999999999999999", "q=a&q=b"]
    with Cases() as cases:
        for query in table:
            with cases.case(query):
                assert sim.anonymous.get(f"{sim.origin}/api/v1/models?{query}").status_code < 500
