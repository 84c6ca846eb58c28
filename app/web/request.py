"""A request as this program reads it: a body that cannot be read is its sender's fault, and no bug of ours."""

from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import SerializationException


class Asked(Request[Any, Any, State]):
    """`request_class` of the program."""

    async def json(self) -> Any:
        """SerializationException also for bytes that are no text, and for what is nested without end."""
        try:
            return await super().json()
        except (UnicodeDecodeError, RecursionError):
            raise SerializationException("this is no JSON") from None
