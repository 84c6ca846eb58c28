"""At most so many in so long."""

import asyncio

import pytest

from app.base.errors import Exhausted
from app.base.limits import Limit


async def test_so_many_are_let_through_and_more_only_when_time_has_passed() -> None:
    limit = Limit(3, 1)
    for _ in range(3):
        await limit.take("ada")
    with pytest.raises(Exhausted) as refused:
        await limit.take("ada")
    assert refused.value.retry_after == 1
    await asyncio.sleep(1.05)
    await limit.take("ada")


async def test_it_says_how_long_to_wait() -> None:
    limit = Limit(1, 60)
    await limit.take("ada")
    with pytest.raises(Exhausted) as refused:
        await limit.take("ada")
    assert 58 <= refused.value.retry_after <= 60


async def test_each_key_is_counted_by_itself() -> None:
    limit = Limit(1, 60)
    await limit.take("ada")
    await limit.take("bob")
    with pytest.raises(Exhausted):
        await limit.take("bob")


async def test_many_at_once_get_exactly_as_many_as_there_are() -> None:
    limit = Limit(10, 60)
    results = await asyncio.gather(*(limit.take("ada") for _ in range(50)), return_exceptions=True)
    assert sum(result is None for result in results) == 10
