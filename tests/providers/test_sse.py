"""Server-sent events are parsed as the standard says, wherever the bytes are split."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.sse import EventParser, EventTooLong, ServerSentEvent

STREAM = (
    b'\xef\xbb\xbf: hello\r\n\r\nevent: x\r\ndata: {"a":\r\ndata: 1}\r\nid: 7\r\nretry: 1\r\n\r\n'
    b"data:no space\n\ndata\n\n\n\ndata: \xc3\xa9\n\n: c\ndata:  two spaces \rdata:\r\rdata: [DONE] \n\n"
    b"event: error\ndata: no\n\nevent: error\n\nevent: lost\n\ndatafoo: x\n\r\ndata: \xff\n\ndata: last"
)
EVENTS = [
    ServerSentEvent('{"a":\n1}', "x"),
    ServerSentEvent("no space"),
    ServerSentEvent("é"),
    ServerSentEvent(" two spaces \n"),
    ServerSentEvent("[DONE] "),
    ServerSentEvent("no", "error"),
    ServerSentEvent("", "error"),
    ServerSentEvent("\ufffd"),
    ServerSentEvent("last"),
]


def parsed(*chunks: bytes) -> list[ServerSentEvent]:
    parser = EventParser(10_000)
    return [*(event for chunk in chunks for event in parser.feed(chunk)), *parser.end()]


def test_events_are_parsed_as_the_standard_says() -> None:
    assert parsed(STREAM) == EVENTS
    assert parsed(*(bytes([byte]) for byte in STREAM)) == EVENTS


def test_a_stream_may_be_split_anywhere() -> None:
    for at in range(len(STREAM) + 1):
        assert parsed(STREAM[:at], STREAM[at:]) == EVENTS, at


PIECES = st.sampled_from(
    [b"data", b"data: ", b"data:", b"event: error", b":", b" ", b"x", b"[DONE]", b"\xef\xbb\xbf", b"\xf0\x9f\x98\x80"]
    + [b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n"] * 2
)


@given(st.lists(PIECES, max_size=30).map(b"".join), st.sets(st.integers(0, 150)))
def test_any_split_of_any_stream_gives_the_same_events(stream: bytes, cuts: set[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(edges)]
    with_line_feeds = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert parsed(*chunks) == parsed(stream) == parsed(with_line_feeds)


def test_a_line_without_end_is_refused_at_the_limit() -> None:
    parser = EventParser(100)
    parser.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLong):
        parser.feed(b"xxxxx")


def test_an_event_of_many_lines_is_refused_at_the_limit() -> None:
    parser = EventParser(100)
    with pytest.raises(EventTooLong):
        parser.feed(b"data: xxxx\n" * 100)
