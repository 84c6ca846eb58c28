"""Fair turns: nobody's hundred jobs hold up somebody else's first."""

from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.base import clock
from app.jobs.line import PER_PERSON, PER_PROVIDER, History, Line
from app.jobs.schemas import Job, Status
from tests.jobs.conftest import a_job


def _line(*jobs: Job) -> Line:
    line = Line()
    for job in jobs:
        line.put(job)
    return line


def _started(line: Line, jobs: list[Job], ids: list[str]) -> None:
    for job in jobs:
        if job.id in ids:
            line.put(msgspec.structs.replace(job, status=Status.PROCESSING))


def test_a_batch_of_two_hundred_does_not_hold_up_anothers_first() -> None:
    batch = [a_job("ann") for _ in range(200)]
    line = _line(*batch)
    _started(line, batch, line.choose(8))
    late = a_job("bob")
    line.put(late)
    assert line.place(late) == 1
    assert line.choose(2)[0] == late.id


def test_two_people_take_turns() -> None:
    anns, bobs = [a_job("ann") for _ in range(6)], [a_job("bob") for _ in range(3)]
    chosen = _line(*anns, *bobs).choose(9)
    owners = ["ann" if id in [job.id for job in anns] else "bob" for id in chosen]
    assert sorted(owners[:6]) == ["ann"] * 3 + ["bob"] * 3
    assert owners[6:] == ["ann"] * 3
    assert [id for id in chosen if id in [job.id for job in anns]] == [job.id for job in anns], "own order is kept"


def test_a_higher_priority_goes_first_among_ones_own_and_takes_nothing_from_others() -> None:
    low, high, other = a_job("ann"), a_job("ann", priority=5), a_job("bob")
    chosen = _line(low, high, other).choose(3)
    assert chosen.index(high.id) < chosen.index(low.id)
    assert other.id in chosen[:2]


def test_what_waits_for_a_retry_is_not_chosen_before_it_is_due() -> None:
    waiting = a_job("ann", due=clock.now() + timedelta(hours=1))
    line = _line(waiting)
    assert not line.waiting()
    assert line.choose(5) == []
    due = a_job("ann", due=clock.now() - timedelta(seconds=1))
    line.put(due)
    assert line.choose(5) == [due.id]


def test_nobody_and_no_provider_has_more_under_way_than_the_caps() -> None:
    jobs = [a_job("ann") for _ in range(PER_PERSON + 5)]
    line = _line(*jobs)
    chosen = line.choose(1000)
    assert len(chosen) == PER_PERSON
    _started(line, jobs, chosen)
    assert line.choose(1000) == []
    crowd = [a_job(f"person {n}") for n in range(PER_PROVIDER + 10)]
    elsewhere = a_job("zoe", provider="fal")
    assert len(_line(*crowd, elsewhere).choose(1000)) == PER_PROVIDER + 1


def test_choosing_alone_changes_nothing() -> None:
    jobs = [a_job("ann") for _ in range(3)]
    line = _line(*jobs)
    assert sorted(line.choose(3)) == sorted(line.choose(3))
    line.drop(jobs[0].id)
    assert sorted(line.choose(3)) == sorted(job.id for job in jobs[1:])


@given(
    st.lists(st.sampled_from(["put", "start", "requeue", "end"]), min_size=1, max_size=60),
    st.lists(st.sampled_from(["ann", "bob", "eve"]), min_size=60, max_size=60),
)
def test_whatever_happens_exactly_what_waits_is_chosen(steps: list[str], owners: list[str]) -> None:
    line, queued, running = Line(), dict[str, Job](), dict[str, Job]()
    for step, owner in zip(steps, owners, strict=False):
        if step == "put":
            job = a_job(owner)
            queued[job.id] = job
            line.put(job)
        elif step == "start":
            for id in line.choose(2):
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
    chosen = line.choose(1000)
    assert sorted(chosen) == sorted(queued)
    assert all(1 <= line.place(job) <= len(queued) for job in queued.values())


def test_an_estimate_needs_three_jobs_and_says_median_and_ninetieth_percentile() -> None:
    history = History()
    assert history.durations("m") == (None, None)
    history.learn_durations("m", [5, 1])
    assert history.durations("m") == (None, None)
    history.learn_durations("m", list(range(10, 110, 10)))
    assert history.durations("m") == (55, 100)
    assert history.knows("m")
    assert not history.knows("other")
