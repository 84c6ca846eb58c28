"""Previews of a running job's images, kept in memory for those who wait for the job."""

import asyncio

from app.jobs.previews import MAX_PREVIEW, JobPreviews
from app.providers.contract import Preview


def read(reader: asyncio.Queue[Preview | None]) -> list[int]:
    """The indexes of the previews that a reader has got."""
    found = [reader.get_nowait() for _ in range(reader.qsize())]
    return [preview.index for preview in found if preview is not None]


def test_every_reader_gets_the_previews_so_far_and_those_that_follow() -> None:
    previews = JobPreviews()
    previews.expect("job", 3)
    previews.add("job", Preview(0, "a"))
    with previews.reading("job") as first, previews.reading("job") as second:
        previews.add("job", Preview(1, "b"))
        assert (read(first), read(second)) == ([0, 1], [0, 1])
    previews.add("job", Preview(2, "c"))
    assert read(first) == []


def test_a_job_has_no_previews_unless_its_request_asked_for_some() -> None:
    previews = JobPreviews()
    with previews.reading("job") as reader:
        previews.add("job", Preview(0, "a"))
        assert (previews.wanted("job"), read(reader)) == (0, [])


def test_no_more_and_no_larger_previews_are_kept_than_wanted() -> None:
    previews = JobPreviews()
    previews.expect("job", 2)
    with previews.reading("job") as reader:
        previews.add("job", Preview(0, "a" * (MAX_PREVIEW + 1)))
        for index in range(1, 5):
            previews.add("job", Preview(index, "a" * MAX_PREVIEW))
        assert read(reader) == [1, 2]


def test_the_previews_end_with_their_job() -> None:
    previews = JobPreviews()
    previews.expect("job", 2)
    with previews.reading("job") as reader:
        previews.add("job", Preview(0, "a"))
        previews.end("job")
        previews.add("job", Preview(1, "b"))
        assert read(reader) == [0]
    with previews.reading("job") as late:
        assert (previews.wanted("job"), read(late)) == (0, [])
