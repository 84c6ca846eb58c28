"""Clock, ids, money and logs."""

import io
import json
from datetime import datetime
from decimal import Decimal

import pytest
import structlog

from app.base import log
from app.base.clock import iso, now
from app.base.money import nano_dollars, usd
from app.base.secret import derived, fingerprint, new_id, new_token


def test_times_are_written_in_utc_with_a_z() -> None:
    assert iso(datetime(2026, 11, 20, 9, 30, 1, 234567)) == "2026-11-20T09:30:01.234Z"
    assert now().tzinfo is None


def test_ids_sort_by_the_time_they_were_made_and_never_repeat() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 10_000
    assert len({id[-15:] for id in ids}) == 10_000, "what does not come from the clock is random"


def test_tokens_are_stored_as_something_from_which_they_cannot_be_read() -> None:
    token = new_token("atl_")
    assert token.startswith("atl_")
    assert token not in fingerprint(token)
    assert derived("secret", "forms") != derived("secret", "tokens")


@pytest.mark.parametrize(
    ("figure", "nano", "text"),
    [
        ("0.0061", 6_100_000, "0.0061"),
        (0.1, 100_000_000, "0.1"),
        (Decimal("3.200000001"), 3_200_000_001, "3.200000001"),
        ("1e-9", 1, "0.000000001"),
        (0, 0, "0"),
        ("12", 12_000_000_000, "12"),
        (None, None, None),
    ],
)
def test_money_is_exact_and_unknown_stays_unknown(
    figure: str | float | Decimal | None, nano: int | None, text: str | None
) -> None:
    assert nano_dollars(figure) == nano
    assert usd(nano) == text


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer eyJhbGciOi.secretpart.x",
        "key sk-or-v1-secretpart was refused",
        "GET https://cdn.example/video.mp4?token=secretpart&x=1",
        "atl_secretpart is no key",
        "Authorization: Key fal-id:secretpart",
    ],
)
def test_secrets_are_masked_before_they_are_logged(line: str) -> None:
    assert "secretpart" not in log.masked(line)
    assert log.masked("a lighthouse keeper at a window") == "a lighthouse keeper at a window"


def test_a_log_line_is_json_with_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    log.start(human=False)
    with structlog.contextvars.bound_contextvars(request="r1"):
        log.get("test").info("hello", url="https://x.example/?key=secretpart")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["request"], line["part"], line["level"]) == ("hello", "r1", "test", "info")
    assert "secretpart" not in stream.getvalue()
