"""Ranges, where a person may be sent next, and figures as people read them."""

from datetime import timedelta

import pytest

from app.base import clock
from app.web.forms import safe_next
from app.web.ranges import wanted
from app.web.render import ago, minutes, money, size


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-99", (0, 99)),
        ("bytes=900-", (900, 999)),
        ("bytes=-100", (900, 999)),
        ("bytes=-5000", (0, 999)),
        ("bytes=0-99999", (0, 999)),
        ("bytes=999-999", (999, 999)),
        ("bytes=1000-", "outside"),
        ("bytes=1000-2000", "outside"),
        ("bytes=-0", "outside"),
        ("bytes=5-4", None),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
        ("bytes=99999999999999999999-", None),
        ("", None),
    ],
)
def test_a_range_is_taken_as_the_standard_says(header: str, part: object) -> None:
    assert wanted(header, 1000) == part


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "http:evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/%2f/evil.example",
        "/%5cevil.example",
        "/\t/evil.example",
        "/%09/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "/login?next=/",
        "/logout",
        "",
        None,
    ],
)
def test_nobody_is_sent_to_another_place(target: str | None) -> None:
    assert safe_next(target) == "/"


@pytest.mark.parametrize("target", ["/jobs", "/generate/video?mode=picture&asset=1", "/library?q=a%20b", "/jobs/abc"])
def test_a_path_of_ours_is_kept(target: str) -> None:
    assert safe_next(target) == target


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, "–"),
        (0, "$0.00"),
        (3_200_000_000, "$3.20"),
        (6_100_000, "$0.0061"),
        (40_000_000, "$0.04"),
        (1_000, "$0.000001"),
        (1, "$0.00"),
        (418_200_000_000_000, "$418,200.00"),
    ],
)
def test_money_is_written_as_people_read_it(nano: int | None, text: str) -> None:
    assert money(nano) == text


def test_times_and_sizes_are_written_as_people_read_them() -> None:
    assert [minutes(seconds) for seconds in (None, 8, 72, 3723)] == ["–", "0:08", "1:12", "1:02:03"]
    assert [size(count) for count in (999, 1500, 2_500_000)] == ["999 B", "1.5 kB", "2.5 MB"]
    assert ago(clock.now() - timedelta(minutes=12, seconds=3)) == "12 min ago"
    assert ago(clock.now() + timedelta(seconds=5)) == "just now"
