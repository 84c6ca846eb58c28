"""Cursors and timestamps of the API."""

import re
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.base.errors import Invalid
from app.base.paging import Page
from app.web.paging import PageOut, after, cursor
from app.web.timestamps import Timestamp, to_iso, to_utc


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_a_cursor_is_decoded_to_its_key(key: str) -> None:
    assert after(cursor(key)) == key


@given(st.text())
def test_any_text_is_refused_or_is_the_only_cursor_of_its_key(text: str) -> None:
    try:
        key = after(text)
    except Invalid:
        return
    assert key
    assert cursor(key) == text


def test_an_invalid_cursor_is_refused_by_name() -> None:
    for text in ("", "*", "AA=", "_____w", "\u00e9"):
        with pytest.raises(Invalid) as refused:
            after(text)
        assert list(refused.value.fields) == ["cursor"]


def test_a_page_has_its_items_the_total_and_the_next_cursor() -> None:
    page = PageOut[str].of(Page([1, 2], 5, "2"), str)
    assert msgspec.to_builtins(page) == {"items": ["1", "2"], "total": 5, "next": cursor("2")}
    assert PageOut[str].of(Page([1], 1, None), str).next is None


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
def test_a_timestamp_is_utc_with_a_z_in_whole_milliseconds(time: datetime) -> None:
    text = to_iso(time)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert timedelta(0) <= time - to_utc(msgspec.convert(text, Timestamp), "at") < timedelta(milliseconds=1)


def test_a_time_of_any_zone_is_converted_to_utc() -> None:
    time = datetime(2026, 11, 20, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    assert to_utc(time, "at") == datetime(2026, 11, 20, 10, 0)
    assert to_utc(None, "at") is None
    assert to_iso(None) is None


def test_a_time_outside_the_calendar_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        to_utc(datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "expires_at")
    assert list(refused.value.fields) == ["expires_at"]
    assert to_utc(datetime.max.replace(tzinfo=UTC), "at") == datetime.max
