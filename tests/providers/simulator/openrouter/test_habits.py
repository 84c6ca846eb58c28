"""Habits of real providers in chat answers, whole and streamed."""

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from typing import Any

from app.providers.simulator.faults import HABITS
from tests.kit import Cases
from tests.providers.simulator.kit import SimulatorClient, conversation, events, image_in, streamed_text

Json = dict[str, Any]


def function(name: str) -> Json:
    parameters = {"properties": {"city": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TWO_CALLS = {"tools": [function("get_weather"), function("get_time")]}


def message(sim: SimulatorClient, habit: str, prompt: str = "Tell me about flint", **more: Any) -> Json:
    found: Json = sim.chat(f"[upstream:{habit}] {prompt}", **more).json()["choices"][0]["message"]
    return found


def streamed(sim: SimulatorClient, habit: str, prompt: str = "Tell me about flint", **more: Any) -> list[Json]:
    return events(sim.stream(f"[upstream:{habit}] {prompt}", **more))


def deltas(chunks: list[Json]) -> list[Json]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def raw(sim: SimulatorClient, habit: str, *, stream: bool) -> tuple[Any, bytes]:
    """Headers and body as they were sent, for a client that accepts no compression."""
    body = conversation(f"[upstream:{habit}] Reply with exactly: pong", stream=stream)
    with sim.http.stream("POST", "/chat/completions", json=body, headers={"Accept-Encoding": "identity"}) as answer:
        return answer.headers, b"".join(answer.iter_raw())


def sse_data(body: bytes) -> list[str]:
    """The data of all events, read as the standard says."""
    found: list[str] = []
    data: list[str] = []
    for line in body.decode().removeprefix("\ufeff").replace("\r\n", "\n").split("\n"):
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            found.append("\n".join(data))
            data = []
    return found


def test_reasoning_comes_in_messages_and_deltas(sim: SimulatorClient) -> None:
    whole = message(sim, "reasoning", "Use get_weather for Lyon", **TWO_CALLS)
    assert [detail["type"] for detail in whole["reasoning_details"]] == ["reasoning.text", "reasoning.encrypted"]
    assert whole["reasoning"] == whole["reasoning_details"][0]["text"]
    assert whole["tool_calls"]
    chunks = streamed(sim, "reasoning")
    assert "".join(delta.get("reasoning", "") for delta in deltas(chunks)) == whole["reasoning"]
    details = [detail for delta in deltas(chunks) for detail in delta.get("reasoning_details", [])]
    assert details[-1] == whole["reasoning_details"][-1]
    assert chunks[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"] == len(details) - 1


def test_logprobs_come_with_the_text_also_when_they_are_asked_for(sim: SimulatorClient) -> None:
    whole = sim.chat("Tell me about flint", logprobs=True).json()["choices"][0]
    assert "".join(one["token"] for one in whole["logprobs"]["content"]) == whole["message"]["content"]
    for chunks in (streamed(sim, "logprobs"), events(sim.stream("Tell me about flint", logprobs=True))):
        found = [choice["logprobs"] for chunk in chunks for choice in chunk["choices"] if choice.get("logprobs")]
        assert "".join(one["content"][0]["token"] for one in found) == streamed_text(chunks)


def test_there_may_be_several_choices(sim: SimulatorClient) -> None:
    assert len(sim.chat("[upstream:choices] Tell me about flint").json()["choices"]) == 2
    body = sim.chat("Tell me about flint", n=3).json()
    texts = [choice["message"]["content"] for choice in body["choices"]]
    assert len(set(texts)) == 3
    joined = dict.fromkeys(range(3), "")
    finished = []
    chunks = events(sim.stream("Tell me about flint", n=3))
    for chunk in chunks:
        for choice in chunk["choices"]:
            joined[choice["index"]] += choice["delta"].get("content") or ""
            finished += [choice["index"]] if choice["finish_reason"] else []
    assert list(joined.values()) == texts
    assert finished == [0, 1, 2, 0]
    assert chunks[-1]["usage"] == body["usage"]
    for wrong in (0, 9, "2", 1.5):
        assert sim.chat("x", n=wrong).status_code == 400


def test_an_empty_answer_ends_with_the_reason_length(sim: SimulatorClient) -> None:
    body = sim.chat("[upstream:empty] hello").json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["choices"][0]["message"]["content"] == ""
    assert body["usage"]["prompt_tokens"] > 0
    assert streamed_text(streamed(sim, "empty")) == ""


def test_a_refusal_is_in_its_own_field(sim: SimulatorClient) -> None:
    body = sim.chat("[upstream:refusal] hello").json()["choices"][0]
    assert body["finish_reason"] == "content_filter"
    assert body["message"]["content"] is None
    chunks = streamed(sim, "refusal")
    assert "".join(delta.get("refusal", "") for delta in deltas(chunks)) == body["message"]["refusal"] != ""
    assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_an_image_comes_from_a_text_model(sim: SimulatorClient) -> None:
    whole = message(sim, "images")
    assert whole["content"]
    (streamed_image,) = [image for delta in deltas(streamed(sim, "images")) for image in delta.get("images", [])]
    for image in (whole["images"][0], streamed_image):
        assert image_in(image["image_url"]["url"]).size == (1, 1)


def test_an_emoji_is_cut_into_two_escapes(sim: SimulatorClient) -> None:
    assert message(sim, "emoji")["content"] == "Hi 😀 there"
    text = sim.stream("[upstream:emoji] hello")
    assert '"Hi \\ud83d"' in text
    assert '"\\ude00 there"' in text


def test_tool_calls_come_whole_and_without_an_index(sim: SimulatorClient) -> None:
    prompt = "Use get_weather and get_time for Lyon"
    whole = message(sim, "no-index", prompt, **TWO_CALLS)["tool_calls"]
    pieces = [
        delta["tool_calls"] for delta in deltas(streamed(sim, "no-index", prompt, **TWO_CALLS)) if "tool_calls" in delta
    ]
    assert pieces == [[call] for call in whole]
    assert len(whole) == 2
    assert all(set(call) == {"id", "type", "function"} for call in whole)


def test_a_cached_prompt_costs_less(sim: SimulatorClient) -> None:
    cached, plain = (sim.chat(f"{command} on tin").json()["usage"] for command in ("[upstream:cached]", "[slow]"))
    assert cached["prompt_tokens"] - plain["prompt_tokens"] < 4
    assert cached["prompt_tokens_details"]["cached_tokens"] == cached["prompt_tokens"] // 2
    assert (
        cached["cost_details"]["upstream_inference_prompt_cost"]
        < plain["cost_details"]["upstream_inference_prompt_cost"]
    )


def test_numbers_may_be_no_numbers(sim: SimulatorClient) -> None:
    usage = json.loads(sim.chat("[upstream:nan] hello").text)["usage"]
    assert math.isnan(usage["latency"])
    assert math.isinf(usage["tokens_per_second"])
    assert '"latency":NaN' in sim.stream("[upstream:nan] hello")


def test_unknown_fields_come_on_every_level(sim: SimulatorClient) -> None:
    table: list[Json] = [
        sim.chat("[upstream:unknown] Use get_weather for Lyon", **TWO_CALLS).json(),
        *streamed(sim, "unknown", "Use get_weather for Lyon", **TWO_CALLS),
    ]

    def objects(value: Any) -> Iterator[Json]:
        if isinstance(value, dict):
            yield value
        parts = value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
        for part in parts:
            yield from objects(part)

    for content in table:
        assert all("x_unknown" in found or "deep" in found or "list" in found for found in objects(content))


def test_a_fingerprint_comes_in_each_chunk(sim: SimulatorClient) -> None:
    assert sim.chat("[upstream:fingerprint] hello").json()["system_fingerprint"] == "fp_simulated"
    assert all(chunk["system_fingerprint"] == "fp_simulated" for chunk in streamed(sim, "fingerprint"))


def test_events_are_written_in_every_way_that_the_standard_allows(sim: SimulatorClient) -> None:
    headers, body = raw(sim, "sse", stream=True)
    assert headers["content-type"] == "text/event-stream"
    assert body.startswith(b"\xef\xbb\xbfdata:{")
    assert b"\n" not in body.replace(b"\r\n", b"")
    for sign in (
        b"\r\n: comment\r\n",
        b"\r\nevent: message\r\n",
        b"\r\nretry: 3000\r\n",
        b"\r\ndata: {\r\ndata:",
        b"\r\n\r\n\r\n",
    ):
        assert sign in body
    *chunks, end = sse_data(body)
    assert end == " [DONE] "
    assert streamed_text([json.loads(chunk) for chunk in chunks]) == "pong"
    assert json.loads(chunks[-1])["usage"]["cost"] > 0


def test_an_error_event_ends_the_stream(sim: SimulatorClient) -> None:
    text = sim.stream("[upstream:error-event] Tell me about flint")
    before, mark, after = text.partition("event: error\n")
    assert mark
    assert streamed_text(events(before))
    assert events(after) == [{"error": {"message": "Upstream error", "type": "server_error", "code": 502}}]
    assert "[DONE]" not in text


def test_answers_are_compressed_without_being_asked(sim: SimulatorClient) -> None:
    headers, body = raw(sim, "gzip", stream=False)
    assert headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(body))["choices"][0]["message"]["content"] == "pong"
    headers, body = raw(sim, "gzip", stream=True)
    assert headers["content-encoding"] == "gzip"
    assert streamed_text(events(zlib.decompress(body, wbits=31).decode())) == "pong"


def test_an_error_event_is_also_written_in_every_way(sim: SimulatorClient) -> None:
    body = sim.stream("[upstream:sse] [upstream:error-event] Tell me about flint").encode()
    assert b'\r\n\r\nevent: error\r\ndata: {"error"' in body
    assert json.loads(sse_data(body)[-1])["error"]["code"] == 502


def test_habits_combine_with_each_other_and_with_faults(sim: SimulatorClient) -> None:
    everything = " ".join(f"[upstream:{habit}]" for habit in HABITS)
    with Cases() as cases:
        for fault in ("", "[cut]", "[error-in-stream]", "[error-first]", "[error-200]", "[no-cost]"):
            for stream in (True, False):
                with cases.case(fault, stream):
                    if not (fault == "[cut]" and not stream):
                        assert sim.chat(f"{everything} {fault}", stream=stream).status_code == 200
