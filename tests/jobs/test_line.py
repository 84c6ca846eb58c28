"""Fair turns: a hundred jobs of one user do not hold up the first of another."""

from datetime import timedelta

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.base import clock
from app.jobs.scheduler import PER_PERSON, PER_PROVIDER, FairQueue, History
from app.jobs.schemas import Job, Status
from tests.jobs.conftest import new_job


def line_of(*jobs: Job) -> FairQueue:
    line = FairQueue()
    for job in jobs:
        line.put(job)
    return line


def start(line: FairQueue, jobs: list[Job], ids: list[str]) -> None:
    for job in jobs:
        if job.id in ids:
            line.put(msgspec.structs.replace(job, status=Status.PROCESSING))


def test_a_batch_of_two_hundred_does_not_hold_up_the_first_job_of_another_user() -> None:
    batch = [new_job("ann") for _ in range(200)]
    line = line_of(*batch)
    start(line, batch, line.next_batch(8))
    job = new_job("bob")
    line.put(job)
    assert line.place(job) == 1
    assert line.next_batch(2)[0] == job.id


def test_two_users_take_turns() -> None:
    anns, bobs = [new_job("ann") for _ in range(6)], [new_job("bob") for _ in range(3)]
    chosen = line_of(*anns, *bobs).next_batch(9)
    owners = ["ann" if id in [job.id for job in anns] else "bob" for id in chosen]
    assert sorted(owners[:6]) == ["ann"] * 3 + ["bob"] * 3
    assert owners[6:] == ["ann"] * 3
    assert [id for id in chosen if id in [job.id for job in anns]] == [job.id for job in anns], "oldest first for each"


def test_a_higher_priority_goes_first_among_the_users_own_jobs_and_delays_no_one_else() -> None:
    low, high, other = new_job("ann"), new_job("ann", priority=5), new_job("bob")
    chosen = line_of(low, high, other).next_batch(3)
    assert chosen.index(high.id) < chosen.index(low.id)
    assert other.id in chosen[:2]


def test_a_job_that_waits_for_its_retry_is_not_chosen_before_it_is_due() -> None:
    waiting = new_job("ann", run_at=clock.now() + timedelta(hours=1))
    line = line_of(waiting)
    assert not line.waiting()
    assert line.next_batch(5) == []
    due = new_job("ann", run_at=clock.now() - timedelta(seconds=1))
    line.put(due)
    assert line.next_batch(5) == [due.id]


def test_no_user_and_no_provider_has_more_running_jobs_than_the_limits_allow() -> None:
    jobs = [new_job("ann") for _ in range(PER_PERSON + 5)]
    line = line_of(*jobs)
    chosen = line.next_batch(1000)
    assert len(chosen) == PER_PERSON
    start(line, jobs, chosen)
    assert line.running("ann") == PER_PERSON
    assert line.next_batch(1000) == []
    crowd = [new_job(f"user {n}") for n in range(PER_PROVIDER + 10)]
    elsewhere = new_job("zoe", provider="fal")
    assert len(line_of(*crowd, elsewhere).next_batch(1000)) == PER_PROVIDER + 1


def test_choosing_alone_changes_nothing() -> None:
    jobs = [new_job("ann") for _ in range(3)]
    line = line_of(*jobs)
    assert sorted(line.next_batch(3)) == sorted(line.next_batch(3))
    line.drop(jobs[0].id)
    assert sorted(line.next_batch(3)) == sorted(job.id for job in jobs[1:])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(["put", "start", "requeue", "end"]), min_size=1, max_size=60),
    st.lists(st.sampled_from(["ann", "bob", "eve"]), min_size=60, max_size=60),
)
def test_exactly_the_waiting_jobs_are_chosen_whatever_happened_before(steps: list[str], owners: list[str]) -> None:
    line, queued, running = FairQueue(), dict[str, Job](), dict[str, Job]()
    for step, owner in zip(steps, owners, strict=False):
        if step == "put":
            job = new_job(owner)
            queued[job.id] = job
            line.put(job)
        elif step == "start":
            for id in line.next_batch(2):
                running[id] = msgspec.structs.replace(queued.pop(id), status=Status.PROCESSING)
                line.put(running[id])
        elif step == "requeue" and running:
            id, job = running.popitem()
            queued[id] = msgspec.structs.replace(job, status=Status.QUEUED)
            line.put(queued[id])
        elif step == "end" and (running or queued):
            id, _ = (running or queued).popitem()
            line.drop(id)
        assert line.waiting() == bool(queued)
    chosen = line.next_batch(1000)
    assert sorted(chosen) == sorted(queued)
    assert all(1 <= line.place(job) <= len(queued) for job in queued.values())


def test_an_estimate_needs_three_jobs_and_gives_the_median_and_the_ninetieth_percentile() -> None:
    history = History()
    assert history.durations("m") == (None, None)
    history.learn_durations("m", [5, 1])
    assert history.durations("m") == (None, None)
    history.learn_durations("m", list(range(10, 110, 10)))
    assert history.durations("m") == (55, 100)
    assert history.knows("m")
    assert not history.knows("other")
