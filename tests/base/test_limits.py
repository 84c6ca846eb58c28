"""At most so many in so long."""

import pytest

from app.base import limits
from app.base.errors import Exhausted
from app.base.limits import Limit


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_are_let_through_and_the_next_one_only_when_the_first_is_old_enough() -> None:
    watch = Watch()
    limit = Limit(3, 60, clock=watch)
    for second in (0, 10, 20):
        watch.now = second
        limit.take("ada")
    with pytest.raises(Exhausted) as refused:
        limit.take("ada")
    assert refused.value.retry_after == 40
    watch.now = 59.9
    with pytest.raises(Exhausted):
        limit.take("ada")
    watch.now = 60
    limit.take("ada")


def test_what_was_refused_does_not_count() -> None:
    watch = Watch()
    limit = Limit(1, 60, clock=watch)
    limit.take("ada")
    for watch.now in range(1, 60):
        with pytest.raises(Exhausted):
            limit.take("ada")
    watch.now = 60
    limit.take("ada")


def test_each_key_is_counted_by_itself() -> None:
    limit = Limit(1, 60)
    limit.take("ada")
    limit.take("bob")


def test_it_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS", 10)
    limit = Limit(1, 60)
    for number in range(100):
        limit.take(str(number))
    assert len(limit._taken) == 10
