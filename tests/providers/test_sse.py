"""Server-sent events are parsed correctly wherever the bytes are split."""

import pytest

from app.providers.sse import EventParser, EventTooLong
from tests.kit import Cases


def test_events_are_parsed_wherever_the_bytes_are_split() -> None:
    stream = (
        b': hello\r\n\r\nevent: x\r\ndata: {"a":\r\ndata: 1}\r\nid: 7\r\n\r\n'
        b"data:no space\n\ndata\n\n\n\ndata: \xc3\xa9\n\n: c\ndata: [DONE]\n\ndata: last"
    )
    with Cases() as cases:
        for size in (1, 2, 3, 7, 1000):
            with cases.case(size, "bytes"):
                parser = EventParser(1000)
                chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
                found = [event for chunk in chunks for event in parser.feed(chunk)]
                assert [*found, *parser.end()] == ['{"a":\n1}', "no space", "é", "[DONE]", "last"]


def test_a_line_without_end_is_refused_at_the_limit() -> None:
    parser = EventParser(100)
    parser.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLong):
        parser.feed(b"xxxxx")
