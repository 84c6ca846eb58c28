"""Reads a request for a response and writes it as the body of a chat completion. Fields that only the Responses API has are
translated; all others pass, also those that do not exist yet."""

from typing import Any, Final

import msgspec

from app.responses import input_items
from app.responses.input_items import invalid
from app.responses.messages import messages_of
from app.responses.schemas import Body, EarlierResponses, Item, ResponseRequest, StoredResponse

# What is translated below, or concerns only the response.
_OWN: Final = frozenset(
    {
        "background",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "messages",
        "previous_response_id",
        "prompt",
        "reasoning",
        "store",
        "stream",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "truncation",
    }
)
_UNSUPPORTED: Final = {
    "background": "Background responses are not supported. Stream the response, or wait for it.",
    "conversation": "Conversations are not supported. Use `previous_response_id`, or send the whole conversation.",
    "prompt": "Prompt templates are not supported. Send the text of the prompt as `instructions`.",
}
_LOGPROBS: Final = "message.output_text.logprobs"


def parse(body: Body) -> ResponseRequest:
    """Raises Invalid with the name of the invalid field."""
    for name, message in _UNSUPPORTED.items():
        if body.get(name):
            raise invalid(name, message)
    include = body.get("include") or []
    if not isinstance(include, list) or not all(isinstance(name, str) for name in include):
        raise invalid("include", "`include` must be a list of strings.")
    for name in ("instructions", "previous_response_id"):
        if not isinstance(body.get(name), str | None):
            raise invalid(name, f"`{name}` must be a string.")
    return ResponseRequest(
        body=body,
        items=input_items.read(body.get("input")),
        previous_id=body.get("previous_response_id"),
        store=flag(body, "store") is not False,
        include=frozenset(include),
    )


def flag(body: Body, name: str) -> bool | None:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise invalid(name, f"`{name}` must be true or false.")
    return value


def translated(request: ResponseRequest, earlier: EarlierResponses, *, streamed: bool) -> tuple[Body, list[Item]]:
    """The body of the chat completion, and the request's items without references. Raises Invalid or Missing."""
    known = {item["id"]: item for stored in earlier.referenced for item in _items_of(stored)}
    items = input_items.resolved(request.items, known)
    history = [item for stored in earlier.chain for item in _items_of(stored)]
    messages = [*_instructions(request.body), *messages_of([*history, *items])]
    if not messages:
        raise invalid("input", "`input` is empty. Send a text or at least one item.")
    return {**_params(request), "messages": messages, **_streaming(streamed=streamed)}, items


def _items_of(stored: StoredResponse) -> list[Item]:
    """The items of a response: its input, then its output."""
    found: list[Item] = [*msgspec.json.decode(stored.input), *msgspec.json.decode(stored.response)["output"]]
    for item in found:
        if item["type"] == "reasoning" and stored.reasoning and input_items.answer_of(item) == stored.answer_id:
            item["encrypted_content"] = stored.reasoning
    return found


def _instructions(body: Body) -> list[dict[str, Any]]:
    instructions = body.get("instructions")
    return [{"role": "system", "content": instructions}] if instructions else []


def _params(request: ResponseRequest) -> Body:
    body = request.body
    params = {name: value for name, value in body.items() if name not in _OWN and value is not None}
    if not body.get("tools"):
        params.pop("parallel_tool_calls", None)  # which OpenAI refuses without tools
    return {**params, **_tools(body), **_text(body), **_reasoning(body), **_limit(body), **_logprobs(request)}


def _streaming(*, streamed: bool) -> Body:
    return {"stream_options": {"include_usage": True}} if streamed else {}


def _tools(body: Body) -> Body:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not tools:
        return {}
    found = {"tools": [_tool(tool) for tool in tools] if isinstance(tools, list) else tools}
    return found if choice is None else {**found, "tool_choice": _tool_choice(choice)}


def _tool(tool: Any) -> Any:
    """A function or custom tool in the nested shape; what it has beside stays outside, such as `cache_control`."""
    kind = _type(tool)
    if kind not in _NESTED or kind in tool:
        return tool
    inner = {name: tool[name] for name in _NESTED[kind] if tool.get(name) is not None}
    outer = {name: value for name, value in tool.items() if name not in _NESTED[kind]}
    if kind == "custom" and "format" in inner:
        inner["format"] = _grammar(inner["format"])
    return {**outer, kind: inner}


_NESTED: Final = {
    "function": ("name", "description", "parameters", "strict"),
    "custom": ("name", "description", "format"),
}


def _type(value: Any) -> str:
    return str(value.get("type")) if isinstance(value, dict) else ""


def _grammar(format: Any) -> Any:
    if _type(format) != "grammar" or "grammar" in format:
        return format
    return {"type": "grammar", "grammar": {name: value for name, value in format.items() if name != "type"}}


def _tool_choice(choice: Any) -> Any:
    kind = _type(choice)
    if kind in _NESTED and kind not in choice:
        return {"type": kind, kind: {"name": choice.get("name")}}
    if kind == "allowed_tools" and kind not in choice:
        tools = choice.get("tools")
        allowed = [_tool_choice(tool) for tool in tools] if isinstance(tools, list) else tools
        return {"type": kind, kind: {"mode": choice.get("mode"), "tools": allowed}}
    return choice


def _text(body: Body) -> Body:
    text = body.get("text")
    if not isinstance(text, dict):
        return {}
    found = {"verbosity": text["verbosity"]} if text.get("verbosity") is not None else {}
    format = text.get("format")
    if format is None or format == {"type": "text"}:
        return found
    return {**found, "response_format": _chat_format(format)}


def _chat_format(format: Any) -> Any:
    if not isinstance(format, dict) or format.get("type") != "json_schema" or "json_schema" in format:
        return format
    return {"type": "json_schema", "json_schema": {name: value for name, value in format.items() if name != "type"}}


def _reasoning(body: Body) -> Body:
    """The effort by OpenAI's name. What only OpenRouter knows, such as a token budget, is sent by its name."""
    given = body.get("reasoning")
    if not isinstance(given, dict):
        return {}
    known = {name: value for name, value in given.items() if value is not None}
    if set(known) - {"effort", "summary", "generate_summary"}:
        return {"reasoning": known}
    return {"reasoning_effort": known["effort"]} if "effort" in known else {}


def _limit(body: Body) -> Body:
    limit = body.get("max_output_tokens")
    return {} if limit is None else {"max_completion_tokens": limit}


def _logprobs(request: ResponseRequest) -> Body:
    count = request.body.get("top_logprobs")
    if not count:
        return {"logprobs": True} if _LOGPROBS in request.include else {}
    return {"logprobs": True, "top_logprobs": count}
