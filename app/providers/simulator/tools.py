"""Simulates tool calls.

The model calls the functions that it must, and those that the prompt names ("get weather" also names `get_weather`). Their
arguments are built from the JSON Schema of the function and keywords of the prompt. Results are repeated in the reply.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from app.providers.simulator import replies

Schema = dict[str, Any]

MAX_DEPTH = 5
"""Maximum nesting depth of a schema; deeper values are null."""

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
CAPITAL = re.compile(r"(?<=\s)[A-Z][\w-]+(?: [A-Z][\w-]+)*")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
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
    arguments = json.dumps(_value({"type": "object", **tool.parameters}, bare, "", 0), ensure_ascii=False)
    mark = hashlib.sha256(f"{tool.name}\0{index}\0{prompt}".encode()).hexdigest()[:24]
    return ToolCall(f"call_{mark}", tool.name, arguments)


def _value(schema: Any, prompt: str, name: str, depth: int) -> Any:
    """A value that the schema allows, taken from the prompt where possible."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return None
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    options = schema.get("enum")
    if isinstance(options, list) and options:
        return next((option for option in options if str(option).lower() in prompt.lower()), options[0])
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind == "object":
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        return {key: _value(inner, prompt, key, depth + 1) for key, inner in known.items()}
    if kind == "array":
        return [_value(schema.get("items", {}), prompt, name, depth + 1)]
    if kind in ("integer", "number"):
        return _number(schema, prompt, whole=kind == "integer")
    return {"boolean": True, "null": None}.get(kind, _text(prompt, name))


def _number(schema: Schema, prompt: str, *, whole: bool) -> int | float:
    found = NUMBER.search(prompt)
    value = float(found[0]) if found else 1.0
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(low, int | float):
        value = max(value, low)
    if isinstance(high, int | float):
        value = min(value, high)
    return int(value) if whole else value


def _text(prompt: str, name: str) -> str:
    """A proper name in the prompt, otherwise its last keyword."""
    if found := CAPITAL.findall(prompt):
        return str(found[-1])
    keywords = [word for word in re.findall(r"[^\W\d_][\w'’-]+", prompt) if word.lower() not in replies.STOP_WORDS]
    return keywords[-1] if keywords else name
