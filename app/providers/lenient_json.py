"""Reads JSON as providers write it: also with NaN and Infinity, and with characters that are cut into two escapes.

Valid JSON, which is nearly all of it, is decoded by msgspec. Only what that rejects is read by Python's slower decoder, which
accepts more.
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec


class NotJson(ValueError):
    """It cannot be read even with lenience."""


def decode(content: str | bytes) -> Any:
    """The value. NaN and Infinity become None; half a surrogate pair becomes U+FFFD. Raises NotJson."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _map_strings(_decode_leniently(content), _replace_surrogates)


class EventDecoder:
    """Decodes the JSON events of one stream, in which a character may be cut in two by the border of two events: the half at the
    end of a text is held back and put before the next text at the same place."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}

    def decode(self, payload: str) -> tuple[Any, bool]:
        """The value, and whether the payload was valid JSON and is complete as it stands. Raises NotJson."""
        try:
            value = msgspec.json.decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return self._join(_decode_leniently(payload), ""), False
        return value, True

    def _join(self, value: Any, place: str) -> Any:
        if isinstance(value, str):
            text = self._held.pop(place, "") + value
            if text and "\ud800" <= text[-1] <= "\udbff":
                self._held[place] = text[-1]
                text = text[:-1]
            return _replace_surrogates(text)
        if isinstance(value, dict):
            return {key: self._join(item, f"{place}.{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [self._join(item, f"{place}.{index}") for index, item in enumerate(value)]
        return value


def _decode_leniently(content: str | bytes) -> Any:
    try:
        text = content.decode("utf-8-sig", "replace") if isinstance(content, bytes) else content.removeprefix("\ufeff")
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as exc:
        raise NotJson(str(exc)) from None


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    return value


def _replace_surrogates(text: str) -> str:
    """Joins pairs and replaces single halves, which cannot be encoded."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
