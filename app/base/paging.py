"""One page of a long list, as services return it to pages and API."""

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """`total` counts the whole list; `next` is the key of the last item on this page, None on the last page."""

    items: list[T]
    total: int
    next: str | None
