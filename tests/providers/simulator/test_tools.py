"""Functions that a request puts at a model's disposal: when one is called, with what, and what is said of its result."""

import json
from typing import Any

import pytest

from tests.providers.simulator.caller import CHAT_PAINTER, Caller, Json, conversation, events

Body = dict[str, Any]


def function(name: str, **properties: Json) -> Json:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "For tests.", "parameters": parameters}}


WEATHER = function("get_weather", city={"type": "string"}, unit={"type": "string", "enum": ["celsius", "kelvin"]})
CLOCK = function("get_time", city={"type": "string"}, hours={"type": "integer", "minimum": 2, "maximum": 24})
ASKED = "What is the weather like in Paris?"


def calls(answer: Body) -> list[Json]:
    found: list[Json] = answer["choices"][0]["message"]["tool_calls"]
    return found


def arguments(call: Json) -> Json:
    found: Json = json.loads(call["function"]["arguments"])
    return found


def test_a_model_that_must_call_a_function_calls_it_with_arguments_of_its_schema(sim: Caller) -> None:
    answer = sim.chat(ASKED, tools=[WEATHER], tool_choice="required").json()
    choice = answer["choices"][0]
    assert choice["finish_reason"] == choice["native_finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = calls(answer)
    assert set(call) == {"id", "type", "function"}
    assert call["id"].startswith("call_")
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert arguments(call) == {"city": "Paris", "unit": "celsius"}
    assert answer["usage"]["completion_tokens"] > 0
    assert answer["usage"]["cost"] > 0


def test_the_function_that_is_named_in_the_choice_is_called(sim: Caller) -> None:
    choice = {"type": "function", "function": {"name": "get_time"}}
    (call,) = calls(sim.chat(ASKED, tools=[WEATHER, CLOCK], tool_choice=choice).json())
    assert call["function"]["name"] == "get_time"
    assert arguments(call) == {"city": "Paris", "hours": 2}


@pytest.mark.parametrize("said", ["Use get_weather for Lyon", "Please get weather for Lyon"])
def test_of_its_own_accord_a_model_calls_what_the_prompt_names(sim: Caller, said: str) -> None:
    (call,) = calls(sim.chat(said, tools=[CLOCK, WEATHER]).json())
    assert (call["function"]["name"], arguments(call)["city"]) == ("get_weather", "Lyon")


def test_several_functions_are_called_at_once_unless_that_is_forbidden(sim: Caller) -> None:
    both = "Use get_weather and get_time for Lyon"
    found = calls(sim.chat(both, tools=[WEATHER, CLOCK]).json())
    assert [call["function"]["name"] for call in found] == ["get_weather", "get_time"]
    assert len({call["id"] for call in found}) == 2
    assert len(calls(sim.chat(both, tools=[WEATHER, CLOCK], parallel_tool_calls=False).json())) == 1


@pytest.mark.parametrize("choice", ["none", "auto", None])
def test_a_model_that_need_not_call_anything_answers_in_words(sim: Caller, choice: str | None) -> None:
    choice_made = sim.chat(ASKED, tools=[WEATHER], tool_choice=choice).json()["choices"][0]
    assert choice_made["finish_reason"] == "stop"
    assert "weather" in choice_made["message"]["content"]
    assert "tool_calls" not in choice_made["message"]


def test_a_streamed_call_arrives_in_pieces_that_make_the_same_call(sim: Caller) -> None:
    tools = {"tools": [WEATHER, CLOCK], "tool_choice": "auto"}
    both = "Use get_weather and get_time for Lyon"
    whole = calls(sim.chat(both, **tools).json())
    chunks = events(sim.stream(both, **tools))
    joined: dict[int, Json] = {}
    for chunk in chunks:
        for piece in chunk["choices"][0]["delta"].get("tool_calls", []):
            if "id" in piece:
                assert set(piece) == {"index", "id", "type", "function"}
                joined[piece["index"]] = {"id": piece["id"], "type": piece["type"], "function": piece["function"]}
            else:
                joined[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    assert list(joined.values()) == whole
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:]] == ["tool_calls", "tool_calls"]
    assert len(chunks) > 6
    assert chunks[-1]["usage"]["cost"] > 0
    assert all(not chunk["choices"][0]["delta"].get("content") for chunk in chunks)


def test_results_that_come_back_are_said_in_words(sim: Caller) -> None:
    first = sim.chat("Use get_weather for Lyon", tools=[WEATHER]).json()["choices"][0]["message"]
    messages = [
        {"role": "user", "content": "Use get_weather for Lyon"},
        first,
        {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "18 degrees, drizzle"},
    ]
    choice = sim.http.post("/chat/completions", json={**conversation("-"), "messages": messages, "tools": [WEATHER]})
    assert choice.json()["choices"][0]["finish_reason"] == "stop"
    assert "18 degrees, drizzle" in choice.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("fault", ["cut", "error-in-stream"])
def test_a_streamed_call_can_break_off_like_words(sim: Caller, fault: str) -> None:
    text = sim.stream(f"[{fault}] Use get_weather for Nice", tools=[WEATHER])
    assert "tool_calls" in text
    assert "[DONE]" not in text


def test_arguments_follow_every_kind_of_schema(sim: Caller) -> None:
    tool = function(
        "book",
        when={"type": "string", "const": "tonight"},
        seats={"type": "integer"},
        price={"type": "number", "maximum": 2.5},
        vegan={"type": "boolean"},
        nothing={"type": "null"},
        maybe={"type": ["null", "boolean"]},
        tags={"type": "array", "items": {"type": "string", "default": "quiet"}},
        guest={"type": "object", "properties": {"name": {"type": "string"}}},
    )
    (call,) = calls(sim.chat("a table for 4, please, says Ann", tools=[tool], tool_choice="required").json())
    assert arguments(call) == {
        "when": "tonight",
        "seats": 4,
        "price": 2.5,
        "vegan": True,
        "nothing": None,
        "maybe": True,
        "tags": ["quiet"],
        "guest": {"name": "Ann"},
    }


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}, {"properties": 3}])
def test_a_function_without_arguments_is_called_without_any(sim: Caller, parameters: object) -> None:
    tool = {"type": "function", "function": {"name": "ping", "parameters": parameters}}
    (call,) = calls(sim.chat("hello", tools=[tool], tool_choice="required").json())
    assert arguments(call) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"tools": "get_weather"},
        {"tools": [3]},
        {"tools": [{"type": "function"}]},
        {"tools": [{"type": "magic", "function": {"name": "x"}}]},
        {"tools": [{"type": "function", "function": {"name": "two words"}}]},
        {"tools": [{"type": "function", "function": {"name": "x", "parameters": []}}]},
        {"tools": [WEATHER], "tool_choice": "get_weather"},
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "get_time"}}},
        {"tools": [WEATHER], "tool_choice": 3},
        {"tools": [], "tool_choice": "required"},
        {"messages": [{"role": "tool", "content": "18 degrees"}]},
    ],
)
def test_tools_that_make_no_sense_are_refused(sim: Caller, wrong: Json) -> None:
    answer = sim.http.post("/chat/completions", json={**conversation("hello"), **wrong})
    assert answer.status_code == 400
    assert "tool" in answer.json()["error"]["message"]


def test_a_model_without_tools_finds_no_endpoint(sim: Caller) -> None:
    for model, more in (("meta-llama/llama-3.3-70b-instruct:free", {}), (CHAT_PAINTER, {"modalities": ["image"]})):
        answer = sim.chat("tools where there are none", model=model, tools=[WEATHER], **more)
        assert answer.status_code == 404
        assert "tool use" in answer.json()["error"]["message"]
    assert sim.submits("tools where there are none") == []
