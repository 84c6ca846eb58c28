"""Calls of the functions that a request puts at a model's disposal.

It understands as little as `replies` does: it calls what it must, and what the prompt names (`get_weather` is named by
"get weather" too), with arguments made from the function's JSON Schema and the telling words of the prompt. When results
have come back it says them.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from app.providers.simulator import replies

Schema = dict[str, Any]

DEEPEST = 5
"""How far a schema is followed; nobody's function nests deeper for a reason."""

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
CAPITAL = re.compile(r"(?<=\s)[A-Z][\w-]+(?: [A-Z][\w-]+)*")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
CHOICES = ("none", "auto", "required")


class Tool(msgspec.Struct, frozen=True):
    """A function on offer; `parameters` is the JSON Schema of its arguments."""

    name: str
    parameters: Schema


class Call(msgspec.Struct, frozen=True):
    """A function called; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


def offered(body: dict[str, Any]) -> list[Tool]:
    """The functions in a request, or ValueError saying what makes no sense."""
    tools = body.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise ValueError("tools: expected a list")
    found = [_tool(tool) for tool in tools]
    _chosen(body.get("tool_choice"), found)
    return found


def called(body: dict[str, Any], prompt: str) -> list[Call]:
    """What the model calls, if anything: nothing twice, and nothing right after it was given results."""
    tools = offered(body)
    choice = _chosen(body.get("tool_choice"), tools)
    if not tools or choice == "none" or (choice == "auto" and results(body["messages"])):
        return []
    if choice == "auto" or choice == "required":
        wanted = [tool for tool in tools if _names(prompt, tool.name)]
        if not wanted and choice == "required":
            wanted = tools[:1]
    else:
        wanted = [tool for tool in tools if tool.name == choice]
    if body.get("parallel_tool_calls") is False:
        wanted = wanted[:1]
    return [_call(tool, prompt, place) for place, tool in enumerate(wanted)]


def results(messages: Sequence[replies.Message]) -> list[str]:
    """What functions gave back since the model or the person last spoke."""
    found: list[str] = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        found.insert(0, replies.text_of(message))
    return found


def reported(messages: Sequence[replies.Message]) -> str:
    """What the model says about the results that have come back; empty when there are none."""
    found = results(messages)
    return f"I looked it up: {'; '.join(one.strip() for one in found)[: replies.READ]}" if found else ""


def _tool(tool: Any) -> Tool:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict):
        raise ValueError("tools: every tool needs the type function and a function")
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError("tools: every function needs a name of letters, digits, _, - and .")
    if not isinstance(parameters, dict | None):
        raise ValueError("tools: parameters is a JSON Schema")
    return Tool(name, parameters or {})


def _chosen(choice: Any, tools: list[Tool]) -> str:
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
    spoken = re.sub(r"[_.-]+", "[ _.-]", name)
    return re.search(rf"(?<!\w){spoken}(?!\w)", prompt, re.IGNORECASE) is not None


def _call(tool: Tool, prompt: str, place: int) -> Call:
    bare = re.sub(re.escape(tool.name), " ", prompt, flags=re.IGNORECASE)
    arguments = json.dumps(_value({"type": "object", **tool.parameters}, bare, "", 0), ensure_ascii=False)
    mark = hashlib.sha256(f"{tool.name}\0{place}\0{prompt}".encode()).hexdigest()[:24]
    return Call(f"call_{mark}", tool.name, arguments)


def _value(schema: Any, prompt: str, name: str, depth: int) -> Any:
    """Something that the schema allows, out of the prompt where that is possible."""
    if not isinstance(schema, dict) or depth > DEEPEST:
        return None
    for given in ("const", "default"):
        if given in schema:
            return schema[given]
    options = schema.get("enum")
    if isinstance(options, list) and options:
        return next((one for one in options if str(one).lower() in prompt.lower()), options[0])
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
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
    """A name in the prompt, else its last telling word."""
    if found := CAPITAL.findall(prompt):
        return str(found[-1])
    telling = [word for word in re.findall(r"[^\W\d_][\w'’-]+", prompt) if word.lower() not in replies.DULL]
    return telling[-1] if telling else name
