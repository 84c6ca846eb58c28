"""Translates the items of a conversation to the messages of a chat completion.

What a model wrote at once is several items here and one message there: reasoning, text and tool calls that follow each other are
put together again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from app.responses import reasoning
from app.responses.input_items import answer_of, invalid, kind_of
from app.responses.schemas import Item

Message = dict[str, Any]

_TEXTS: Final = ("input_text", "output_text", "text")
# What only the Responses API has: some providers refuse fields that they do not know.
_ONLY_HERE: Final = frozenset(
    {"type", "id", "status", "phase", "call_id", "namespace", "caller", "created_by", "async", "parsed_arguments"}
)


def messages_of(items: Sequence[Item]) -> list[Message]:
    """Raises Invalid for an item that no chat message can express."""
    conversation = _Conversation()
    for item in items:
        conversation.add(item)
    return [_finished(message) for message in conversation.messages]


class _Conversation:
    """The messages so far. The last one can be continued if it is the model's."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._answer: str | None = None  # that the last item belongs to

    def add(self, item: Item) -> None:
        kind = kind_of(item)
        if kind == "message" and item.get("role") != "assistant":
            self.messages.append(
                {"role": item.get("role"), "content": _content(item), **_rest(item, "role", "content")}
            )
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self.messages.append(_tool_result(item))
        elif kind in _OF_THE_MODEL:
            self._continue(kind, item)
        else:
            raise invalid(
                "input", f"`input` has an item of type {str(kind)[:60]!r}, which cannot be sent to chat models."
            )

    def _continue(self, kind: str, item: Item) -> None:
        answer = answer_of(item)
        last = self.messages[-1] if self.messages and self.messages[-1]["role"] == "assistant" else None
        if last is None or self._begins_another(kind, answer, last):
            last = {"role": "assistant", "content": None}
            self.messages.append(last)
        self._answer = answer
        for name, value in _OF_THE_MODEL[kind](item).items():
            last[name] = value if last.get(name) is None else _joined(last[name], value)

    def _begins_another(self, kind: str, answer: str | None, last: Message) -> bool:
        """Text or reasoning after a text is another message, unless calls wait for their results or all is one answer."""
        complete = last["content"] is not None and "tool_calls" not in last
        return kind in ("message", "reasoning") and complete and (answer is None or answer != self._answer)


def _written(item: Item) -> Message:
    content, rest = item.get("content"), _rest(item, "role", "content")
    if not isinstance(content, list):
        return {"content": content, **rest}
    texts = [part for part in content if not _is_refusal(part)]
    refusals = [str(part.get("refusal")) for part in content if _is_refusal(part)]
    written = {"content": _parts(texts) if texts else None, **rest}
    return {**written, "refusal": "".join(refusals)} if refusals else written


def _is_refusal(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "refusal"


def _function_call(item: Item) -> Message:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return _call(item, {"type": "function", "function": function}, "arguments")


def _custom_call(item: Item) -> Message:
    return _call(item, {"type": "custom", "custom": {"name": item.get("name"), "input": item.get("input")}}, "input")


def _call(item: Item, call: dict[str, Any], argument: str) -> Message:
    return {"tool_calls": [{"id": item.get("call_id"), **call, **_rest(item, "name", argument)}]}


def _image(item: Item) -> Message:
    result = item.get("result")
    if not isinstance(result, str):
        return {}
    url = result if result.startswith("http") else f"data:image/{item.get('output_format') or 'png'};base64,{result}"
    return {"images": [{"type": "image_url", "image_url": {"url": url}}]}


_OF_THE_MODEL: Final[dict[Any, Callable[[Item], Message]]] = {
    "message": _written,
    "reasoning": reasoning.unpack,
    "function_call": _function_call,
    "custom_tool_call": _custom_call,
    "image_generation_call": _image,
}


def _tool_result(item: Item) -> Message:
    content = _parts(item["output"]) if isinstance(item.get("output"), list) else item.get("output")
    return {"role": "tool", "tool_call_id": item.get("call_id"), "content": content, **_rest(item, "output", "name")}


def _content(item: Item) -> Any:
    content = item.get("content")
    return _parts(content) if isinstance(content, list) else content


def _parts(parts: list[Any]) -> Any:
    """The parts of a chat message; a text alone is a plain text, which every provider takes."""
    found = [_part(part) if isinstance(part, dict) else part for part in parts]
    only = found[0] if len(found) == 1 else None
    if isinstance(only, dict) and set(only) == {"type", "text"} and only["type"] == "text":
        return only["text"]
    return found


def _part(part: Item) -> dict[str, Any]:
    kind = part.get("type")
    if kind in _TEXTS:
        return {"type": "text", "text": part.get("text"), **_rest(part, "text", "annotations", "logprobs", "parsed")}
    if kind == "input_image":
        return _image_part(part)
    if kind == "input_file":
        return _file_part(part)
    return part


def _image_part(part: Item) -> dict[str, Any]:
    if part.get("image_url") is None:
        raise invalid("input", "An image must be given by `image_url`: a URL or a data URL.")
    image = {"url": part["image_url"], **({"detail": part["detail"]} if part.get("detail") else {})}
    return {"type": "image_url", "image_url": image, **_rest(part, "image_url", "detail", "file_id")}


def _file_part(part: Item) -> dict[str, Any]:
    names = ("filename", "file_data", "file_id")
    file = {name: part[name] for name in names if part.get(name) is not None}
    if part.get("file_url") is not None:
        file["file_data"] = part["file_url"]  # OpenRouter takes both in this field
    return {"type": "file", "file": file, **_rest(part, *names, "file_url", "detail")}


def _rest(item: Item, *known: str) -> dict[str, Any]:
    """What an item or part has beside the known fields."""
    return {
        name: value
        for name, value in item.items()
        if value is not None and name not in _ONLY_HERE and name not in known
    }


def _joined(before: Any, after: Any) -> Any:
    if after is None:
        return before
    if isinstance(before, str) and isinstance(after, str):
        return f"{before}\n\n{after}"
    return [*_listed(before), *_listed(after)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [{"type": "text", "text": value}]


def _finished(message: Message) -> Message:
    """An answer without text or calls, which only thought or refused, still has content: providers demand it."""
    if message["role"] != "assistant" or message["content"] is not None or "tool_calls" in message:
        return message
    return {**message, "content": None if "refusal" in message else ""}
