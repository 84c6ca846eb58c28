"""The request class of the application: malformed JSON is a client error, and JSON types are checked strictly."""

import asyncio
import re
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import SerializationException, ValidationException

MAX_DEPTH: Final = 128  # of a JSON body
MAX_INLINE: Final = 64 * 1024  # bytes of a body whose nesting is looked at on the event loop
_PATH: Final = re.compile(r" - at `\$\.(.+)`$")


class StrictJsonRequest(Request[Any, Any, State]):
    """The application's `request_class`."""

    async def json(self) -> Any:
        """Also raises SerializationException for invalid UTF-8 and excessive nesting, and ValidationException when the body
        does not have the type of the route's `data`."""
        try:
            value = await super().json()
        except (UnicodeDecodeError, RecursionError):
            raise SerializationException("not valid JSON") from None
        size = len(await self.body())
        if is_too_deep(value) if size <= MAX_INLINE else await asyncio.to_thread(is_too_deep, value):
            raise SerializationException("nested too deeply")
        expected = self.route_handler.parsed_data_field
        if expected is not None:
            _check(value, expected.annotation)
        return value


def is_too_deep(value: Any) -> bool:
    """Whether lists and objects are nested more than MAX_DEPTH deep. Every step that reads a value recursively must survive it."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


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
