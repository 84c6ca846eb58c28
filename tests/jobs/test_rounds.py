"""Which job the worker polls next: in order, each only once at a time, and a hint is never lost."""

from collections.abc import Iterable
from datetime import timedelta

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.base import clock
from app.jobs.poll_schedule import PollSchedule
from app.jobs.schemas import Job
from tests.jobs.conftest import new_job


def due_in(job: Job, seconds: float) -> Job:
    return msgspec.structs.replace(job, run_at=clock.now() + timedelta(seconds=seconds))


def ids(jobs: Iterable[Job]) -> list[str]:
    return [job.id for job in jobs]


def test_the_job_that_is_due_longest_is_polled_first_and_one_that_is_not_due_waits() -> None:
    rounds, jobs = PollSchedule(), [new_job() for _ in range(3)]
    for job, seconds in zip(jobs, (-1, -2, 3600), strict=True):
        rounds.put(due_in(job, seconds))
    assert ids(rounds.take(9)) == [jobs[1].id, jobs[0].id]
    assert rounds.next_due() is not None
    assert rounds.take(9) == []


def test_no_more_jobs_are_taken_than_the_limit() -> None:
    rounds, jobs = PollSchedule(), [due_in(new_job(), -1) for _ in range(5)]
    for job in jobs:
        rounds.put(job)
    assert len(rounds.take(2)) == 2
    assert len(rounds.take(2)) == 2
    assert rounds.take(0) == []
    assert len(rounds.take(2)) == 1


def test_a_job_without_a_time_is_due_now() -> None:
    rounds, job = PollSchedule(), new_job()
    rounds.put(job)
    assert ids(rounds.take(1)) == [job.id]


def test_a_job_that_is_being_polled_is_not_taken_again() -> None:
    rounds, job = PollSchedule(), new_job()
    rounds.put(due_in(job, -1))
    assert len(rounds.take(1)) == 1
    rounds.put(due_in(job, -1))
    assert rounds.take(1) == []
    assert rounds.next_due() is None, "or the worker would spin"
    rounds.release(job.id)
    assert len(rounds.take(1)) == 1


def test_a_later_time_replaces_an_earlier_one() -> None:
    rounds, job = PollSchedule(), new_job()
    rounds.put(due_in(job, -1))
    rounds.put(due_in(job, 3600))
    assert rounds.take(1) == []


def test_an_ended_job_is_not_polled() -> None:
    rounds, job = PollSchedule(), new_job()
    rounds.put(due_in(job, -1))
    rounds.drop(job.id)
    assert rounds.take(1) == []
    rounds.put(due_in(job, -1))
    (taken,) = rounds.take(1)
    rounds.drop(taken.id)
    rounds.release(taken.id)
    assert rounds.take(1) == []


def test_a_hint_brings_a_job_forward_once() -> None:
    rounds, job = PollSchedule(), new_job()
    rounds.put(due_in(job, 3600))
    rounds.poll_now(job.id)
    assert ids(rounds.take(1)) == [job.id]
    rounds.put(due_in(job, 3600))
    rounds.release(job.id)
    assert rounds.take(1) == []


def test_a_hint_during_a_poll_counts_afterwards() -> None:
    rounds, job = PollSchedule(), new_job()
    rounds.put(due_in(job, -1))
    rounds.take(1)
    rounds.poll_now(job.id)
    rounds.put(due_in(job, 3600))
    rounds.release(job.id)
    assert ids(rounds.take(1)) == [job.id]


def test_a_hint_that_arrives_before_the_job_counts_once_the_job_is_known() -> None:
    rounds, job = PollSchedule(), new_job()
    rounds.poll_now(job.id)
    rounds.put(due_in(job, 3600))
    assert ids(rounds.take(1)) == [job.id]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["put", "later", "drop", "hint", "take", "back"]), st.integers(0, 3))))
def test_no_job_is_polled_twice_at_a_time_and_no_due_job_is_forgotten_whatever_happens(
    steps: list[tuple[str, int]],
) -> None:
    """Compared with a model that is too simple to be wrong."""
    rounds, jobs = PollSchedule(), [new_job() for _ in range(4)]
    known: dict[str, bool] = {}  # whether it is due
    hinted: set[str] = set()
    polled: set[str] = set()  # being polled
    for step, number in steps:
        job = jobs[number]
        if step in ("put", "later"):
            rounds.put(due_in(job, -1 if step == "put" else 3600))
            known[job.id] = step == "put"
        elif step == "drop":
            rounds.drop(job.id)
            known.pop(job.id, None)
            hinted.discard(job.id)
        elif step == "hint":
            rounds.poll_now(job.id)
            hinted.add(job.id)
        elif step == "back" and job.id in polled:
            rounds.release(job.id)
            polled.discard(job.id)
        elif step == "take":
            taken = set(ids(rounds.take(9)))
            due = {id for id, is_due in known.items() if (is_due or id in hinted) and id not in polled}
            assert taken == due
            hinted -= taken
            polled |= taken
        assert rounds.ids() == known.keys()
