"""The one reader of JSON from providers. It also reads what is not quite JSON but is sent: NaN, Infinity, numbers without
bounds, and halves of a character (lone surrogates). What it returns can always be written as valid JSON again."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

_FIRST_HALF = ("\ud800", "\udbff")  # the range of high surrogates


def decode(content: bytes | str) -> Any:
    """NaN and Infinity become null, and half a character becomes U+FFFD. Raises ValueError when it is not JSON."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        with _nesting_limited():
            return _without_halves(_decode_leniently(content))


class EventDecoder:
    """Decodes the JSON events of one stream, in which a character may be cut in two between two deltas: the first half is
    held back and put before the text that follows in the same place."""

    def __init__(self) -> None:
        self._held: dict[tuple[str | int, ...], str] = {}

    def decode(self, content: str) -> tuple[Any, bool]:
        """The value, and whether `content` is the same value in valid JSON. Raises ValueError when it is not JSON."""
        try:
            value = msgspec.json.decode(content)
            if not self._held:
                return value, True
        except (msgspec.MsgspecError, ValueError, RecursionError):
            with _nesting_limited():
                return self._with_held(_decode_leniently(content), ()), False
        return self._with_held(value, ()), False

    def _with_held(self, value: Any, place: tuple[str | int, ...]) -> Any:
        if isinstance(value, dict):
            return {_whole(name): self._with_held(item, (*place, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self._with_held(item, (*place, _index(item, number))) for number, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        if value and "delta" in place:
            value = self._held.pop(place, "") + value
            if _FIRST_HALF[0] <= value[-1] <= _FIRST_HALF[1]:
                self._held[place] = value[-1]
                value = value[:-1]
        return _whole(value)


def _index(item: Any, number: int) -> int:
    """The list index by which deltas name what they continue."""
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, int) else number


@contextmanager
def _nesting_limited() -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _decode_leniently(content: bytes | str) -> Any:
    text = content if isinstance(content, str) else content.decode()
    return json.loads(text.removeprefix("\ufeff"), parse_constant=lambda _: None, parse_float=_float, parse_int=_int)


def _float(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _int(digits: str) -> int | float | None:
    """JSON writers here take 64 bits."""
    if len(digits) < 21 and -(2**63) <= (number := int(digits)) < 2**64:
        return number
    return _float(digits)


def _without_halves(value: Any) -> Any:
    if isinstance(value, dict):
        return {_whole(name): _without_halves(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_halves(item) for item in value]
    return _whole(value) if isinstance(value, str) else value


def _whole(text: str) -> str:
    """The same text with its surrogates joined to characters, or replaced where their other half is missing."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
