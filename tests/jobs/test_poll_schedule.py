"""Which job the worker polls next: in order, each only once at a time, and `poll_now` is never lost."""

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
    schedule, jobs = PollSchedule(), [new_job() for _ in range(3)]
    for job, seconds in zip(jobs, (-1, -2, 3600), strict=True):
        schedule.put(due_in(job, seconds))
    assert ids(schedule.take(9)) == [jobs[1].id, jobs[0].id]
    assert schedule.next_due() is not None
    assert schedule.take(9) == []


def test_no_more_jobs_of_a_provider_are_polled_at_a_time_than_the_limit_and_others_do_not_wait() -> None:
    schedule, jobs = PollSchedule(), [due_in(new_job(), -number - 1) for number in range(5)]
    for job in jobs:
        schedule.put(job)
    assert ids(schedule.take(2)) == [jobs[4].id, jobs[3].id]
    elsewhere = due_in(new_job(provider="fal"), -1)
    schedule.put(elsewhere)
    assert ids(schedule.take(2)) == [elsewhere.id]
    schedule.release(jobs[4].id)
    assert ids(schedule.take(2)) == [jobs[4].id], "there is one more to poll, and it is still due"


def test_a_job_that_has_moved_to_another_provider_is_polled_once() -> None:
    schedule, job = PollSchedule(), due_in(new_job(), -1)
    schedule.put(job)
    schedule.put(msgspec.structs.replace(job, provider="fal"))
    assert ids(schedule.take(9)) == [job.id]
    assert schedule.take(9) == []


def test_a_job_without_a_time_is_due_now() -> None:
    schedule, job = PollSchedule(), new_job()
    schedule.put(job)
    assert ids(schedule.take(1)) == [job.id]


def test_a_job_that_is_being_polled_is_not_taken_again() -> None:
    schedule, job = PollSchedule(), new_job()
    schedule.put(due_in(job, -1))
    assert len(schedule.take(1)) == 1
    schedule.put(due_in(job, -1))
    assert schedule.take(1) == []
    assert schedule.next_due() is None, "or the worker would spin"
    schedule.release(job.id)
    assert len(schedule.take(1)) == 1


def test_a_later_time_replaces_an_earlier_one() -> None:
    schedule, job = PollSchedule(), new_job()
    schedule.put(due_in(job, -1))
    schedule.put(due_in(job, 3600))
    assert schedule.take(1) == []


def test_an_ended_job_is_not_polled() -> None:
    schedule, job = PollSchedule(), new_job()
    schedule.put(due_in(job, -1))
    schedule.drop(job.id)
    assert schedule.take(1) == []
    schedule.put(due_in(job, -1))
    (taken,) = schedule.take(1)
    schedule.drop(taken.id)
    schedule.release(taken.id)
    assert schedule.take(1) == []


def test_poll_now_makes_a_job_due_once() -> None:
    schedule, job = PollSchedule(), new_job()
    schedule.put(due_in(job, 3600))
    schedule.poll_now(job.id)
    assert ids(schedule.take(1)) == [job.id]
    schedule.put(due_in(job, 3600))
    schedule.release(job.id)
    assert schedule.take(1) == []


def test_poll_now_during_a_poll_takes_effect_afterwards() -> None:
    schedule, job = PollSchedule(), new_job()
    schedule.put(due_in(job, -1))
    schedule.take(1)
    schedule.poll_now(job.id)
    schedule.put(due_in(job, 3600))
    schedule.release(job.id)
    assert ids(schedule.take(1)) == [job.id]


def test_poll_now_before_the_job_is_known_takes_effect_later() -> None:
    schedule, job = PollSchedule(), new_job()
    schedule.poll_now(job.id)
    schedule.put(due_in(job, 3600))
    assert ids(schedule.take(1)) == [job.id]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["put", "later", "drop", "hint", "take", "back"]), st.integers(0, 3))))
def test_no_job_is_polled_twice_at_a_time_and_no_due_job_is_forgotten_whatever_happens(
    steps: list[tuple[str, int]],
) -> None:
    """Compared with a trivial model."""
    schedule, jobs = PollSchedule(), [new_job() for _ in range(4)]
    known: dict[str, bool] = {}  # whether it is due
    hinted: set[str] = set()
    polled: set[str] = set()  # being polled
    for step, number in steps:
        job = jobs[number]
        if step in ("put", "later"):
            schedule.put(due_in(job, -1 if step == "put" else 3600))
            known[job.id] = step == "put"
        elif step == "drop":
            schedule.drop(job.id)
            known.pop(job.id, None)
            hinted.discard(job.id)
        elif step == "hint":
            schedule.poll_now(job.id)
            hinted.add(job.id)
        elif step == "back" and job.id in polled:
            schedule.release(job.id)
            polled.discard(job.id)
        elif step == "take":
            taken = set(ids(schedule.take(9)))
            due = {id for id, is_due in known.items() if (is_due or id in hinted) and id not in polled}
            assert taken == due
            hinted -= taken
            polled |= taken
        assert schedule.ids() == known.keys()
