"""The clock never goes back, and timestamps are formatted in UTC."""

from datetime import datetime, timedelta

from app.base.clock import Clock, iso, now


def test_times_are_written_in_utc_with_a_z() -> None:
    assert iso(datetime(2026, 11, 20, 9, 30, 1, 234567)) == "2026-11-20T09:30:01.234Z"
    assert now().tzinfo is None


def test_time_follows_a_clock_that_is_set_forward_and_continues_when_it_is_set_back() -> None:
    second = 1_000_000_000
    wall, steady = 1_900_000_000 * second, 77 * second
    clock = Clock(wall=lambda: wall, steady=lambda: steady)
    start = clock.now()
    assert start == datetime(2030, 3, 17, 17, 46, 40)
    for forward, passed in ((3600, 3600), (-7200, 0), (0, 0), (7200, 0), (1, 1)):
        before = clock.now()
        wall += forward * second
        assert clock.now() - before == timedelta(seconds=passed)
        wall, steady = wall + second // 20, steady + second // 20
        assert clock.now() - before == timedelta(seconds=passed + 0.05), "it goes on"
    assert clock.now() - start == timedelta(seconds=3601 + 5 * 0.05)
