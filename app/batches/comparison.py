"""The columns of a comparison: one model each, with bars of time and cost on scales that all columns share."""

from collections.abc import Mapping, Sequence

import msgspec

from app.batches.schemas import Place
from app.jobs.schemas import Job, JobStatus


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A model and its newest job, None if that was deleted. `seconds` and `cost_nano` are None until they are known, and
    `expected_nano` is what an unfinished job will cost at most. The bars are measured by `longest_seconds` and `highest_nano`, the
    largest values of all columns. `distinction` is what the model did best."""

    label: str
    job: Job | None
    seconds: float | None
    cost_nano: int | None
    expected_nano: int | None
    longest_seconds: float
    highest_nano: int
    distinction: str


def columns(places: Sequence[Place], expected: Mapping[str, int]) -> list[Column]:
    """The columns in the order of the models; `expected` are the known estimates by job."""
    done = [place.job for place in places if place.job and place.job.status is JobStatus.COMPLETED]
    ended = [place.job for place in places if place.job and place.job.final]
    seconds = {job.id: job.seconds for job in done if job.seconds is not None}
    costs = {job.id: job.cost_nano for job in ended if job.cost_nano is not None}
    complete = len(done) > 1 and all(place.job is None or place.job.final for place in places)
    fastest = min(seconds, key=lambda id: seconds[id], default=None) if complete else None
    paid = {job.id: job.cost_nano for job in done if job.cost_nano is not None}
    cheapest = min(paid, key=lambda id: paid[id], default=None) if complete and len(set(paid.values())) > 1 else None
    return [
        Column(
            label=place.labels[0],
            job=place.job,
            seconds=seconds.get(place.job.id) if place.job else None,
            cost_nano=costs.get(place.job.id) if place.job else None,
            expected_nano=expected.get(place.job.id) if place.job and not place.job.final else None,
            longest_seconds=max([1.0, *seconds.values()]),
            highest_nano=max([1, *costs.values()]),
            distinction=_distinction(place.job, fastest, cheapest),
        )
        for place in places
    ]


def _distinction(job: Job | None, fastest: str | None, cheapest: str | None) -> str:
    names = [name for name, id in (("Fastest", fastest), ("cheapest", cheapest)) if job is not None and job.id == id]
    return ", ".join(names).capitalize()
