"""What a caller sends to `/v1/chat/completions` reaches the provider as it is, and what the provider answers reaches the caller as
it came, whole and streamed."""

import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.conftest import MODEL
from tests.kit import TEXT_MODEL, Cases, Json, encoded_mp4, new_user, png
from tests.providers.fake_upstream import Reply, Upstream, error, joined, js, sse
from tests.studio import Studio

PATH = "/api/v1/chat/completions"
USER: Json = {"role": "user", "content": "Hello"}
USAGE: Json = {
    "prompt_tokens": 5,
    "completion_tokens": 7,
    "total_tokens": 12,
    "cost": 0.000019,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 4},
}


def answer(message: Json | None = None, finish: str = "stop", **more: Any) -> Json:
    return {
        "id": "gen-1",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", **(message or {})},
                "finish_reason": finish,
                **more,
            }
        ],
        "usage": USAGE,
    }


def event(delta: Json, finish: str | None = None, **more: Any) -> Json:
    return {
        "id": "gen-1",
        "object": "chat.completion.chunk",
        "created": 1_800_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


END = event({"content": ""}, "stop", usage=USAGE)


def body(**more: Any) -> Json:
    return {"model": MODEL, "messages": [USER], **more}


async def ask(caller: httpx.AsyncClient, content: Json, **headers: str) -> httpx.Response:
    return await caller.post("/v1/chat/completions", json=content, headers=headers)


async def events_of(caller: httpx.AsyncClient, content: Json) -> list[Any]:
    """The JSON of the events of a streamed answer; the last is the text `[DONE]`."""
    streamed = await ask(caller, {**content, "stream": True})
    assert streamed.status_code == 200, streamed.text
    data = [line.removeprefix("data: ") for line in streamed.text.split("\n") if line.startswith("data: ")]
    return [json.loads(item) if item != "[DONE]" else item for item in data]


def sent(scripted: Upstream) -> Json:
    """The only request that reached the provider."""
    content: Json = scripted.only("POST", PATH).json
    return content


# The request

TURNS: dict[str, list[Json]] = {
    "an empty tool result": [
        USER,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": ""},
    ],
    "an empty system prompt": [{"role": "system", "content": ""}, USER],
    "a blank message": [{"role": "user", "content": "  "}],
    "no content": [{"role": "assistant", "content": None, "refusal": "no"}, USER],
    "an empty list of parts": [{"role": "user", "content": []}, USER],
    "a cached part": [
        {
            "role": "system",
            "content": [{"type": "text", "text": "Long", "cache_control": {"type": "ephemeral"}}],
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
        USER,
    ],
    "reasoning of the turn before": [
        USER,
        {
            "role": "assistant",
            "content": "",
            "reasoning": "Let me think",
            "reasoning_details": [{"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "r1", "index": 0}],
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra": 1}],
        },
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "4"}], "name": "f"},
    ],
    "an image by its address": [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}],
        }
    ],
    "sound and a file": [
        {
            "role": "user",
            "content": [
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
            ],
        }
    ],
    "a part of a type from the future": [{"role": "user", "content": [{"type": "smell", "smell": {"of": "rain"}}]}],
    "a role from the future": [{"role": "critic", "content": "Hm"}, USER],
    "what OpenAI's older format has": [USER, {"role": "function", "name": "f", "content": "4"}],
}
FIELDS: Json = {
    "n": 2,
    "seed": 7,
    "stop": ["a", "b"],
    "temperature": 5,
    "max_tokens": 10**6,
    "max_completion_tokens": 10,
    "reasoning_effort": "xhigh",
    "reasoning": {"effort": "max", "exclude": False},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "parallel_tool_calls": False,
    "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "web_search", "max_results": 1}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "service_tier": "flex",
    "prediction": {"type": "content", "content": "Hello"},
    "user": "a user",
    "metadata": {"a": "b"},
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 3,
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"},
    "provider": {"order": ["someone"], "allow_fallbacks": False},
    "plugins": [{"id": "web"}],
    "models": ["tests/other"],
    "a field from the future": {"deep": [1, {"er": None}]},
    "stream_options": {"include_usage": True, "include_obfuscation": False},
}


async def test_every_kind_of_turn_reaches_the_provider_as_it_is(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    with Cases() as cases:
        for name, messages in TURNS.items():
            for streamed in (False, True):
                scripted.on("POST", PATH, sse(event({"content": "Hi"}), END) if streamed else js(answer()))
                scripted.requests.clear()
                with cases.case((name, streamed)):
                    result = await ask(caller, body(messages=messages, stream=streamed))
                    assert result.status_code == 200, result.text
                    assert sent(scripted)["messages"] == messages


async def test_every_field_reaches_the_provider_as_it_is(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    scripted.on("POST", PATH, js(answer()))
    result = await ask(caller, body(**FIELDS))
    assert result.status_code == 200, result.text
    assert sent(scripted) == body(**FIELDS)


async def test_input_that_the_model_cannot_read_is_refused_before_it_is_sent(atelier: Studio) -> None:
    user = await new_user(atelier)
    part = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    content = {"model": TEXT_MODEL, "messages": [{"role": "user", "content": [part]}]}
    result = await ask(user, content)
    assert result.status_code == 400
    assert "does not accept audio input" in result.json()["error"]["message"]


async def test_what_would_be_dangerous_is_refused(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    scripted.on("POST", PATH, js(answer()))
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    wrong: dict[str, Json] = {
        "no messages": {"model": MODEL},
        "an empty list": body(messages=[]),
        "no list": body(messages="Hello"),
        "no object": body(messages=["Hello"]),
        "no role": body(messages=[{"content": "Hello"}]),
        "no model": {"messages": [USER]},
        "no flag": body(stream="maybe"),
        "nested too deeply": body(extra=deep),
    }
    with Cases() as cases:
        for name, content in wrong.items():
            with cases.case(name):
                assert (await ask(caller, content)).status_code == 400
    assert scripted.received("POST", PATH) == []


async def test_an_image_of_ours_is_sent_with_its_content(
    caller: httpx.AsyncClient, scripted: Upstream, scripted_studio: Studio, tmp_path: Path
) -> None:
    scripted.on("POST", PATH, js(answer()))
    uploaded = await caller.post("/api/v1/assets", files={"file": ("a.png", png(), "image/png")})
    url = uploaded.json()["url"]
    with Cases() as cases:
        for address in (url, f"{scripted_studio.program.settings.public_url}{url}"):
            scripted.requests.clear()
            part = {"type": "image_url", "image_url": {"url": address, "detail": "high"}}
            with cases.case(address):
                result = await ask(caller, body(messages=[{"role": "user", "content": [part]}]))
                assert result.status_code == 200, result.text
                [image] = sent(scripted)["messages"][0]["content"]
                assert image["image_url"]["url"].startswith("data:image/png;base64,")
                assert image["image_url"]["detail"] == "high"
        video = await caller.post(
            "/api/v1/assets", files={"file": ("a.mp4", encoded_mp4(tmp_path / "a.mp4"), "video/mp4")}
        )
        for address in (f"/media/{'0' * 32}", video.json()["url"]):
            part = {"type": "image_url", "image_url": {"url": address}}
            with cases.case(address):
                result = await ask(caller, body(messages=[{"role": "user", "content": [part]}]))
                assert result.status_code == 400
                assert "is not an image in your library" in result.json()["error"]["message"]


# The answer

ANSWERS: dict[str, Json] = {
    "text": answer(),
    "reasoning": answer({"reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]}),
    "tool calls": answer({"content": None, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f"}}]}),
    "an empty text": answer({"content": ""}, "length"),
    "no text": answer({"content": None}),
    "a refusal": answer({"content": None, "refusal": "I cannot help with that."}),
    "a filtered text": answer({"content": ""}, "content_filter"),
    "images": answer({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}),
    "log probabilities": answer(logprobs={"content": [{"token": "Hi", "logprob": -0.1, "top_logprobs": []}]}),
    "a fingerprint": {**answer(), "system_fingerprint": "fp_1", "service_tier": "flex", "provider": "Someone"},
    "two choices": {**answer(), "choices": [*answer()["choices"], {"index": 1, "message": {"content": "Ho"}}]},
    "fields from the future": answer({"mood": {"is": "good"}}, another=[1, None, {"a": 2.5}]),
    "sound": answer({"audio": {"id": "a", "data": "UklGRg==", "transcript": "Hi", "expires_at": 1}}),
}


async def test_a_whole_answer_reaches_the_caller_as_it_came(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    with Cases() as cases:
        for name, given_answer in ANSWERS.items():
            scripted.on("POST", PATH, js(given_answer))
            with cases.case(name):
                result = await ask(caller, body())
                assert result.status_code == 200, result.text
                assert result.json() == given_answer
                assert result.headers["x-atelier-cost-usd"] == "0.000019"


async def test_a_text_in_parts_is_given_as_one(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    scripted.on("POST", PATH, js(answer({"content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]})))
    assert (await ask(caller, body())).json() == answer()


STREAMS: dict[str, list[Json]] = {
    "text": [event({"role": "assistant", "content": ""}), event({"content": "H"}), event({"content": "i"}), END],
    "log probabilities": [
        {**event({"content": "H"}), "choices": [{"index": 0, "delta": {"content": "H"}, "logprobs": {"content": []}}]},
        END,
    ],
    "reasoning": [event({"reasoning_details": [{"type": "reasoning.text", "text": "Hm", "index": 0}]}), END],
    "tool calls": [
        event({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        event({}, "tool_calls", usage=USAGE),
    ],
    "an empty text": [event({"content": ""}, "length", usage=USAGE)],
    "a refusal": [event({"refusal": "No"}), END],
    "a filtered text": [event({"content": "H"}), event({}, "content_filter", usage=USAGE)],
    "two choices": [
        {**event({}), "choices": [{"index": 1, "delta": {"content": "Ho"}}, {"index": 0, "delta": {"content": "Hi"}}]},
        END,
    ],
    "fields from the future": [event({"content": "Hi", "mood": 1}, system_fingerprint="fp", odd=[None]), END],
}


async def test_a_streamed_answer_reaches_the_caller_event_by_event_as_it_came(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    with Cases() as cases:
        for name, stream in STREAMS.items():
            for reply in (sse(*stream), joined(sse(*stream))):
                scripted.on("POST", PATH, reply)
                with cases.case(name):
                    assert await events_of(caller, body()) == [*stream, "[DONE]"]


async def test_the_index_of_a_tool_call_is_supplied(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    def call(id: str | None, arguments: str) -> Json:
        return {"function": {"arguments": arguments}, **({"id": id} if id else {})}

    first = [call("a", ""), call("b", "")]
    scripted.on(
        "POST",
        PATH,
        sse(event({"tool_calls": first}), event({"tool_calls": [call(None, "{}")]}), event({}, "tool_calls")),
    )
    found = await events_of(caller, body())
    indexes = [[call["index"] for call in item["choices"][0]["delta"]["tool_calls"]] for item in found[:2]]
    assert indexes == [[0, 1], [1]]


async def test_usage_without_a_choice_is_given_to_who_asked_for_it(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    usage = {**event({}), "choices": [], "usage": USAGE}
    scripted.on("POST", PATH, sse(event({"content": "Hi"}), event({}, "stop"), usage))
    assert (await events_of(caller, body()))[-2]["choices"] != []
    asked = await events_of(caller, body(stream_options={"include_usage": True}))
    assert asked[-2:] == [usage, "[DONE]"]


async def test_a_provider_that_does_not_stream_is_given_as_a_stream(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    scripted.on("POST", PATH, js(answer({"tool_calls": calls}, "tool_calls")))
    only, done = await events_of(caller, body())
    assert done == "[DONE]"
    assert only["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **calls[0]}]
    assert only["choices"][0]["finish_reason"] == "tool_calls"


RAW_STREAMS: dict[str, bytes] = {
    "comments, blank lines and carriage returns": (
        b": OPENROUTER PROCESSING\r\n\r\n\r\ndata: %b\r\n\r\n: ping\n\ndata:%b\n\nid: 7\nretry: 10\n\ndata: [DONE]\n\n"
    ),
    "a byte order mark": b"\xef\xbb\xbfdata: %b\n\ndata: %b\n\ndata: [DONE]\n\n",
    "a marker with spaces": b"data: %b\n\ndata: %b\n\ndata:  [DONE] \n\n",
    "carriage returns only": b"data: %b\r\rdata: %b\r\rdata: [DONE]\r\r",
    "no blank line at the end": b"data: %b\n\ndata: %b\n\ndata: [DONE]",
}


def _raw(text: str) -> bytes:
    return RAW_STREAMS[text] % (msgspec.json.encode(event({"content": "Hi"})), msgspec.json.encode(END))


def _stream(*pieces: bytes) -> Reply:
    return Reply(headers={"Content-Type": "text/event-stream"}, pieces=pieces, chunked=True)


async def test_a_stream_is_read_as_the_standard_says(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    with Cases() as cases:
        for name in RAW_STREAMS:
            scripted.on("POST", PATH, _stream(_raw(name)))
            with cases.case(name):
                assert await events_of(caller, body()) == [event({"content": "Hi"}), END, "[DONE]"]


async def test_numbers_that_are_no_json_become_null_and_cut_characters_are_joined(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    first = json.dumps(event({"content": "Hi "})).replace("Hi ", "Hi \\ud83d")
    second = json.dumps(event({"content": " there"})).replace(" there", "\\ude00 there")
    third = json.dumps(event({}, "stop", usage={"total_tokens": 3, "speed": 1})).replace('"speed": 1', '"speed": NaN')
    stream = "".join(f"data: {item}\n\n" for item in (first, second, third)) + "data: [DONE]\n\n"
    scripted.on("POST", PATH, _stream(stream.encode()))
    *texts, last, _ = await events_of(caller, body())
    assert "".join(item["choices"][0]["delta"]["content"] for item in texts) == "Hi 😀 there"
    assert last["usage"] == {"total_tokens": 3, "speed": None}
    scripted.on("POST", PATH, Reply(headers={"Content-Type": "application/json"}, pieces=(third.encode(),)))
    whole = json.dumps(answer()).replace('"cost": 1.9e-05', '"cost": -Infinity').encode()
    scripted.on("POST", PATH, Reply(headers={"Content-Type": "application/json"}, pieces=(whole,)))
    result = await ask(caller, body())
    assert result.status_code == 200, result.text
    assert result.json()["usage"]["cost"] is None


async def test_an_error_in_a_stream_loses_nothing_before_it(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    for broken in (
        {**event({}, "error"), "error": {"code": 502, "message": "overloaded"}},
        'event: error\ndata: {"error": {"message": "no"}}',
    ):
        scripted.on("POST", PATH, joined(sse(event({"content": "Hi"}), broken)))
        first, failure, done = await events_of(caller, body())
        assert first == event({"content": "Hi"})
        assert "failed while responding" in failure["error"]["message"]
        assert done == "[DONE]"


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(RAW_STREAMS)),
    cuts=st.lists(st.integers(min_value=1, max_value=700), max_size=12, unique=True),
)
async def test_any_split_of_a_stream_gives_the_same_answer(
    caller: httpx.AsyncClient, scripted: Upstream, name: str, cuts: list[int]
) -> None:
    content = _raw(name)
    edges = [0, *sorted(cut for cut in cuts if cut < len(content)), len(content)]
    pieces = [content[start:end] for start, end in itertools.pairwise(edges)]
    scripted.on("POST", PATH, _stream(*pieces))
    assert await events_of(caller, body()) == [event({"content": "Hi"}), END, "[DONE]"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
UNKNOWN = st.dictionaries(st.text(min_size=1, max_size=12).map("x_".__add__), JSON, max_size=4)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=UNKNOWN, message=UNKNOWN, part=UNKNOWN, reply=UNKNOWN, delta=UNKNOWN)
async def test_unknown_fields_survive_both_ways(
    caller: httpx.AsyncClient,
    scripted: Upstream,
    request: Json,
    message: Json,
    part: Json,
    reply: Json,
    delta: Json,
) -> None:
    content = body(
        **request, messages=[{"role": "user", "content": [{"type": "text", "text": "Hi", **part}], **message}]
    )
    scripted.requests.clear()
    scripted.on("POST", PATH, js({**answer(delta), **reply}))
    result = await ask(caller, content)
    assert result.status_code == 200, result.text
    assert sent(scripted) == content
    assert result.json() == {**answer(delta), **reply}
    stream = [event(delta, **reply), END]
    scripted.on("POST", PATH, sse(*stream))
    assert await events_of(caller, content) == [*stream, "[DONE]"]


# Failures


async def test_a_conversation_that_is_too_long_is_named(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    with Cases() as cases:
        for message in ("This endpoint's maximum context length is 8000 tokens.", "prompt is too long: 9 > 8"):
            scripted.on("POST", PATH, error(400, message))
            for streamed in (False, True):
                with cases.case((message, streamed)):
                    result = await ask(caller, body(stream=streamed))
                    assert result.status_code == 400
                    assert result.json()["error"]["code"] == "context_length_exceeded"
                    assert "too long" in result.json()["error"]["message"]


async def test_what_the_provider_rejects_is_reported_in_its_words_without_addresses(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    scripted.on(
        "POST", PATH, error(400, "tools.0 is wrong, see https://x.example/a?key=1 and /srv/app/main.py secret-key")
    )
    result = await ask(caller, body(tools=[1]))
    assert result.status_code == 400
    message = result.json()["error"]["message"]
    assert "tools.0 is wrong" in message
    assert not any(part in message for part in ("x.example", "main.py", "secret-key"))


async def test_a_busy_provider_is_a_429_with_its_retry_after_and_may_be_asked_again(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    scripted.on("POST", PATH, error(429, "Rate limit exceeded", Retry_After="1800"))
    with Cases() as cases:
        for streamed in (False, True):
            with cases.case(streamed):
                result = await ask(caller, body(stream=streamed))
                assert result.status_code == 429
                assert result.headers["retry-after"] == "1800"
                assert result.headers["x-should-retry"] == "true"
                assert result.json()["error"]["type"] == "rate_limit_error"
    own = await caller.post("/api/v1/ai/chat", json=body())
    assert own.status_code == 502
    assert own.headers["retry-after"] == "1800"
    assert own.json()["error"]["details"]["retry_after"] == 1800


# Repeated requests


async def test_a_repeated_request_gets_the_same_answer_with_all_its_fields(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    scripted.on("POST", PATH, js(ANSWERS["reasoning"]), js(answer({"content": "another"})))
    first = await ask(caller, body(), **{"Idempotency-Key": "the same"})
    second = await ask(caller, body(), **{"Idempotency-Key": "the same"})
    assert first.json() == second.json() == ANSWERS["reasoning"]
    assert len(scripted.received("POST", PATH)) == 1


async def test_only_what_may_have_been_carried_out_is_replayed(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    scripted.on("POST", PATH, error(429, "Rate limit exceeded", Retry_After="1800"), js(answer()))
    headers = {"Idempotency-Key": "asked twice"}
    assert (await ask(caller, body(), **headers)).status_code == 429
    assert (await ask(caller, body(), **headers)).json() == answer()
    assert (await ask(caller, body(), **headers)).json() == answer()
    assert len(scripted.received("POST", PATH)) == 2
