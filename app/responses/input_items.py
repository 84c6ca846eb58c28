"""The input items of a request: read, resolved where they refer to items of stored responses, and completed before they are stored.

The id of each of our items names the response that it belongs to: `msg_<id of the response>_0`, and `msg_<id>_i0` for an input.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.base.errors import Invalid, Missing
from app.responses.schemas import Item

MAX_ITEMS: Final = 10_000
_OWN_ID: Final = re.compile(r"[a-z]{2,5}_([0-9a-f]{32})_(i?)\d{1,5}")
_PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "image_generation_call": "ig",
}


def invalid(field: str, message: str) -> Invalid:
    return Invalid(message, fields={field: message}, details={"param": field})


def item_id(kind: str, answer_id: str, place: str) -> str:
    """The id of an item of this type in the response to which the answer belongs."""
    return f"{_PREFIXES.get(kind, 'item')}_{answer_id}_{place}"


def answer_of(item: Item) -> str | None:
    """The id of the answer that one of our output items is a part of."""
    found = _own_id(item)
    return found[1] if found and not found[2] else None


def _own_id(item: Item) -> re.Match[str] | None:
    id = item.get("id")
    return _OWN_ID.fullmatch(id) if isinstance(id, str) else None


def kind_of(item: Item) -> str:
    """The type of an item. Messages and references may leave it out."""
    return str(item.get("type") or ("message" if "role" in item or "content" in item else "item_reference"))


def read(given: Any) -> list[Item]:
    """The items of `input`, which may be a text. Raises Invalid."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list) or len(given) > MAX_ITEMS:
        raise invalid("input", f"`input` must be a text or a list of at most {MAX_ITEMS:,} items.")
    seen: set[Any] = set()
    for index, item in enumerate(given):
        if not isinstance(item, dict):
            raise invalid(f"input.{index}", "Each input item must be an object.")
        if _is_looked_up(item):
            if not isinstance(id := item.get("id"), str) or id in seen:
                raise invalid(
                    f"input.{index}", "An item that refers to a stored one must have an `id`, which occurs once."
                )
            seen.add(id)
    return given


def referenced_answers(items: Sequence[Item]) -> list[str]:
    """The ids of the answers in whose responses the items are that must be looked up."""
    found = (_own_id(item) for item in items if _is_looked_up(item))
    return list(dict.fromkeys(id[1] for id in found if id))


def resolved(items: Sequence[Item], known: Mapping[str, Item]) -> list[Item]:
    """The items with what is known in place of references. Raises Missing for one that is not known."""
    return list(_resolved(items, known))


def _resolved(items: Sequence[Item], known: Mapping[str, Item]) -> Iterator[Item]:
    for item in items:
        found = known.get(item["id"]) if _is_looked_up(item) else item
        if found is None and kind_of(item) == "item_reference":
            raise Missing(f"Item with id '{item['id'][:100]}' not found.", details={"param": "input"})
        yield item if found is None else found


def _is_looked_up(item: Item) -> bool:
    """References, and reasoning whose caller does not keep what the model wants back."""
    kind = kind_of(item)
    without_content = kind == "reasoning" and not item.get("encrypted_content") and isinstance(item.get("id"), str)
    return kind == "item_reference" or without_content


def completed(items: Sequence[Item], answer_id: str) -> list[Item]:
    """The items as they are stored and listed: each with an id, messages with a list of parts."""
    return [_completed(item, item_id(kind_of(item), answer_id, f"i{index}")) for index, item in enumerate(items)]


def _completed(item: Item, id: str) -> Item:
    kind = kind_of(item)
    given = item.get("id")
    found = {**item, "type": kind, "id": given if isinstance(given, str) and given else id}
    if kind == "message":
        found["status"] = item.get("status") or "completed"
        if isinstance(text := item.get("content"), str):
            found["content"] = [_text_part(text, item.get("role"))]
    if kind in ("function_call", "function_call_output"):
        found["status"] = item.get("status") or "completed"
    return found


def _text_part(text: str, role: Any) -> Item:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": []}
    return {"type": "input_text", "text": text}
