"""One page of a long list, as services return it to pages and API."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Generic, Self, TypeVar

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """`total` counts the whole list; `next` is the key of the last item on this page, None on the last page."""

    items: list[T]
    total: int
    next: str | None

    @classmethod
    def of(cls, found: Sequence[T], total: int, limit: int, key: Callable[[T], str] = attrgetter("id")) -> Self:
        """The page of the first `limit` items; `found` has at least one item more if there is a next page."""
        items = list(found[:limit])
        return cls(items, total, key(items[-1]) if len(found) > limit else None)
