"""Counters, gauges and histograms in Prometheus's text format."""

from app.base.metrics import Metrics


async def test_a_counter_has_the_prefix_and_is_one_series_per_label() -> None:
    metrics = Metrics()
    counter = metrics.counter("visits", "Visits.", ["route"])
    counter.labels("/a").inc()
    counter.labels("/b").inc(2)
    metrics.gauge("open", "Open now.").set(3)
    metrics.histogram("seconds", "How long.", up_to=(0.1, 1.0)).observe(0.5)
    lines = (await metrics.text()).decode().splitlines()
    for line in (
        'atelier_visits_total{route="/a"} 1.0',
        'atelier_visits_total{route="/b"} 2.0',
        "atelier_open 3.0",
        'atelier_seconds_bucket{le="0.1"} 0.0',
        'atelier_seconds_bucket{le="1.0"} 1.0',
        "atelier_seconds_count 1.0",
    ):
        assert line in lines
    assert not any("_created" in line for line in lines)


async def test_a_name_that_is_requested_again_is_the_same_series() -> None:
    metrics = Metrics()
    metrics.counter("visits", "Visits.").inc()
    metrics.counter("visits", "Visits.").inc()
    assert b"atelier_visits_total 2.0" in await metrics.text()
    assert b"atelier_visits_total" not in await Metrics().text(), "each application has its own"


async def test_a_callback_is_read_when_the_text_is_written() -> None:
    metrics, value = Metrics(), 1.0
    metrics.gauge_callback("queue", "Waiting.", lambda: value)
    metrics.gauge_callbacks("alive", "Alive.", "task", lambda: {"worker": value})
    assert b"atelier_queue 1.0" in await metrics.text()
    value = 2.0
    text = await metrics.text()
    assert b"atelier_queue 2.0" in text
    assert b'atelier_alive{task="worker"} 2.0' in text
    metrics.gauge_callback("queue", "Waiting.", lambda: 7.0)
    assert b"atelier_queue 7.0" in await metrics.text(), "the newest one is read"
