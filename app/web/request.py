"""The request class of the application: malformed JSON is a client error, and JSON types are checked strictly."""

import re
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import SerializationException, ValidationException

MAX_DEPTH: Final = 128  # of a JSON body
_MARKS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')  # texts are found, so that brackets in them do not count
_PATH: Final = re.compile(r" - at `\$\.(.+)`$")


class StrictJsonRequest(Request[Any, Any, State]):
    """The application's `request_class`."""

    async def json(self) -> Any:
        """Also raises SerializationException for invalid UTF-8 and excessive nesting, and ValidationException when the body
        does not have the type of the route's `data`."""
        if _depth(await self.body()) > MAX_DEPTH:
            raise SerializationException("nested too deeply")
        try:
            value = await super().json()
        except (UnicodeDecodeError, RecursionError):
            raise SerializationException("not valid JSON") from None
        expected = self.route_handler.parsed_data_field
        if expected is not None:
            _check(value, expected.annotation)
        return value


def _depth(body: bytes) -> int:
    """How deeply lists and objects are nested. Every step that reads a value recursively must survive it."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for mark in _MARKS.findall(body):
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in b"]}":
            depth -= 1
    return deepest


def _check(value: Any, type_: Any) -> None:
    """Check the types strictly. Litestar converts bodies as leniently as query strings: it takes "false" and 0 for false,
    which in JSON are a string and a number, and probably a mistake."""
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError as exc:
        message = str(exc)
        path = _PATH.search(message)
        field = {"key": path[1] if path else "data", "message": _PATH.sub("", message)}
        raise ValidationException("The body has the wrong type.", extra=[field]) from None
