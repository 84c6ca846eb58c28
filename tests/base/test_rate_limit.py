"""The rate limit, with a clock that the tests advance."""

import pytest

from app.base.errors import Exhausted
from app.base.rate_limit import RateLimit


class Timer:
    """A timer that only the tests advance."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def timer() -> Timer:
    return Timer()


def wait_after(limit: RateLimit, *key: str) -> int | None:
    """The seconds to wait, as the error says."""
    with pytest.raises(Exhausted) as refused:
        limit.take(*key)
    assert f"Try again in {refused.value.retry_after} seconds." in refused.value.message
    return refused.value.retry_after


def test_a_full_window_is_refused_until_its_oldest_entry_has_left_it(timer: Timer) -> None:
    limit = RateLimit(3, 10, timer=timer)
    for _ in range(3):
        limit.take("ada")
        timer.seconds += 2
    assert wait_after(limit, "ada") == 4
    timer.seconds += 3.5
    assert wait_after(limit, "ada") == 1
    timer.seconds += 0.5
    limit.take("ada")
    assert wait_after(limit, "ada") == 2


def test_a_refused_attempt_does_not_prolong_the_wait(timer: Timer) -> None:
    limit = RateLimit(1, 60, timer=timer)
    limit.take("ada")
    for passed in range(60):
        assert wait_after(limit, "ada") == 60 - passed
        timer.seconds += 1
    limit.take("ada")


def test_each_key_is_counted_separately(timer: Timer) -> None:
    limit = RateLimit(1, 60, timer=timer)
    limit.take("ada")
    limit.take("bob")
    limit.take("ada", "127.0.0.1")
    for key in (("ada",), ("bob",), ("ada", "127.0.0.1")):
        wait_after(limit, *key)


def test_of_many_attempts_at_one_moment_exactly_the_limit_succeeds(timer: Timer) -> None:
    limit = RateLimit(10, 60, timer=timer)
    for _ in range(10):
        limit.take("ada")
    for _ in range(40):
        wait_after(limit, "ada")


def test_keys_whose_window_is_empty_are_forgotten(timer: Timer) -> None:
    limit = RateLimit(2, 60, timer=timer)
    for number in range(1000):
        limit.take(f"user{number}")
        timer.seconds += 1
    assert len(limit) == 59
    timer.seconds += 60
    limit.take("user0")
    assert len(limit) == 1


def test_the_clock_is_the_systems_unless_another_is_given() -> None:
    limit = RateLimit(1, 60)
    limit.take("ada")
    assert 1 <= (wait_after(limit, "ada") or 0) <= 60
