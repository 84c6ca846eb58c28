"""Waiting that a busy machine does not turn into a failure: what is promised is that it happens, not that it is quick."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.api import kit

T = TypeVar("T")


async def eventually(read: Callable[[], Awaitable[T]], right: Callable[[T], bool]) -> T:
    """What `read` answers once it is right."""
    return await kit.eventually(read, right, seconds=90)
