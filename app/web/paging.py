"""Lists as the API shows them: `{"items", "total", "next"}`, `limit` and an opaque `cursor`."""

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Generic, Self, TypeVar

import msgspec
from litestar.params import QueryParameter

from app.base.errors import Invalid
from app.base.paging import Part

S = TypeVar("S")
T = TypeVar("T")

DEFAULT = 24
Limit = Annotated[int, QueryParameter(ge=1, le=100, description="How many items at most.")]
Cursor = Annotated[str | None, QueryParameter(description="`next` of the page before this one.")]


class Page(msgspec.Struct, Generic[T], kw_only=True):
    """Subclass it with a name of its own for the API's document: `class Users(Page[UserOut])`."""

    items: list[T]
    total: Annotated[int, msgspec.Meta(description="How many there are in all.")]
    next: Annotated[str | None, msgspec.Meta(description="The `cursor` of the next page; null on the last one.")]

    @classmethod
    def of(cls, part: Part[S], show: Callable[[S], T]) -> Self:
        """What a service found, each item turned by `show` into its shape for programs."""
        following = None if part.next is None else cursor(part.next)
        return cls(items=[show(item) for item in part.items], total=part.total, next=following)


def cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def after(given: str | None) -> str | None:
    """The key inside a cursor, as services take it; Invalid for a cursor that is not ours."""
    if given is None:
        return None
    try:
        key = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise _odd() from None
    if not key or cursor(key) != given:
        raise _odd()
    return key


def _odd() -> Invalid:
    message = "is not a cursor of this list"
    return Invalid(f"The cursor {message}.", fields={"cursor": message})
