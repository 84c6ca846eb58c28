"""A stretch of a long list, as services hand it up to both doors."""

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """`total` counts the whole list; `next` is the key of the last item here, None when nothing follows it."""

    items: list[T]
    total: int
    next: str | None
