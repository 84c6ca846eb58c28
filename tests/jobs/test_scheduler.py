"""Fair scheduling: a hundred jobs of one user do not delay the first job of another."""

from datetime import timedelta

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.base import clock
from app.jobs.scheduler import (
    MAX_RUNNING,
    MAX_RUNNING_PER_USER,
    MAX_SENDING,
    MAX_SENDING_PER_USER,
    FairQueue,
)
from app.jobs.schemas import Job, JobStatus, QueuePosition
from tests.jobs.conftest import new_job


def queue_of(*jobs: Job) -> FairQueue:
    queue = FairQueue()
    for job in jobs:
        queue.put(job)
    return queue


def start(queue: FairQueue, jobs: list[Job], ids: list[str]) -> None:
    for job in jobs:
        if job.id in ids:
            queue.put(msgspec.structs.replace(job, status=JobStatus.PROCESSING))


def test_a_batch_of_two_hundred_does_not_delay_the_first_job_of_another_user() -> None:
    batch = [new_job("ann") for _ in range(200)]
    queue = queue_of(*batch)
    start(queue, batch, queue.next_batch(8))
    job = new_job("bob")
    queue.put(job)
    assert queue.position(job) == QueuePosition(overall=1, own=1, own_count=1)
    assert queue.next_batch(2)[0] == job.id


def test_two_users_take_turns() -> None:
    anns, bobs = [new_job("ann") for _ in range(6)], [new_job("bob") for _ in range(3)]
    chosen = queue_of(*anns, *bobs).next_batch(9)
    owners = ["ann" if id in [job.id for job in anns] else "bob" for id in chosen]
    assert sorted(owners[:6]) == ["ann"] * 3 + ["bob"] * 3
    assert owners[6:] == ["ann"] * 3
    assert [id for id in chosen if id in [job.id for job in anns]] == [job.id for job in anns], "oldest first for each"


def test_a_higher_priority_goes_first_among_the_users_own_jobs_and_delays_no_one_else() -> None:
    low, high, other = new_job("ann"), new_job("ann", priority=5), new_job("bob")
    chosen = queue_of(low, high, other).next_batch(3)
    assert chosen.index(high.id) < chosen.index(low.id)
    assert other.id in chosen[:2]


def test_a_job_that_waits_for_its_retry_is_not_chosen_before_it_is_due() -> None:
    waiting = new_job("ann", run_at=clock.now() + timedelta(hours=1))
    queue = queue_of(waiting)
    assert not queue.has_waiting()
    assert queue.next_batch(5) == []
    due = new_job("ann", run_at=clock.now() - timedelta(seconds=1))
    queue.put(due)
    assert queue.next_batch(5) == [due.id]


def start_all(queue: FairQueue, jobs: list[Job]) -> list[str]:
    """The ids of the jobs that are started when each request is answered at once."""
    started: list[str] = []
    while chosen := queue.next_batch(1000):
        start(queue, jobs, chosen)
        started += chosen
    return started


def test_no_user_and_no_provider_has_more_running_jobs_than_the_limits_allow() -> None:
    jobs = [new_job("ann") for _ in range(MAX_RUNNING_PER_USER + 5)]
    assert len(start_all(queue_of(*jobs), jobs)) == MAX_RUNNING_PER_USER
    crowd = [new_job(f"user {n}") for n in range(MAX_RUNNING + 10)]
    assert len(start_all(queue_of(*crowd), crowd)) == MAX_RUNNING


def test_a_provider_that_runs_as_many_jobs_as_it_may_delays_no_job_for_another_provider() -> None:
    crowd = [new_job(f"user {n}") for n in range(MAX_RUNNING)]
    anns = [new_job("ann", priority=9) for _ in range(MAX_RUNNING_PER_USER + 1)]
    bobs = [new_job("bob") for _ in range(5)]
    queue = queue_of(*crowd)
    assert len(start_all(queue, crowd)) == MAX_RUNNING
    for job in (*anns, *bobs):
        queue.put(job)
    elsewhere = [new_job("ann", provider="fal"), new_job("bob", provider="fal")]
    for job in elsewhere:
        queue.put(job)
        assert queue.position(job) == QueuePosition(overall=1, own=1, own_count=1)
    assert sorted(queue.next_batch(1000)) == sorted(job.id for job in elsewhere)


def test_requests_without_an_answer_delay_only_their_own_user_at_their_own_provider() -> None:
    jobs = [new_job("ann") for _ in range(MAX_SENDING_PER_USER + 3)]
    queue = queue_of(*jobs)
    sent = queue.next_batch(1000)
    assert len(sent) == MAX_SENDING_PER_USER
    for job in jobs:
        if job.id in sent:
            queue.begin_sending(job)
    start(queue, jobs, sent)
    bob, elsewhere = new_job("bob"), new_job("ann", provider="fal")
    queue.put(bob)
    queue.put(elsewhere)
    assert sorted(queue.next_batch(1000)) == sorted([bob.id, elsewhere.id])
    queue.drop(sent[0])  # it was cancelled, but its request is still open
    assert sorted(queue.next_batch(1000)) == sorted([bob.id, elsewhere.id])
    queue.end_sending(jobs[0])
    assert len(queue.next_batch(1000)) == 3


def test_a_provider_that_answers_no_one_holds_a_limited_number_of_requests() -> None:
    crowd = [new_job(f"user {n}") for n in range(MAX_SENDING + 10)]
    assert len(queue_of(*crowd, new_job(provider="fal")).next_batch(1000)) == MAX_SENDING + 1


def test_a_job_that_moves_to_another_provider_waits_there() -> None:
    crowd = [new_job(f"user {n}") for n in range(MAX_RUNNING)]
    queue, job = queue_of(*crowd), new_job("ann")
    start_all(queue, crowd)
    queue.put(job)
    assert queue.next_batch(9) == []
    queue.put(msgspec.structs.replace(job, provider="fal"))
    assert queue.next_batch(9) == [job.id]


def test_next_batch_changes_nothing_by_itself() -> None:
    jobs = [new_job("ann") for _ in range(3)]
    queue = queue_of(*jobs)
    assert sorted(queue.next_batch(3)) == sorted(queue.next_batch(3))
    queue.drop(jobs[0].id)
    assert sorted(queue.next_batch(3)) == sorted(job.id for job in jobs[1:])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(["put", "start", "requeue", "end"]), min_size=1, max_size=60),
    st.lists(st.sampled_from(["ann", "bob", "eve"]), min_size=60, max_size=60),
)
def test_exactly_the_waiting_jobs_are_chosen_after_any_steps(steps: list[str], owners: list[str]) -> None:
    queue, queued, running = FairQueue(), dict[str, Job](), dict[str, Job]()
    for step, owner in zip(steps, owners, strict=False):
        if step == "put":
            job = new_job(owner)
            queued[job.id] = job
            queue.put(job)
        elif step == "start":
            for id in queue.next_batch(2):
                running[id] = msgspec.structs.replace(queued.pop(id), status=JobStatus.PROCESSING)
                queue.put(running[id])
        elif step == "requeue" and running:
            id, job = running.popitem()
            queued[id] = msgspec.structs.replace(job, status=JobStatus.QUEUED)
            queue.put(queued[id])
        elif step == "end" and (running or queued):
            id, _ = (running or queued).popitem()
            queue.drop(id)
        assert queue.has_waiting() == bool(queued)
    assert sorted(queue.next_batch(1000)) == sorted(queued)
    positions = {id: queue.position(job) for id, job in queued.items()}
    assert all(place is not None and 1 <= place.overall <= len(queued) for place in positions.values())
    for owner in ("ann", "bob", "eve"):
        places = [positions[id] for id in queue.waiting(owner)]
        assert [place.own for place in places if place] == list(range(1, len(places) + 1))
    for id in (*queued, *running):
        queue.drop(id)
    jobs = [new_job("ann") for _ in range(MAX_RUNNING_PER_USER)]
    for job in jobs:
        queue.put(job)
    assert len(start_all(queue, jobs)) == MAX_RUNNING_PER_USER, "nothing that has ended still counts"
