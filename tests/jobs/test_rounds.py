"""Whom the worker asks next: in order, each only once at a time, and a hint is never lost."""

from datetime import timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from app.base import clock
from app.jobs.rounds import Rounds
from app.jobs.schemas import Job
from tests.jobs.conftest import a_job


def _due(job: Job, seconds: float) -> Job:
    return msgspec.structs.replace(job, due=clock.now() + timedelta(seconds=seconds))


def _ids(jobs: object) -> list[str]:
    return [job.id for job in jobs]  # type: ignore[attr-defined]


def test_what_is_due_longest_comes_first_and_what_is_not_due_waits() -> None:
    rounds, jobs = Rounds(), [a_job() for _ in range(3)]
    for job, seconds in zip(jobs, (-1, -2, 60), strict=True):
        rounds.put(_due(job, seconds))
    assert _ids(rounds.take(9)) == [jobs[1].id, jobs[0].id]
    assert rounds.next_due() is not None
    assert rounds.take(9) == []


def test_no_more_are_taken_than_there_is_room_for() -> None:
    rounds, jobs = Rounds(), [_due(a_job(), -1) for _ in range(5)]
    for job in jobs:
        rounds.put(job)
    assert len(rounds.take(2)) == 2
    assert len(rounds.take(2)) == 2
    assert rounds.take(0) == []
    assert len(rounds.take(2)) == 1


def test_without_a_moment_it_is_due_now() -> None:
    rounds, job = Rounds(), a_job()
    rounds.put(job)
    assert _ids(rounds.take(1)) == [job.id]


def test_a_job_that_is_being_asked_is_not_given_out_again() -> None:
    rounds, job = Rounds(), a_job()
    rounds.put(_due(job, -1))
    assert len(rounds.take(1)) == 1
    rounds.put(_due(job, -1))
    assert rounds.take(1) == []
    assert rounds.next_due() is None, "or the worker would not rest"
    rounds.back(job.id)
    assert len(rounds.take(1)) == 1


def test_a_later_moment_replaces_an_earlier_one() -> None:
    rounds, job = Rounds(), a_job()
    rounds.put(_due(job, -1))
    rounds.put(_due(job, 60))
    assert rounds.take(1) == []


def test_what_has_ended_is_gone() -> None:
    rounds, job = Rounds(), a_job()
    rounds.put(_due(job, -1))
    rounds.drop(job.id)
    assert rounds.take(1) == []
    rounds.put(_due(job, -1))
    (taken,) = rounds.take(1)
    rounds.drop(taken.id)
    rounds.back(taken.id)
    assert rounds.take(1) == []


def test_a_hint_brings_a_job_forward_once() -> None:
    rounds, job = Rounds(), a_job()
    rounds.put(_due(job, 60))
    rounds.hint(job.id)
    assert _ids(rounds.take(1)) == [job.id]
    rounds.put(_due(job, 60))
    rounds.back(job.id)
    assert rounds.take(1) == []


def test_a_hint_while_it_is_asked_counts_afterwards() -> None:
    rounds, job = Rounds(), a_job()
    rounds.put(_due(job, -1))
    rounds.take(1)
    rounds.hint(job.id)
    rounds.put(_due(job, 60))
    rounds.back(job.id)
    assert _ids(rounds.take(1)) == [job.id]


def test_a_hint_that_comes_before_the_job_counts_when_it_comes() -> None:
    rounds, job = Rounds(), a_job()
    rounds.hint(job.id)
    rounds.put(_due(job, 60))
    assert _ids(rounds.take(1)) == [job.id]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["put", "later", "drop", "hint", "take", "back"]), st.integers(0, 3))))
def test_whatever_happens_nobody_is_out_twice_and_nobody_due_is_forgotten(steps: list[tuple[str, int]]) -> None:
    """Against a model so simple that it cannot be wrong."""
    rounds, jobs = Rounds(), [a_job() for _ in range(4)]
    there: dict[str, bool] = {}  # whether it is due
    hinted: set[str] = set()
    out: set[str] = set()
    for what, number in steps:
        job = jobs[number]
        if what in ("put", "later"):
            rounds.put(_due(job, -1 if what == "put" else 600))
            there[job.id] = what == "put"
        elif what == "drop":
            rounds.drop(job.id)
            there.pop(job.id, None)
            hinted.discard(job.id)
        elif what == "hint":
            rounds.hint(job.id)
            hinted.add(job.id)
        elif what == "back" and job.id in out:
            rounds.back(job.id)
            out.discard(job.id)
        elif what == "take":
            taken = set(_ids(rounds.take(9)))
            due = {id for id, is_due in there.items() if (is_due or id in hinted) and id not in out}
            assert taken == due
            hinted -= taken
            out |= taken
