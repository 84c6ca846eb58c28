"""The body of a request for a response becomes the body of a chat completion."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.base.errors import AtelierError
from app.responses import requests
from app.responses.input_items import completed
from app.responses.schemas import EarlierResponses
from tests.kit import Cases, Json

MODEL = "tests/model"
SCHEMA: Json = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION: Json = {"name": "f", "description": "Does f", "parameters": SCHEMA, "strict": True}
CHAT_FUNCTION: Json = {"type": "function", "function": FUNCTION}
TOOLS: Json = {"tools": [{"type": "function", **FUNCTION}]}
CHAT_TOOLS: Json = {"tools": [CHAT_FUNCTION]}


def translated(*, streamed: bool = False, **fields: Any) -> Json:
    request = requests.parse({"model": MODEL, "input": "Hello", **fields})
    body, _ = requests.translated(request, EarlierResponses(), streamed=streamed)
    return body


FIELDS: dict[str, tuple[Json, Json]] = {
    "what both have": (
        {"temperature": 1, "top_p": 0.5, "user": "u", "metadata": {"a": "b"}, "service_tier": "flex", "seed": 7},
        {"temperature": 1, "top_p": 0.5, "user": "u", "metadata": {"a": "b"}, "service_tier": "flex", "seed": 7},
    ),
    "fields from the future": ({"x_new": [1, None]}, {"x_new": [1, None]}),
    "fields that only concern the response": (
        {"store": False, "truncation": "auto", "include": ["reasoning.encrypted_content"], "stream_options": {}},
        {},
    ),
    "nothing": (dict.fromkeys(("instructions", "tools", "text", "reasoning", "metadata", "background", "store")), {}),
    "a limit": ({"max_output_tokens": 16}, {"max_completion_tokens": 16}),
    "an effort": ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
    "a summary alone": ({"reasoning": {"summary": "auto"}}, {}),
    "a budget": (
        {"reasoning": {"max_tokens": 100, "effort": None}},
        {"reasoning": {"max_tokens": 100}},
    ),
    "log probabilities": ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
    "the best of them": ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    "plain text": ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
    "an object": ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    "a schema": (
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
    ),
    "a function": (TOOLS, CHAT_TOOLS),
    "a function of a chat completion": (CHAT_TOOLS, CHAT_TOOLS),
    "a function with a mark": (
        {"tools": [{"type": "function", "name": "f", "strict": None, "cache_control": {"type": "ephemeral"}}]},
        {"tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}]},
    ),
    "a tool of another type": (
        {"tools": [{"type": "web_search", "a": 1}]},
        {"tools": [{"type": "web_search", "a": 1}]},
    ),
    "a custom tool": (
        {
            "tools": [
                {"type": "custom", "name": "s", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}
            ]
        },
        {
            "tools": [
                {
                    "type": "custom",
                    "custom": {
                        "name": "s",
                        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}},
                    },
                }
            ]
        },
    ),
    "no tools": ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
    "one call at a time": ({**TOOLS, "parallel_tool_calls": False}, {**CHAT_TOOLS, "parallel_tool_calls": False}),
    "a choice by word": ({**TOOLS, "tool_choice": "required"}, {**CHAT_TOOLS, "tool_choice": "required"}),
    "a choice by name": (
        {**TOOLS, "tool_choice": {"type": "function", "name": "f"}},
        {**CHAT_TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
    ),
    "a choice of a chat completion": (
        {**TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {**CHAT_TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
    ),
    "a choice among some": (
        {
            **TOOLS,
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        },
        {
            **CHAT_TOOLS,
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
        },
    ),
}


def test_fields_are_translated_or_passed() -> None:
    plain = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    with Cases() as cases:
        for name, (given, expected) in FIELDS.items():
            with cases.case(name):
                assert translated(**given) == {**plain, **expected}


def test_instructions_come_first_and_a_stream_reports_its_usage() -> None:
    body = translated(streamed=True, instructions="Be brief.")
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["stream_options"] == {"include_usage": True}


WRONG: dict[str, tuple[Json, str]] = {
    "no input": ({"input": None}, "input"),
    "an empty input": ({"input": []}, "input"),
    "an input that is no list": ({"input": {}}, "input"),
    "an item that is no object": ({"input": ["Hello"]}, "input.0"),
    "too many items": ({"input": [{"role": "user", "content": ""}] * 10_001}, "input"),
    "a reference without an id": ({"input": [{"type": "item_reference"}]}, "input.0"),
    "the same reference twice": ({"input": [{"id": "msg_1"}, {"type": "item_reference", "id": "msg_1"}]}, "input.1"),
    "the same thought twice": ({"input": [{"type": "reasoning", "id": "rs_1"}] * 2}, "input.1"),
    "a reference to nothing": ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
    "a background response": ({"background": True}, "background"),
    "a conversation": ({"conversation": "conv_1"}, "conversation"),
    "a template": ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    "instructions in parts": ({"instructions": [1]}, "instructions"),
    "a number as an id": ({"previous_response_id": 7}, "previous_response_id"),
    "a text as a flag": ({"store": "no"}, "store"),
    "one word as a list": ({"include": "all"}, "include"),
}


def test_what_cannot_be_done_is_refused_and_named() -> None:
    with Cases() as cases:
        for name, (given, param) in WRONG.items():
            with cases.case(name):
                with pytest.raises(AtelierError) as caught:
                    translated(**given)
                assert caught.value.details["param"] == param


ODD: tuple[Json, ...] = (
    {"tools": [1, {"type": ["function"]}, {"type": "function"}]},
    {"tools": {"a": 1}, "tool_choice": [1]},
    {"tools": [{"type": "custom", "name": "s", "format": 1}], "tool_choice": {"type": "allowed_tools", "tools": 1}},
    {"text": {"format": 7, "verbosity": []}},
    {"text": [], "reasoning": "high", "max_output_tokens": "many", "top_logprobs": "some"},
    {"input": [{"role": ["user"], "content": [1, None, {"type": ["x"]}, {"type": "input_text"}]}]},
    {"input": [{"type": "message"}, {"role": "assistant", "content": [{"type": "refusal"}, 3]}]},
    {"input": [{"type": "function_call"}, {"type": "function_call_output", "output": {"a": 1}}]},
    {"input": [{"type": "reasoning", "id": ["x"], "summary": [1, {"text": 2}], "encrypted_content": "atl1.@@"}]},
    {"input": [{"type": "reasoning", "encrypted_content": "atl1." + "W1tb" * 9000}]},
    {"input": [{"type": "image_generation_call", "result": None}]},
)


def test_odd_values_are_left_to_the_provider() -> None:
    with Cases() as cases:
        for given in ODD:
            with cases.case(given):
                assert translated(**given)["messages"]


WORDS = """
type role content text id status call_id name arguments output summary encrypted_content image_url file_url detail result format
tools mode function custom schema effort refusal parameters verbosity
"""
NAMES = WORDS.split()
TYPES = """
message reasoning function_call function_call_output custom_tool_call image_generation_call item_reference input_text output_text
refusal input_image input_file function custom allowed_tools json_schema grammar atl1.e30=
"""
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(TYPES.split()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=20,
)
ITEMS = st.lists(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=6), max_size=5)
FREE = ("tools", "tool_choice", "text", "reasoning", "include", "top_logprobs", "store")
BODIES = st.fixed_dictionaries({"input": ITEMS | ANYTHING}, optional=dict.fromkeys(FREE, ANYTHING))


@settings(deadline=None, max_examples=60)
@given(body=BODIES)
def test_any_request_is_translated_or_refused(body: Json) -> None:
    with suppress(AtelierError):
        chat, items = requests.translated(requests.parse(body), EarlierResponses(), streamed=True)
        assert msgspec.json.encode([chat, completed(items, "0" * 32)])
