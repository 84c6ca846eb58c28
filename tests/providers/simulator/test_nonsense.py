"""Whatever stands in a field, the answer is a plain yes or no: a provider that breaks would hide the client's own faults."""

from typing import Any

import pytest

from tests.providers.simulator.caller import PAINTER, STREAMING_PAINTER, WRITER, Caller

NONSENSE: tuple[Any, ...] = (
    *(None, -1, 1.5, 10**18, True, "x", "1:0", [], {"a": {}}, [[]], [None]),
    *({"url": 3}, [{"type": "image_url", "image_url": "x", "frame_type": "first_frame"}]),
    [{"type": "image_url", "image_url": {"url": {}}, "frame_type": "first_frame"}],
)

CHAT = {"model": WRITER, "messages": [{"role": "user", "content": "hello"}]}
# A model that answers in words draws nothing, and a clip is not filmed until it is fetched: nonsense costs no time here.
IMAGE = {"model": PAINTER, "prompt": "[words-only]"}
OLD = {"model": STREAMING_PAINTER, "prompt": "[words-only] [generations]"}
# This model constrains next to nothing.
VIDEO = {"model": "alibaba/wan-2.6", "prompt": "hello"}

FIELDS = {
    "/chat/completions": (
        *("model", "messages", "stream", "modalities", "image_config", "temperature", "max_tokens", "seed"),
        *("response_format", "tools", "stop"),
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
}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", CHAT),
        ("/images", IMAGE),
        ("/images/generations", OLD),
        ("/videos", VIDEO),
    ],
)
def test_no_value_of_any_field_breaks_it(sim: Caller, path: str, body: dict[str, Any]) -> None:
    broken = []
    for field in FIELDS[path]:
        for value in NONSENSE:
            answer = sim.http.post(path, json={**body, field: value})
            if answer.status_code >= 500:
                broken.append((field, value, answer.text))
    assert broken == []


@pytest.mark.parametrize("part", NONSENSE)
def test_no_message_breaks_it(sim: Caller, part: Any) -> None:
    for message in (part, {"role": "user", "content": part}, {"role": part, "content": "x"}):
        body = {**CHAT, "messages": [message]}
        assert sim.http.post("/chat/completions", json=body).status_code < 500


@pytest.mark.parametrize(
    "query", ["q=%00", "output_modalities=%2C", "limit=1e3", "offset=9999999999999999999999", "q=a&q=b"]
)
def test_no_query_breaks_it(sim: Caller, query: str) -> None:
    assert sim.stranger.get(f"{sim.origin}/api/v1/models?{query}").status_code < 500
