"""Ids that sort by creation time."""

from app.base.ids import Ids, uuid7


def test_ids_sort_by_creation_time_and_never_repeat() -> None:
    ids = [uuid7() for _ in range(10_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 10_000
    assert len({id[-15:] for id in ids}) == 10_000, "what does not come from the clock is random"


def test_ids_sort_by_creation_time_however_the_clock_is_set() -> None:
    now = 1_900_000_000 * 10**9
    ids = Ids(lambda: now)
    made = [ids.new()]
    for change in (0, 3600, -7200, 3600):
        now += change * 10**9
        for _ in range(100):
            now += 10_000  # nanoseconds: many ids in a millisecond
            made.append(ids.new())
    assert made == sorted(set(made))
