"""Simulates tool calls.

The model calls the functions that it must, and those that the prompt names ("get weather" also names `get_weather`). Their
arguments fit the JSON Schema of the function and use words of the prompt. Results are repeated in the reply.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from app.providers.simulator import replies
from app.providers.simulator.json_schema import JsonSchema, Schema
from app.providers.simulator.schema_values import value_for

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
CHOICES = ("none", "auto", "required")


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is the JSON Schema of its arguments."""

    name: str
    parameters: Schema


class ToolCall(msgspec.Struct, frozen=True):
    """A call of a function; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


def parse_tools(body: dict[str, Any]) -> list[Tool]:
    """The functions in a request. Raises ValueError if they are invalid."""
    tools = body.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise ValueError("tools: expected a list")
    found = [_tool(tool) for tool in tools]
    _tool_choice(body.get("tool_choice"), found)
    return found


def calls_for(body: dict[str, Any], prompt: str) -> list[ToolCall]:
    """The calls that the model makes: each function once, and by default none directly after results."""
    tools = parse_tools(body)
    choice = _tool_choice(body.get("tool_choice"), tools)
    if not tools or choice == "none" or (choice == "auto" and results(body["messages"])):
        return []
    if choice == "auto" or choice == "required":
        selected = [tool for tool in tools if _names(prompt, tool.name)]
        if not selected and choice == "required":
            selected = tools[:1]
    else:
        selected = [tool for tool in tools if tool.name == choice]
    if body.get("parallel_tool_calls") is False:
        selected = selected[:1]
    return [_call(tool, prompt, index) for index, tool in enumerate(selected)]


def results(messages: Sequence[replies.Message]) -> list[str]:
    """The function results since the last message of the model or user."""
    found: list[str] = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        found.insert(0, replies.text_of(message))
    return found


def answer_from_results(messages: Sequence[replies.Message]) -> str:
    """The reply that repeats the function results; empty if there are none."""
    found = results(messages)
    return f"I looked it up: {'; '.join(result.strip() for result in found)[: replies.MAX_READ_CHARS]}" if found else ""


def _tool(tool: Any) -> Tool:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict):
        raise ValueError("tools: each tool must have the type function and a function object")
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError("tools: each function needs a name of letters, digits, _, - and .")
    if not isinstance(parameters, dict | None):
        raise ValueError("tools: parameters must be a JSON Schema object")
    return Tool(name, parameters or {})


def _tool_choice(choice: Any, tools: list[Tool]) -> str:
    """`none`, `auto`, `required`, or the name of the one function that must be called."""
    if choice is None or (isinstance(choice, str) and choice in CHOICES):
        if choice == "required" and not tools:
            raise ValueError("tool_choice: there is no tool to choose")
        return choice or "auto"
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name not in {tool.name for tool in tools}:
        raise ValueError(f"tool_choice: expected {', '.join(CHOICES)} or one of the tools")
    return name


def _names(prompt: str, name: str) -> bool:
    pattern = re.sub(r"[_.-]+", "[ _.-]", name)
    return re.search(rf"(?<!\w){pattern}(?!\w)", prompt, re.IGNORECASE) is not None


def _call(tool: Tool, prompt: str, index: int) -> ToolCall:
    bare = re.sub(re.escape(tool.name), " ", prompt, flags=re.IGNORECASE)
    mark = hashlib.sha256(f"{tool.name}\0{index}\0{prompt}".encode()).hexdigest()[:24]
    return ToolCall(f"call_{mark}", tool.name, json.dumps(_arguments(tool, bare), ensure_ascii=False))


def _arguments(tool: Tool, prompt: str) -> Any:
    try:
        schema = JsonSchema({"type": "object", **tool.parameters})
    except ValueError:  # models also call functions with an invalid schema, somehow
        return {}
    return value_for(schema, prompt, tool.name)
