"""Estimates from earlier jobs of the same model."""

from app.jobs.model_history import ModelHistory


def test_an_estimate_needs_three_jobs_and_gives_the_median_and_the_ninetieth_percentile() -> None:
    history = ModelHistory()
    assert history.durations("m") == (None, None)
    history.learn_durations("m", [5, 1])
    assert history.durations("m") == (None, None)
    history.learn_durations("m", list(range(10, 110, 10)))
    assert history.durations("m") == (55, 100)
    assert history.knows("m")
    assert not history.knows("other")
