"""Ranges, redirect targets, and how money and times are formatted."""

from datetime import timedelta

from app.base import clock
from app.web.forms import safe_next
from app.web.ranges import parse_range
from app.web.render import ago, minutes, money
from tests.kit import Cases

RANGES: list[tuple[str, object]] = [
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
]


def test_a_range_header_is_read_as_the_standard_says() -> None:
    with Cases() as cases:
        for header, part in RANGES:
            with cases.case(header):
                assert parse_range(header, 1000) == part


FOREIGN_TARGETS = [
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
]


def test_a_target_on_another_site_becomes_the_start_page() -> None:
    with Cases() as cases:
        for target in FOREIGN_TARGETS:
            with cases.case(repr(target)):
                assert safe_next(target) == "/"


def test_a_path_of_this_site_is_kept() -> None:
    for target in ("/jobs", "/generate/video?mode=image&asset=1", "/library?q=a%20b", "/jobs/abc"):
        assert safe_next(target) == target


AMOUNTS = [
    (None, "–"),
    (0, "$0.00"),
    (3_200_000_000, "$3.20"),
    (6_100_000, "$0.0061"),
    (40_000_000, "$0.04"),
    (1_000, "$0.000001"),
    (1, "$0.00"),
    (418_200_000_000_000, "$418,200.00"),
]


def test_money_is_formatted_in_dollars_without_useless_digits() -> None:
    with Cases() as cases:
        for nano, text in AMOUNTS:
            with cases.case(nano):
                assert money(nano) == text


def test_durations_and_times_are_formatted() -> None:
    assert [minutes(seconds) for seconds in (None, 8, 72, 3723)] == ["–", "0:08", "1:12", "1:02:03"]
    assert ago(clock.now() - timedelta(minutes=12, seconds=3)) == "12 min ago"
    assert ago(clock.now() + timedelta(minutes=5)) == "just now"
