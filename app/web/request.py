"""A request as this program reads it: a body that cannot be read is its sender's fault, and no bug of ours; and what JSON
says is taken at its word."""

import re
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import SerializationException, ValidationException

_PLACE: Final = re.compile(r" - at `\$\.(.+)`$")


class StrictJsonRequest(Request[Any, Any, State]):
    """`request_class` of the program."""

    async def json(self) -> Any:
        """SerializationException also for bytes that are no text, and for what is nested without end; ValidationException
        for what is not of the type that the route's `data` wants."""
        try:
            value = await super().json()
        except (UnicodeDecodeError, RecursionError):
            raise SerializationException("this is no JSON") from None
        wanted = self.route_handler.parsed_data_field
        if wanted is not None:
            _check(value, wanted.annotation)
        return value


def _check(value: Any, wanted: Any) -> None:
    """Litestar converts bodies as laxly as query strings, where all is text: to it "false" and 0 are false. In JSON they
    are a text and a number, and whoever sends them instead is mistaken, perhaps about what will be done."""
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as exc:
        said = str(exc)
        place = _PLACE.search(said)
        field = {"key": place[1] if place else "data", "message": _PLACE.sub("", said)}
        raise ValidationException("The body is not of the right type.", extra=[field]) from None
