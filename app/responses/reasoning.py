"""What a model wants back unchanged with the next request, such as signatures and encrypted thoughts, as the one text that the
Responses API has for it: `encrypted_content` of a reasoning item."""

import base64
import binascii
from typing import Any, Final

import msgspec

from app.web.request import is_too_deep

FIELDS: Final = ("reasoning", "reasoning_content", "reasoning_details")  # of a message of a chat completion
_MARK: Final = "atl1."  # what our own begin with


def pack(message: dict[str, Any]) -> str | None:
    """From the fields of a chat message; None if they are empty. The details repeat the text, so they alone are kept."""
    kept = {name: message[name] for name in reversed(FIELDS) if message.get(name)}
    if "reasoning_details" in kept:
        kept = {"reasoning_details": kept["reasoning_details"]}
    return _MARK + base64.b64encode(msgspec.json.encode(kept)).decode("ascii") if kept else None


def unpack(item: dict[str, Any]) -> dict[str, Any]:
    """The fields of a chat message from a reasoning item; what is not from here becomes `reasoning_details` as OpenRouter has them."""
    content = item.get("encrypted_content")
    if isinstance(content, str) and content:
        return _unpacked(content) or {"reasoning_details": [_foreign(item, content)]}
    texts = [part["text"] for part in _parts(item) if isinstance(part.get("text"), str)]
    return {"reasoning_details": [{"type": "reasoning.summary", "summary": text} for text in texts]} if texts else {}


def _unpacked(content: str) -> dict[str, Any]:
    try:
        kept = msgspec.json.decode(base64.b64decode(content.removeprefix(_MARK), validate=True).decode())
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    if not content.startswith(_MARK) or not isinstance(kept, dict) or is_too_deep(kept):
        return {}
    return {name: kept[name] for name in FIELDS if name in kept}


def _foreign(item: dict[str, Any], content: str) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": content, "id": item.get("id")}


def _parts(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The summary, or the text itself where there is none."""
    lists = (item.get("summary"), item.get("content"))
    found = next((parts for parts in lists if isinstance(parts, list) and parts), [])
    return [part for part in found if isinstance(part, dict)]
