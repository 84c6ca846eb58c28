"""Lists as the API shows them: `{"items", "total", "next"}`, `limit` and an opaque `cursor`."""

import base64
import binascii
import inspect
from collections.abc import Callable
from types import GenericAlias
from typing import Annotated, Generic, Self, TypeVar, get_args, get_origin

import msgspec
from litestar.params import QueryParameter

from app.base.errors import Invalid
from app.base.paging import Page

S = TypeVar("S")
T = TypeVar("T")

DEFAULT = 24
Limit = Annotated[int, QueryParameter(ge=1, le=100, description="How many items at most.")]
Cursor = Annotated[str | None, QueryParameter(description="`next` of the page before this one.")]


class PageOut(msgspec.Struct, Generic[T], kw_only=True):
    """Subclass it with a name of its own for the API's document: `class Users(Page[UserOut])`."""

    items: list[T]
    total: Annotated[int, msgspec.Meta(description="How many there are in all.")]
    next: Annotated[str | None, msgspec.Meta(description="The `cursor` of the next page; null on the last one.")]

    def __init_subclass__(cls) -> None:
        """Repeat in the subclass what its items are: the API's document does not look for it in the base."""
        super().__init_subclass__()
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is PageOut:
                cls.__annotations__ = {**inspect.get_annotations(cls), "items": GenericAlias(list, get_args(base))}

    @classmethod
    def of(cls, part: Page[S], show: Callable[[S], T]) -> Self:
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
    if not key or not key.isprintable() or cursor(key) != given:
        raise _odd()
    return key


def _odd() -> Invalid:
    message = "is not a cursor of this list"
    return Invalid(f"The cursor {message}.", fields={"cursor": message})


def part_of(found: list[T], key: Callable[[T], str], after: str | None, limit: int) -> Page[T]:
    """A stretch of a list that stands in memory whole, after the item with that key; from the start when it has gone."""
    start = next((place for place, item in enumerate(found, 1) if key(item) == after), 0) if after else 0
    items = found[start : start + limit]
    return Page(items, len(found), key(items[-1]) if start + limit < len(found) else None)
