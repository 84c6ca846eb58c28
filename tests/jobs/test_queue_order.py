"""Users move their own waiting jobs: whatever they do, the queue agrees with a plain list."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from app.jobs.queue_order import QueuePlace, in_order, move
from app.jobs.scheduler import FairQueue
from app.jobs.schemas import Job, JobStatus
from tests.jobs.conftest import new_job

STEPS = st.one_of(
    st.tuples(st.just("add"), st.sampled_from([0, 0, 1]), st.just(0)),
    st.tuples(st.just("move"), st.integers(0, 9), st.integers(0, 10)),
    st.tuples(st.just("start"), st.just(0), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0)),
)


def place(job: Job) -> QueuePlace:
    return QueuePlace(job.id, job.priority, job.queue_rank or job.id)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_the_queue_agrees_with_a_list_whatever_its_user_does(steps: list[tuple[str, int, int]]) -> None:
    queue, jobs = FairQueue(), dict[str, Job]()
    expected: list[tuple[int, str]] = []  # priority and id of the waiting jobs in order
    other = new_job("bob")
    queue.put(other)
    for step, first, second in steps:
        if step == "add":
            job = new_job("ann", priority=first)
            jobs[job.id] = job
            queue.put(job)
            at = next((index for index, (priority, _) in enumerate(expected) if priority < first), len(expected))
            expected.insert(at, (first, job.id))
        elif step == "move" and expected:
            moved = expected.pop(first % len(expected))
            at = min(second, len(expected))
            before = expected[at] if at < len(expected) else None
            next_to = before or (expected[-1] if expected else moved)
            expected.insert(at, (next_to[0], moved[1]))
            places = [place(job) for job in jobs.values()]
            for changed in move(places, moved[1], before[1] if before else None):
                jobs[changed.id] = msgspec.structs.replace(
                    jobs[changed.id], priority=changed.priority, queue_rank=changed.rank
                )
                queue.put(jobs[changed.id])
        elif step == "start" and expected:
            _, id = expected.pop(0)
            queue.put(msgspec.structs.replace(jobs.pop(id), status=JobStatus.PROCESSING))
        elif step == "restart":  # a new process knows only the rows
            queue = FairQueue()
            for job in [*jobs.values(), other]:
                queue.put(job)
        assert queue.waiting("ann") == [id for _, id in expected]
        assert queue.waiting("bob") == [other.id], "no one else's jobs are affected"
    for number, (_, id) in enumerate(expected, 1):
        position = queue.position(jobs[id])
        assert position is not None
        assert (position.own, position.own_count) == (number, len(expected))
    ranks = [place.rank for place in map(place, jobs.values())]
    assert len(set(ranks)) == len(ranks)
    assert all(len(rank) == 32 for rank in ranks), "they do not grow"


def test_a_job_that_is_queued_again_has_its_place_among_jobs_that_were_moved_meanwhile() -> None:
    first, running, last = (QueuePlace(id, 0, id) for id in "abc")
    changed = {place.id: place for place in move([first, last], "c", "a")}
    now = [changed.get(each.id, each) for each in (first, running, last)]
    assert [place.id for place in in_order(now)] == ["c", "b", "a"]


def test_a_job_that_is_moved_to_where_it_is_changes_nothing() -> None:
    places = [QueuePlace(id, 0, id) for id in "abc"]
    for id, before in (("a", "a"), ("a", "b"), ("b", "c"), ("c", None)):
        assert move(places, id, before) == []
    assert move(places[:1], "a", None) == []
