"""Paginated lists of the API: `{"items", "total", "next"}`, `limit` and an opaque `cursor`."""

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
Limit = Annotated[int, QueryParameter(ge=1, le=100, description="Maximum number of items.")]
Cursor = Annotated[str | None, QueryParameter(description="The value of `next` from the previous page.")]


class PageOut(msgspec.Struct, Generic[T], kw_only=True):
    """A page of a list. Subclass it to name it in the OpenAPI document: `class Users(PageOut[UserOut])`."""

    items: list[T]
    total: Annotated[int, msgspec.Meta(description="Total number of items.")]
    next: Annotated[str | None, msgspec.Meta(description="The `cursor` of the next page; null on the last one.")]

    def __init_subclass__(cls) -> None:
        """Repeat the type of `items` in the subclass, because the OpenAPI generator does not resolve it from the base."""
        super().__init_subclass__()
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is PageOut:
                cls.__annotations__ = {**inspect.get_annotations(cls), "items": GenericAlias(list, get_args(base))}

    @classmethod
    def of(cls, page: Page[S], show: Callable[[S], T]) -> Self:
        """A service's page as an API page, each item converted by `show`."""
        following = None if page.next is None else cursor(page.next)
        return cls(items=[show(item) for item in page.items], total=page.total, next=following)


def cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def after(given: str | None) -> str | None:
    """The key encoded in a cursor; raises Invalid for a malformed cursor."""
    if given is None:
        return None
    try:
        key = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise _invalid_cursor() from None
    if not key or not key.isprintable() or cursor(key) != given:
        raise _invalid_cursor()
    return key


def _invalid_cursor() -> Invalid:
    message = "is not a valid cursor"
    return Invalid(f"`cursor` {message}.", fields={"cursor": message})


def part_of(items: list[T], key: Callable[[T], str], after: str | None, limit: int) -> Page[T]:
    """A page of an in-memory list, after the item with the key `after`; from the start when that item is gone."""
    start = next((index for index, item in enumerate(items, 1) if key(item) == after), 0) if after else 0
    return Page.of(items[start : start + limit + 1], len(items), limit, key)
