"""The order of one user's waiting jobs, and what changes in it when the user moves one.

Each job has a rank, at first its own id, which sorts by age. A move permutes the ranks among the jobs of one priority, so ranks stay
unique, never grow, and a job that is queued again later still has its place among them.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple


class QueuePlace(NamedTuple):
    """What decides when a waiting job is started: the highest priority first, then the lowest rank."""

    id: str
    priority: int
    rank: str

    @property
    def key(self) -> tuple[int, str]:
        return -self.priority, self.rank


def in_order(places: Iterable[QueuePlace]) -> list[QueuePlace]:
    """The jobs in the order in which they are started."""
    return sorted(places, key=attrgetter("key"))


def move(places: Iterable[QueuePlace], id: str, before: str | None) -> list[QueuePlace]:
    """The places that change when the job is moved directly before another one, or behind all others. It takes on the priority of
    that one, or of the last one. Raises KeyError if either job is not among `places`."""
    old = {place.id: place for place in places}
    moved = old[id]
    others = [place for place in in_order(old.values()) if place.id != id]
    if before == id or not others:
        return []
    next_to = others[-1] if before is None else old[before]
    at = len(others) if before is None else others.index(next_to)
    others.insert(at, moved._replace(priority=next_to.priority))
    same_priority = [place for place in others if place.priority == next_to.priority]
    ranks = sorted(place.rank for place in same_priority)
    new = [place._replace(rank=rank) for place, rank in zip(same_priority, ranks, strict=True)]
    return [place for place in new if place != old[place.id]]
