"""Tools: when one is called, with which arguments, and how its result is used."""

import json
from typing import Any

from tests.kit import Cases
from tests.providers.simulator.kit import CHAT_IMAGE_MODEL, Json, SimulatorClient, conversation, events

Body = dict[str, Any]


def function(name: str, **properties: Json) -> Json:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "For tests.", "parameters": parameters}}


WEATHER = function("get_weather", city={"type": "string"}, unit={"type": "string", "enum": ["celsius", "kelvin"]})
CLOCK = function("get_time", city={"type": "string"}, hours={"type": "integer", "minimum": 2, "maximum": 24})
PROMPT = "What is the weather like in Paris?"


def calls(answer: Body) -> list[Json]:
    found: list[Json] = answer["choices"][0]["message"]["tool_calls"]
    return found


def arguments(call: Json) -> Json:
    found: Json = json.loads(call["function"]["arguments"])
    return found


def test_a_required_tool_is_called_with_arguments_of_its_schema(sim: SimulatorClient) -> None:
    answer = sim.chat(PROMPT, tools=[WEATHER], tool_choice="required").json()
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


def test_the_tool_named_in_tool_choice_is_called(sim: SimulatorClient) -> None:
    choice = {"type": "function", "function": {"name": "get_time"}}
    (call,) = calls(sim.chat(PROMPT, tools=[WEATHER, CLOCK], tool_choice=choice).json())
    assert call["function"]["name"] == "get_time"
    assert arguments(call)["city"] == "Paris"
    assert 2 <= arguments(call)["hours"] <= 24


def test_a_tool_named_in_the_prompt_is_called(sim: SimulatorClient) -> None:
    table: list[str] = ["Use get_weather for Lyon", "Please get weather for Lyon"]
    with Cases() as cases:
        for prompt in table:
            with cases.case(prompt):
                (call,) = calls(sim.chat(prompt, tools=[CLOCK, WEATHER]).json())
                assert (call["function"]["name"], arguments(call)["city"]) == ("get_weather", "Lyon")


def test_several_tools_are_called_at_once_unless_that_is_disabled(sim: SimulatorClient) -> None:
    both = "Use get_weather and get_time for Lyon"
    found = calls(sim.chat(both, tools=[WEATHER, CLOCK]).json())
    assert [call["function"]["name"] for call in found] == ["get_weather", "get_time"]
    assert len({call["id"] for call in found}) == 2
    assert len(calls(sim.chat(both, tools=[WEATHER, CLOCK], parallel_tool_calls=False).json())) == 1


def test_without_a_reason_to_call_a_tool_the_answer_is_text(sim: SimulatorClient) -> None:
    table: list[str | None] = ["none", "auto", None]
    with Cases() as cases:
        for choice in table:
            with cases.case(choice):
                choice_made = sim.chat(PROMPT, tools=[WEATHER], tool_choice=choice).json()["choices"][0]
                assert choice_made["finish_reason"] == "stop"
                assert "weather" in choice_made["message"]["content"]
                assert "tool_calls" not in choice_made["message"]


def test_the_pieces_of_a_streamed_call_join_to_the_same_call(sim: SimulatorClient) -> None:
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


def test_the_result_of_a_tool_appears_in_the_answer(sim: SimulatorClient) -> None:
    first = sim.chat("Use get_weather for Lyon", tools=[WEATHER]).json()["choices"][0]["message"]
    messages = [
        {"role": "user", "content": "Use get_weather for Lyon"},
        first,
        {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "18 degrees, drizzle"},
    ]
    choice = sim.http.post("/chat/completions", json={**conversation("-"), "messages": messages, "tools": [WEATHER]})
    assert choice.json()["choices"][0]["finish_reason"] == "stop"
    assert "18 degrees, drizzle" in choice.json()["choices"][0]["message"]["content"]


def test_a_streamed_call_can_break_off_like_text(sim: SimulatorClient) -> None:
    table: list[str] = ["cut", "error-in-stream"]
    with Cases() as cases:
        for fault in table:
            with cases.case(fault):
                text = sim.stream(f"[{fault}] Use get_weather for Nice", tools=[WEATHER])
                assert "tool_calls" in text
                assert "[DONE]" not in text


def test_arguments_follow_every_kind_of_schema(sim: SimulatorClient) -> None:
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


def test_a_tool_without_parameters_is_called_without_arguments(sim: SimulatorClient) -> None:
    table: list[object] = [None, {}, {"type": "object"}, {"properties": 3}]
    with Cases() as cases:
        for parameters in table:
            with cases.case(parameters):
                tool = {"type": "function", "function": {"name": "ping", "parameters": parameters}}
                (call,) = calls(sim.chat("hello", tools=[tool], tool_choice="required").json())
                assert arguments(call) == {}


def test_invalid_tools_are_refused(sim: SimulatorClient) -> None:
    table: list[Json] = [
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
    ]
    with Cases() as cases:
        for wrong in table:
            with cases.case(wrong):
                answer = sim.http.post("/chat/completions", json={**conversation("hello"), **wrong})
                assert answer.status_code == 400
                assert "tool" in answer.json()["error"]["message"]


def test_tools_for_a_model_without_tool_use_are_not_found(sim: SimulatorClient) -> None:
    for model, more in (("meta-llama/llama-3.3-70b-instruct:free", {}), (CHAT_IMAGE_MODEL, {"modalities": ["image"]})):
        answer = sim.chat("tools where there are none", model=model, tools=[WEATHER], **more)
        assert answer.status_code == 404
        assert "tool use" in answer.json()["error"]["message"]
    assert sim.submits("tools where there are none") == []
